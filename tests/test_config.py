import importlib
import json
from pathlib import Path

import pytest

from snn_action.config import Config, load_config, make_config, make_schema, override
from snn_action.core.errors import ConfigError
from snn_action.core.registry import FOREIGN_CONFIGURATIONS, REGISTRY, items
from snn_action.core.settings import Settings

ROOT = Path(__file__).parents[1]
MINIMAL = {"name": "test", "dataset": {"type": "features", "path": "f.npz"}, "model": {"type": "lmu"}}


def write(tmp_path, raw):
    path = tmp_path / "config.json"
    path.write_text(raw if isinstance(raw, str) else json.dumps(raw))
    return path


def test_defaults_are_filled_in_and_written_out_in_full(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    assert config.training.epochs > 0
    again = make_config(json.loads(config.to_json()))
    assert again == config
    assert json.loads(config.to_json())["model"]["type"] == "lmu"
    assert json.loads(config.to_json())["dataset"]["path"] == "f.npz"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sead": 1}, ["sead", "seed"]),
        ({"training": {"epoch": 1}}, ["training.epoch", "'epochs'"]),
        ({"training": {"loss": {"clips": 1.0}}}, ["training.loss.clips", "'clip'"]),
        ({"training": {"epochs": "many"}}, ["training.epochs", "integer", "many"]),
        ({"training": {"epochs": "12"}}, ["training.epochs", "integer"]),
        ({"training": {"epochs": True}}, ["training.epochs", "integer"]),
        ({"training": {"epochs": -1}}, ["training.epochs", "greater than or equal to 0"]),
        ({"training": 3}, ["training"]),
        ({"model": {"type": "lmuu"}}, ["model.type", "'lmu'"]),
        ({"model": {"type": "lmu", "unit": 3}}, ["model.unit", "'units'"]),
        ({"model": {}}, ["model.type", "missing"]),
        ({"model": "lmu"}, ["model", "object"]),
        ({"dataset": {"type": "features"}}, ["dataset.path", "missing"]),
        ({"dataset": {"type": "weizmann", "path": "x", "splits": "all"}}, ["dataset.splits", "'split'"]),
        ({"clip": {"streams": []}}, ["clip.streams"]),
        ({"clip": {"streams": ["rgb", "rgb"]}}, ["clip.streams", "twice"]),
        ({"clip": {"sampling": "frist"}}, ["clip.sampling", "first"]),
        ({"device": "tpu"}, ["device"]),
        (
            {"training": {"loss": {"spike_target": -1}}},
            ["loss.spike_target: Input should be greater than or equal to 0 (g"],
        ),
        ({"training": {"loss": {"spike_target": {"a": -1}}}}, ["loss.spike_target.a: Input should be greater than or"]),
        (
            {"training": {"loss": {"spike_target": {"a": "x", "b": -1}}}},
            ["spike_target.a: Input", "spike_target.b: Input"],
        ),
        (
            {"training": {"loss": {"spike_target": "x"}}},
            ["spike_target: Input should be a valid number; or: Input should"],
        ),
        ({"training": {"loss": {"spike_target": {}}}}, ["loss.spike_target: Dictionary should have at least 1 item"]),
        ({"dataset": {"type": "folder", "path": "x", "split": 1.5}}, ["dataset.split: ", "integer; or: ", "'all'"]),
        ({"model": {"type": "lmu", "input_threshold": 0}}, ["input_threshold: ", "or equal to 1e-20 (got 0)"]),
        ({"name": "../evil"}, ["name"]),
    ],
)
def test_what_does_not_fit_is_named_with_its_place_and_the_nearest_valid_key(tmp_path, change, words):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, {**MINIMAL, **change}))
    for word in [*words, "config.json"]:
        assert word in str(caught.value)


def test_all_problems_of_a_section_are_named_at_once(tmp_path):
    raw = {**MINIMAL, "training": {"epoch": 1, "batchsize": 2}}
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, raw))
    assert "training.epoch" in str(caught.value)
    assert "training.batchsize" in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "word"), [("{", "not JSON"), ("[1]", "object"), ("\xff\xfe".encode("latin1"), "not JSON")]
)
def test_a_file_that_is_no_configuration(tmp_path, raw, word):
    path = tmp_path / "config.json"
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    with pytest.raises(ConfigError, match=word):
        load_config(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        load_config(tmp_path / "nowhere.json")


def test_overrides(tmp_path):
    config = load_config(
        write(tmp_path, MINIMAL),
        ["training.epochs=3", "seed=7", "dataset.path=other.npz", "training.gradient_clip=0.5"],
    )
    assert (config.training.epochs, config.seed, config.training.gradient_clip) == (3, 7, 0.5)
    assert config.dataset.path == Path("other.npz")


@pytest.mark.parametrize("text", ["epochs", "=3", "training.=3", "name.first=x"])
def test_an_override_that_cannot_be_put_in(text):
    with pytest.raises(ConfigError, match="override"):
        override(MINIMAL, [text])


def test_override_leaves_its_input_alone():
    raw = {"training": {"epochs": 1}}
    assert override(raw, ["training.epochs=2"]) == {"training": {"epochs": 2}}
    assert raw == {"training": {"epochs": 1}}


def test_the_shipped_schema_is_current():
    shipped = json.loads((ROOT / "configs" / "schema.json").read_text())
    assert shipped == make_schema(), "run: snn-action schema > configs/schema.json"


def test_the_schema_knows_every_registered_item_and_every_key():
    schema = make_schema()
    for kind in ("dataset", "model", "backbone"):
        for name, cls in items(kind):
            definition = schema["$defs"][f"{kind}_{name}"]
            assert set(cls.model_fields) <= set(definition["properties"])
    assert set(Config.model_fields) <= set(schema["properties"])


def list_settings() -> set[type[Settings]]:
    """Every class of settings of the package: of the run, of all items, of foreign configurations."""
    for name in FOREIGN_CONFIGURATIONS:
        importlib.import_module(name)
    for kind in REGISTRY:
        list(items(kind))
    found, left = set(), [Settings]
    while left:
        left += (subclasses := left.pop().__subclasses__())
        found |= set(subclasses)
    return {cls for cls in found if cls.__module__.startswith("snn_action.")}


def test_every_key_has_a_description():
    keys = [(cls, key, field.description) for cls in list_settings() for key, field in cls.model_fields.items()]
    assert len({cls for cls, _, _ in keys}) > len(REGISTRY["model"]) + len(REGISTRY["neuron"]) + len(
        REGISTRY["dataset"]
    )
    assert not [f"{cls.__module__}.{cls.__name__}.{key}" for cls, key, text in keys if not text]


def test_editors_see_every_description():
    schema = make_schema()
    for owner in (schema, *schema["$defs"].values()):
        for key, value in owner["properties"].items():
            assert value.get("description") or key == "$schema", (owner["title"], key)


def test_every_registered_item_has_settings_told_apart_by_type_and_a_maker():
    for kind in ("dataset", "model", "neuron"):
        for name, cls in items(kind):
            assert cls.model_fields["type"].default == name
            assert cls.builds or "build" in vars(cls)
    assert REGISTRY["backbone"]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.json")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path):
    if path.name != "schema.json":
        assert load_config(path).name
