"""What the registry says of settings that do not fit."""

import pytest

from snn_action.config import make_config
from snn_action.core.registry import parse
from snn_action.core.settings import SettingsError

BASE = {"name": "t", "dataset": {"type": "folder", "path": "videos"}, "model": {"type": "lmu"}}


@pytest.mark.parametrize(
    ("change", "place", "text"),
    [
        ({"model": {"type": "ensemble_array", "max_rates": [5, 1]}}, "model", "max_rates: must be two rates above 0"),
        ({"dataset": {**BASE["dataset"], "train_list": "a"}}, "dataset", "train_list and test_list belong together"),
        ({"dataset": {**BASE["dataset"], "group_pattern": "("}}, "dataset.group_pattern", "not a regular expression"),
        ({"model": {"type": "lmu", "unit": 3}}, "model.unit", "unknown key; did you mean 'units'?"),
        ({"model": {"type": "ensemble_array", "neuron": {"type": "lf"}}}, "model.neuron.type", "unknown neuron 'lf'"),
        ({"model": ["lmu"] * 500}, "model", "must be an object with a 'type'"),
        ({"seed": "x" * 5000}, "seed", "Input should be a valid integer"),
    ],
)
def test_a_problem_has_its_own_place_and_a_short_text(change, place, text):
    with pytest.raises(SettingsError) as caught:
        make_config({**BASE, **change})
    ((found, said),) = caught.value.problems
    assert ".".join(found) == place
    assert said.startswith(text)
    assert "Value error" not in said
    assert "{'type'" not in said
    assert len(said) < 300


def test_two_problems_of_an_item_are_two():
    with pytest.raises(SettingsError) as caught:
        make_config({**BASE, "model": {"type": "lmu", "unit": 3, "theta": -1.0}})
    assert {place for place, _ in caught.value.problems} == {("model", "unit"), ("model", "theta")}


def test_an_item_parsed_on_its_own_has_no_empty_place():
    with pytest.raises(SettingsError, match=r"^must be an object"):
        parse("model", 3)
    with pytest.raises(SettingsError, match=r"^type: missing"):
        parse("model", {})


def test_the_old_name_of_a_model_is_read():
    old, new = (parse("model", {"type": name}) for name in ("frame_average", "mean_pool"))
    assert old == new
    assert old.type == "mean_pool"


def test_the_old_spelling_of_a_key_is_read():
    assert parse("model", {"type": "lmu", "normalise": True}) == parse("model", {"type": "lmu", "normalize": True})
