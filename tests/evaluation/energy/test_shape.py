"""What chips ask of a model beside its counts, for every model that there is."""

import pytest

from snn_action.evaluation.energy.account import Account
from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.shape import LOOPS, Shape, find_shape
from snn_action.models import list_models

MEAN = Layer("weight", "head", "synapses", 10, parameters=1544, nonzero=1544, fan_in=192, outputs=8)
ACCOUNT = Account(10, {}, None, (MEAN,))


def test_of_every_model_it_is_known_whether_it_has_loops():
    around = {"late_fusion", "end_to_end"}
    assert set(LOOPS) == set(list_models()) - around


@pytest.mark.parametrize(
    ("model", "recurrent"),
    [
        ({"type": "lmu"}, True),
        ({"type": "spiking_lmu"}, True),
        ({"type": "lstm"}, True),
        ({"type": "mean_pool"}, False),
        ({"type": "ensemble_array"}, False),
        ({"type": "late_fusion", "streams": 2, "model": {"type": "spiking_lmu"}}, True),
        ({"type": "end_to_end", "model": {"type": "mean_pool"}}, False),
        ({"type": "a plug-in"}, None),
        ({"type": ["lmu"]}, None),
        ({}, None),
    ],
)
def test_a_loop_is_a_layer_that_is_connected_to_itself(model, recurrent):
    assert find_shape(model, ACCOUNT) == Shape(192, 8, recurrent)


@pytest.mark.parametrize(
    ("changes", "inputs"),
    [({}, 32), ({"input_to_hidden": True}, 192), ({"encoders": "on_off"}, 192), ({"memory_d": None}, 192)],
)
def test_features_that_are_not_selected_need_not_come_in(changes, inputs):
    model = {"type": "lmu", "encoders": "selected", "memory_d": 32, **changes}
    assert find_shape(model, ACCOUNT).inputs == inputs


def test_each_stream_selects_its_own():
    model = {"type": "lmu", "encoders": "selected", "memory_d": 32}
    assert find_shape({"type": "late_fusion", "streams": 3, "model": model}, ACCOUNT).inputs == 96
    assert find_shape({"type": "late_fusion", "streams": "many", "model": model}, ACCOUNT).inputs == 32


def test_without_a_baseline_nothing_is_known_of_the_sizes():
    assert find_shape({"type": "lmu"}, Account(10, {}, None, ())) == Shape(None, None, True)
