"""Bad settings, rates, states, currents and masks of every registered neuron: clear errors that name what is wrong."""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from snn_action.core import registry
from snn_action.core.errors import ConfigError
from snn_action.core.settings import SettingsError
from snn_action.snn.neurons.base import Neuron

SETTINGS = dict(registry.items("neuron"))
NEVER = (-1.0, math.inf, -math.inf, math.nan)
BATCH, STEPS, N = 3, 5, 4


def make(name: str, **settings: Any) -> Neuron:
    """A neuron in its default mode."""
    return registry.parse("neuron", {"type": name, **settings}).build().eval()


def tunes(name: str) -> bool:
    try:
        make(name).gain_bias(torch.tensor([50.0]), torch.tensor([0.0]))
    except ConfigError:
        return False
    return True


def find_keys(start: str) -> list[tuple[str, str]]:
    """Each neuron with each key of its settings that begins so."""
    return [(name, key) for name in SETTINGS for key in SETTINGS[name].model_fields if key.startswith(start)]


TUNED = [name for name in SETTINGS if tunes(name)]
POSITIVE = find_keys("dt") + find_keys("tau") + find_keys("amplitude")
# A neuron may do without a refractory time: everything else divides by these.
MAY_BE_ZERO = [
    (name, key)
    for name, key in POSITIVE
    if key == "tau_ref" and SETTINGS[name].model_json_schema()["properties"][key].get("minimum") == 0
]
WRONG = [
    (name, key, value) for name, key in POSITIVE for value in (*NEVER, 0.0) if value or (name, key) not in MAY_BE_ZERO
]


def test_there_is_something_to_check():
    assert len(TUNED) > len(SETTINGS) / 2
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
    ((place, text),) = caught.value.problems  # once, with an inner neuron too
    assert (*place, text.partition(":")[0])[0] == key


@pytest.mark.parametrize(("name", "key"), MAY_BE_ZERO)
def test_a_refractory_time_of_zero_is_allowed_where_the_schema_says_so(name, key):
    generator = torch.Generator().manual_seed(0)
    output, _ = make(name, **{key: 0.0})(20 * torch.randn(BATCH, 50, N, generator=generator))
    assert output.any()
    assert output.isfinite().all()


@pytest.mark.parametrize("name", SETTINGS)
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


@pytest.mark.parametrize("name", TUNED)
@pytest.mark.parametrize(
    ("rates", "intercepts", "says"),
    [
        (torch.tensor([50, 60]), torch.zeros(2), "max_rates must be a tensor of floating-point numbers, not torch.int"),
        (torch.tensor([50.0, 60.0]), 0.0, "intercepts must be a tensor of floating-point numbers, not float"),
        (torch.full((2,), 50.0), torch.zeros(3), r"must have one shape, not \(2,\) and \(3,\)"),
    ],
)
def test_rates_and_intercepts_must_be_tensors_that_fit(name, rates, intercepts, says):
    with pytest.raises(ConfigError, match=says):
        make(name).gain_bias(rates, intercepts)


@pytest.mark.parametrize("name", TUNED)
@pytest.mark.parametrize("rate", [1e-4, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0])
def test_a_low_rate_has_a_gain_or_is_refused_with_the_lowest(name, rate):
    """A gain of zero, or a negative one, would leave the neuron silent."""
    variants = [{}]
    if name == "regular_spiking":
        curves = SETTINGS[name].model_json_schema()["properties"]["rate_function"]["enum"]
        variants = [{"rate_function": curve} for curve in curves]
    for settings in variants:
        try:
            gain, _ = make(name, **settings).gain_bias(torch.tensor([rate]), torch.tensor([0.5]))
        except ConfigError as error:
            lowest = float(re.search(r"max_rates must be (?:at least|above) ([\d.]+)", str(error))[1])
            assert lowest >= 0.99 * rate
            gain, _ = make(name, **settings).gain_bias(torch.tensor([1.01 * lowest]), torch.tensor([0.5]))
        assert gain > 0


@pytest.mark.parametrize("name", SETTINGS)
def test_a_neuron_can_be_tuned_or_says_that_it_cannot(name):
    rates, intercepts = torch.tensor([50.0, 120.0]), torch.tensor([-1.0, 0.9])
    if name in TUNED:
        assert all(bool(value.isfinite().all()) for value in make(name).gain_bias(rates, intercepts))
    else:
        with pytest.raises(ConfigError, match=name):
            make(name).gain_bias(rates, intercepts)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_current_needs_a_batch_and_steps_and_neurons(name):
    neuron = make(name)
    for shape in ((), (N,), (STEPS, N), (BATCH, 0, N)):
        with pytest.raises(ValueError, match="current"):
            neuron(torch.zeros(shape))
    state = neuron.initial_state(BATCH, (N,), torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match="current"):
        neuron.step(torch.zeros(BATCH), state)
    with pytest.raises(ValueError, match=r"current must be of a floating-point type, not torch\.int64"):
        neuron(torch.zeros(BATCH, STEPS, N, dtype=torch.long))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_current_that_is_no_number_is_named_with_neuron_and_step_and_clip(name, value):
    neuron = make(name)
    current = torch.zeros(BATCH, STEPS, N)
    current[1, 3, 2] = value
    with pytest.raises(ValueError, match=f"the current of neuron 2 is {value:g} at step 3 of clip 1"):
        neuron(current)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_mask_may_be_of_numbers(name):
    neuron = make(name)
    current, mask = torch.ones(BATCH, STEPS, N), torch.arange(STEPS) < torch.tensor([[5], [2], [3]])
    assert torch.equal(neuron(current, mask=mask.float())[0], neuron(current, mask=mask)[0])


@pytest.mark.parametrize("name", SETTINGS)
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
            bad += [value.bool(), value.half(), value.to("meta")]
            if value.is_floating_point():
                bad += [torch.full_like(value, number) for number in (math.nan, math.inf)]
            if value.ndim > 1:
                bad += [value[..., :-1], torch.cat([value, value], -1), value[..., 0]]
            spoiled += [(field, state._replace(**{field: tensor})) for tensor in bad]
        else:
            spoiled += [(inner, state._replace(**{field: part})) for inner, part in spoil(value)]
    return spoiled


@pytest.mark.parametrize("name", SETTINGS)
def test_a_state_must_fit_and_the_error_names_its_field(name):
    neuron = make(name)
    current = torch.zeros(BATCH, STEPS, N)
    _, state = neuron(current)
    for field, bad in spoil(state):
        with pytest.raises(ValueError, match=rf"state\.{field}\b"):
            neuron(current, bad)
        with pytest.raises(ValueError, match=rf"state\.{field}\b"):
            neuron.step(current[:, 0], bad)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_state_must_be_that_of_the_neuron(name):
    neuron = make(name)
    current = torch.zeros(BATCH, STEPS, N)
    for state in ((), (torch.zeros(BATCH, N),), torch.zeros(BATCH, N), 1.0):
        with pytest.raises(ValueError, match="state"):
            neuron(current, state)


def test_states_are_spoiled_in_each_field():
    _, state = make("adaptive_lif")(torch.zeros(BATCH, STEPS, N))
    assert {field for field, _ in spoil(state)} == {"voltage", "refractory_time", "adaptation"}
    assert len(spoil(state)) == 42


@pytest.mark.parametrize("name", [name for name in SETTINGS if "rate" not in type(make(name)).gradients])
def test_a_neuron_without_a_rate_says_so(name):
    with pytest.raises(ConfigError, match="no gradient mode 'rate'"):
        registry.parse("neuron", {"type": name}).build("rate")
    with pytest.raises(ConfigError, match=f"{name}.*rate"):
        make(name).rate(torch.zeros(N))
