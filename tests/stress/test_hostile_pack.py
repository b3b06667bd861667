"""Packed models of an attacker: nothing is run, read or written because of them, and no small file fills the memory."""

import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.robustness.readers import damage
from snn_action.config import load_config
from snn_action.core.allocation import ration
from snn_action.core.errors import ConfigError, WorkError
from snn_action.runs import pipeline
from snn_action.runs.pack import KEY, digest_pack, read_pack
from snn_action.runs.packed_model import load_pack
from snn_action.runs.packing import write_pack
from tests.conftest import encode_video


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> tuple[dict, dict]:
    """Text and tensors of a whole pack."""
    place = tmp_path_factory.mktemp("packed")
    for name, direction in (("Left", -1), ("Right", 1)):
        for group in range(1, 7):
            encode_video(place / "videos" / name / f"v_g{group}.avi", direction, group)
    dataset = {"type": "folder", "path": str(place / "videos"), "group_pattern": r"_(g\d+)", "test_groups": ["g1"]}
    raw = {
        "name": "test",
        "save_dir": str(place / "save"),
        "device": "cpu",
        "dataset": dataset,
        "clip": {"frames": 4},
        "backbone": {"name": "tiny"},
        "features": {"store": str(place / "store"), "workers": 0},
        "model": {"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 3},
        "training": {"epochs": 1},
    }
    (place / "config.json").write_text(json.dumps(raw))
    write_pack(pipeline.train(load_config(place / "config.json"), run_id="one"), place / "model.snn")
    with safetensors.safe_open(place / "model.snn", "pt") as file:
        content = json.loads(file.metadata()[KEY])
        return content, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def write(path: Path, content: dict, tensors: dict) -> Path:
    """A pack with the digest that fits, as an attacker writes it."""
    content = {key: value for key, value in content.items() if key != "digest"}
    content["digest"] = digest_pack(content, tensors)
    path.write_bytes(safetensors.torch.save(tensors, {KEY: json.dumps(content)}))
    return path


def put(content: dict, place: str, value: object) -> dict:
    content = json.loads(json.dumps(content))
    node = content
    *inner, last = place.split(".")
    for key in inner:
        node = node[key]
    node[last] = value
    return content


def refuse(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_pack(path, ["device=cpu"])
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_whole_one_is_loaded(packed, tmp_path):
    assert load_pack(write(tmp_path / "a.snn", *packed)).class_names == ("Left", "Right")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("settings.backbone.weights", "/etc/passwd"),
        ("settings.backbone.batch_size", 10**6),
        ("settings.dataset", {"type": "synthetic", "path": "made"}),
        ("settings.save_dir", "made"),
        ("settings.features", {"store": "made"}),
        ("settings.evaluation.leakage", "mark"),
        ("settings.model.type", "os.system"),
        ("settings.model.type", "lstm"),
        ("settings.backbone.name", "../../tiny"),
        ("settings.backbone.name", "resnet18"),
        ("settings.clip.size", 10**9),
        ("settings.clip.streams", ["rgb", "difference"]),
        ("class_names", ["a"]),
        ("class_names", ["a", "b", "c"]),
        ("class_names", "ab"),
        ("calibration", {"version": 1}),
        ("calibration.temperature", 1e300),
        ("backbone.packed", "yes"),
        ("backbone.digest", "0" * 64),
        ("backbone.mean", [0, 0, 0]),
        ("settings.evaluation.background", "Nobody"),
        ("version", True),
        ("version", "1"),
    ],
)
def test_each_of_its_words_is_held_against_what_a_pack_may_say(packed, tmp_path, monkeypatch, place, value):
    monkeypatch.chdir(tmp_path)
    content, tensors = packed
    path = write(tmp_path / "a.snn", put(content, place, value), tensors)
    before = sorted(tmp_path.rglob("*"))
    if place == "version" and value is True:
        load_pack(path)  # JSON's true is Python's 1
    else:
        refuse(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [("units", 10**6), ("units", 30_000), ("memory_d", 10**6), ("order", 512)],
)
@pytest.mark.parametrize("kind", ["lmu", "lstm", "ensemble_array"])
def test_a_small_file_does_not_make_a_huge_network(packed, tmp_path, kind, key, value):
    content, tensors = packed
    sizes = {
        "lmu": {key: value},
        "lstm": {"units": 10**5},
        "ensemble_array": {"n_ensembles": 10**7, "n_neurons": 10**4},
    }
    content = put(content, "settings.model", {"type": kind, **sizes[kind]})
    start = time.monotonic()
    refuse(write(tmp_path / "a.snn", content, tensors))
    assert time.monotonic() - start < 60


def test_a_ration_counts_what_is_made_and_not_what_is_computed():
    with ration(0):
        assert (torch.ones(100, 100) @ torch.ones(100, 100)).sum() == 10**6
    with pytest.raises(ValueError, match="much larger"), ration(0):
        torch.empty(2**15, 2**15)
    with pytest.raises(ValueError, match="much larger"), ration(0):
        torch.nn.LSTM(10**5, 10**5)


def test_weights_that_are_no_numbers_of_this_network_are_refused(packed, tmp_path):
    content, tensors = packed
    name = "model.readout.weight"
    for value in (torch.full_like(tensors[name], torch.nan), tensors[name][:1], tensors[name].to(torch.complex64)):
        refuse(write(tmp_path / "a.snn", content, {**tensors, name: value}))
    refuse(write(tmp_path / "a.snn", content, {**tensors, "../../evil": torch.zeros(1)}))
    refuse(write(tmp_path / "a.snn", content, {key: value for key, value in tensors.items() if key != name}))


def test_a_header_of_absurd_size_is_not_read(tmp_path):
    path = tmp_path / "a.snn"
    with path.open("wb") as file:
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**26)
    with pytest.raises(ConfigError, match="its header would have"):
        read_pack(path)


def test_a_pickle_a_pipe_and_a_folder_are_not_opened_as_one(tmp_path):
    import os

    target = tmp_path / "owned"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (target,)

    (tmp_path / "a.snn").write_bytes(pickle.dumps(Evil()))
    torch.save({"evil": Evil()}, tmp_path / "b.snn")
    os.mkfifo(tmp_path / "c.snn")
    for name in ("a.snn", "b.snn", "c.snn"):
        with pytest.raises(ConfigError, match=name):
            read_pack(tmp_path / name)
    assert not target.exists()


def test_names_of_classes_cannot_steer_a_terminal(packed, tmp_path):
    content, tensors = packed
    path = write(tmp_path / "a.snn", put(content, "class_names", ["\x1b[2J", "../../Right\n"]), tensors)
    assert load_pack(path).class_names == ("\\x1b[2J", "../../Right\\n")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["/etc/passwd", "../..", "random", "default"]),
    st.lists(st.integers(-1, 3), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def list_places(node: object, place: tuple = ()) -> list[tuple]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [
        *([place] if place else []),
        *(found for key, value in inner for found in list_places(value, (*place, key))),
    ]


@pytest.mark.filterwarnings("ignore")
def test_any_word_of_it_may_be_anything(packed, tmp_path):
    content, tensors = packed
    said: list[str] = []
    places = [place for place in list_places(content) if place[0] not in ("digest", "text", "card")]

    @given(st.sampled_from(places), VALUES)
    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    def check(place, value):
        changed = json.loads(json.dumps(content))
        node = changed
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = value
        path = write(tmp_path / "a.snn", changed, tensors)
        try:
            load_pack(path, ["device=cpu"])
        except (ConfigError, WorkError) as error:
            said.append(str(error))

    check()
    assert len(said) > 30
    assert all(str(tmp_path / "a.snn") in text for text in said)


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_one_is_refused_by_its_name(packed, tmp_path):
    path = write(tmp_path / "a.snn", *packed)
    whole = path.read_bytes()
    said: list[str] = []

    @given(st.integers(0, 2**32 - 1))
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def check(seed):
        path.write_bytes(damage(whole, np.random.default_rng(seed)))
        try:
            read_pack(path)
        except ConfigError as error:
            said.append(str(error))
        else:
            assert path.read_bytes() == whole

    check()
    assert len(said) > 80
    assert all(str(path) in text for text in said)
