"""Bad settings, rates, states, currents and masks of every registered neuron: clear errors that name what is wrong."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snn_action import registry
from snn_action.errors import ConfigError
from snn_action.neurons.base import Neuron
from snn_action.registry import SettingsError

MODULES = dict(registry.items("neuron"))
NEVER = (-1.0, math.inf, -math.inf, math.nan)
BATCH, STEPS, N = 3, 5, 4


def make(name: str, **settings: Any) -> Neuron:
    """A neuron in its default mode."""
    return registry.build("neuron", registry.parse("neuron", {"type": name, **settings})).eval()


def tunes(name: str) -> bool:
    try:
        make(name).gain_bias(torch.tensor([50.0]), torch.tensor([0.0]))
    except ConfigError:
        return False
    return True


def find_keys(start: str) -> list[tuple[str, str]]:
    """Each neuron with each key of its settings that begins so."""
    return [(name, key) for name in MODULES for key in MODULES[name].Settings.model_fields if key.startswith(start)]


TUNED = [name for name in MODULES if tunes(name)]
POSITIVE = find_keys("dt") + find_keys("tau") + find_keys("amplitude")
# A neuron may do without a refractory time: everything else divides by these.
MAY_BE_ZERO = [
    (name, key)
    for name, key in POSITIVE
    if key == "tau_ref" and MODULES[name].Settings.model_json_schema()["properties"][key].get("minimum") == 0
]
WRONG = [
    (name, key, value) for name, key in POSITIVE for value in (*NEVER, 0.0) if value or (name, key) not in MAY_BE_ZERO
]


def test_there_is_something_to_check():
    assert len(TUNED) > len(MODULES) / 2
    assert {key for name, key in POSITIVE if name == "adaptive_lif"} == {
        "dt",
        "tau_rc",
        "tau_ref",
        "tau_n",
        "amplitude",
    }
    assert ("lif", "tau_ref") in MAY_BE_ZERO
    assert ("lif", "tau_rc", 0.0) in WRONG


@pytest.mark.parametrize(("name", "key", "value"), WRONG)
def test_times_and_amplitudes_must_be_positive_and_finite(name, key, value):
    with pytest.raises(SettingsError) as caught:
        registry.parse("neuron", {"type": name, key: value})
    assert str(caught.value).startswith(f"{key}: ")
    for place, text in caught.value.problems:  # with an inner neuron, one for it as well
        assert (*place, text.partition(":")[0])[max(len(place) - 1, 0)] == key


@pytest.mark.parametrize(("name", "key"), MAY_BE_ZERO)
def test_a_refractory_time_of_zero_is_allowed_where_the_schema_says_so(name, key):
    generator = torch.Generator().manual_seed(0)
    output, _ = make(name, **{key: 0.0})(20 * torch.randn(BATCH, 50, N, generator=generator))
    assert output.any()
    assert output.isfinite().all()


@pytest.mark.parametrize("name", MODULES)
def test_an_unknown_key_is_refused_by_its_name(name):
    with pytest.raises(SettingsError, match="tau_rcc"):
        registry.parse("neuron", {"type": name, "tau_rcc": 0.02})


@pytest.mark.parametrize("name", TUNED)
@pytest.mark.parametrize("rate", [*NEVER, 0.0, -1e-30])
def test_maximal_rates_must_be_positive_and_finite(name, rate):
    with pytest.raises(ValueError, match="max_rates"):
        make(name).gain_bias(torch.tensor([50.0, rate, 40.0]), torch.zeros(3))


@pytest.mark.parametrize("name", TUNED)
@pytest.mark.parametrize("intercept", [-1.01, 1.0, 1.5, math.inf, -math.inf, math.nan, 1 - 1e-9])
def test_intercepts_must_be_in_their_range(name, intercept):
    """The last is 1 in float32."""
    with pytest.raises(ValueError, match="intercepts"):
        make(name).gain_bias(torch.full((3,), 50.0), torch.tensor([0.5, intercept, -1.0]))


@pytest.mark.parametrize("name", MODULES)
def test_a_neuron_can_be_tuned_or_says_that_it_cannot(name):
    rates, intercepts = torch.tensor([50.0, 120.0]), torch.tensor([-1.0, 0.9])
    if name in TUNED:
        assert all(bool(value.isfinite().all()) for value in make(name).gain_bias(rates, intercepts))
    else:
        with pytest.raises(ConfigError, match=name):
            make(name).gain_bias(rates, intercepts)


@pytest.mark.parametrize("name", MODULES)
def test_a_current_needs_a_batch_and_steps_and_neurons(name):
    neuron = make(name)
    for shape in ((), (N,), (STEPS, N), (BATCH, 0, N)):
        with pytest.raises(ValueError, match="current"):
            neuron(torch.zeros(shape))
    state = neuron.initial_state(BATCH, (N,), torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match="current"):
        neuron.step(torch.zeros(BATCH), state)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("shape", [(BATCH, STEPS + 1), (BATCH + 1, STEPS), (STEPS, BATCH), (BATCH,), (BATCH, STEPS, N)])
def test_a_mask_must_have_the_shape_of_the_batch_and_the_steps(name, shape):
    with pytest.raises(ValueError, match="mask"):
        make(name)(torch.zeros(BATCH, STEPS, N), mask=torch.ones(shape, dtype=torch.bool))


def spoil(state: Any) -> list[tuple[str, Any]]:
    """Each way to spoil one tensor of a state, with the name of its field."""
    spoiled = []
    for field, value in zip(state._fields, state, strict=True):
        if isinstance(value, Tensor):
            bad = [value[:-1], torch.cat([value, value[:1]]), value.unsqueeze(-1), value.sum(), 0.5, None]
            if value.ndim > 1:
                bad += [value[..., :-1], torch.cat([value, value], -1), value[..., 0]]
            spoiled += [(field, state._replace(**{field: tensor})) for tensor in bad]
        else:
            spoiled += [(inner, state._replace(**{field: part})) for inner, part in spoil(value)]
    return spoiled


@pytest.mark.parametrize("name", MODULES)
def test_a_state_must_fit_and_the_error_names_its_field(name):
    neuron = make(name)
    current = torch.zeros(BATCH, STEPS, N)
    _, state = neuron(current)
    for field, bad in spoil(state):
        with pytest.raises(ValueError, match=rf"state\.{field}\b"):
            neuron(current, bad)
        with pytest.raises(ValueError, match=rf"state\.{field}\b"):
            neuron.step(current[:, 0], bad)


@pytest.mark.parametrize("name", MODULES)
def test_a_state_must_be_that_of_the_neuron(name):
    neuron = make(name)
    current = torch.zeros(BATCH, STEPS, N)
    for state in ((), (torch.zeros(BATCH, N),), torch.zeros(BATCH, N), 1.0):
        with pytest.raises(ValueError, match="state"):
            neuron(current, state)


def test_states_are_spoiled_in_each_field():
    _, state = make("adaptive_lif")(torch.zeros(BATCH, STEPS, N))
    assert {field for field, _ in spoil(state)} == {"voltage", "refractory_time", "adaptation"}
    assert len(spoil(state)) == 27


@pytest.mark.parametrize("name", [name for name in MODULES if "rate" not in type(make(name)).gradients])
def test_a_neuron_without_a_rate_says_so(name):
    with pytest.raises(ConfigError, match="no gradient mode 'rate'"):
        registry.build("neuron", registry.parse("neuron", {"type": name}), "rate")
    with pytest.raises(ConfigError, match=f"{name}.*rate"):
        make(name).rate(torch.zeros(N))
