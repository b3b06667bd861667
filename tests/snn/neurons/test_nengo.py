"""Neurons, gains, decoders and synapses against Nengo's own code, in float64.

Nengo orders some products otherwise, so results differ in the last bits, and a voltage that meets its threshold to the
last bit may fall on either side. Voltages and currents are drawn from continuous distributions, where that has a
probability of about 1e-13 a spike.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from snn_action.core import registry
from snn_action.snn.decoders import solve_decoders
from snn_action.snn.neurons.base import Neuron
from snn_action.snn.neurons.synapses import Alpha, LinearFilter, Lowpass, Synapse

nengo = pytest.importorskip("nengo")  # it also hushes the warning of numpy.core, which Nengo gives once, on import

Array = NDArray[np.float64]
Ranges = dict[str, tuple[float, float]]
STEPS, NEURONS = 80, 6

AMPLITUDE: Ranges = {"amplitude": (0.05, 20)}
LIF: Ranges = {"tau_rc": (0.002, 0.1), "tau_ref": (0, 0.01), **AMPLITUDE}
ADAPTATION: Ranges = {"tau_n": (0.01, 2), "inc_n": (0, 0.1)}
FLOOR: Ranges = {"min_voltage": (-2, 0)}
RECOVERY: Ranges = {"tau_recovery": (0.005, 0.3), "coupling": (0, 0.4), "reset_voltage": (-80, -40)}
CURVE: Ranges = {"tau_rc": (0.002, 0.1), "tau_ref": (1e-4, 0.01), **AMPLITUDE}
VOLTAGE: Ranges = {"voltage": (0, 1)}
MEMBRANE: Ranges = {**VOLTAGE, "refractory_time": (0, 0.01)}


@dataclass(frozen=True)
class Kind:
    """What is drawn for a neuron: parameters, currents (mean and deviation), the state before the first step."""

    name: str
    theirs: str
    parameters: Ranges
    drive: tuple[float, float]
    state: Ranges
    curve: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.curve}".strip()

    def make(self, parameters: dict[str, float]) -> tuple[Neuron, Any]:
        """Ours and theirs."""
        own = {**parameters, "rate_function": self.curve} if self.curve else parameters
        dt = parameters.get("dt", 0.001)
        neuron: Neuron = registry.parse("neuron", {"type": self.name, "dt": dt, **own}).build()
        known = {key: value for key, value in parameters.items() if key != "dt"}
        if not self.curve:
            return neuron.eval(), getattr(nengo, self.theirs)(**known)
        amplitude, tau_ref, tau_rc = (known[key] for key in ("amplitude", "tau_ref", "tau_rc"))
        times = {"relu": {}, "lif_rate": {"tau_ref": tau_ref, "tau_rc": tau_rc}}.get(self.curve, {"tau_ref": tau_ref})
        return neuron.eval(), nengo.RegularSpiking(getattr(nengo, self.theirs)(**times), amplitude=amplitude)


RELU = (150.0, 700.0)
OVER = (8.0, 15.0)
KINDS = [
    Kind("spiking_rectified_linear", "SpikingRectifiedLinear", AMPLITUDE, RELU, VOLTAGE),
    Kind("rectified_linear", "RectifiedLinear", AMPLITUDE, RELU, {}),
    Kind("lif", "LIF", LIF | FLOOR, OVER, MEMBRANE),
    Kind("lif_rate", "LIFRate", LIF, OVER, {}),
    Kind("adaptive_lif", "AdaptiveLIF", LIF | FLOOR | ADAPTATION, OVER, {**MEMBRANE, "adaptation": (0, 2)}),
    Kind("adaptive_lif_rate", "AdaptiveLIFRate", LIF | ADAPTATION, OVER, {"adaptation": (0, 2)}),
    Kind(
        "izhikevich",
        "Izhikevich",
        {**RECOVERY, "reset_recovery": (-5, 12)},
        (0.0, 20.0),
        {"voltage": (-80, 25), "recovery": (-20, 10)},
    ),
    Kind("regular_spiking", "RectifiedLinear", CURVE, RELU, VOLTAGE, "relu"),
    Kind("regular_spiking", "Tanh", CURVE, (0.0, 1.5), VOLTAGE, "tanh"),
    Kind("regular_spiking", "Sigmoid", CURVE, (0.0, 3.0), VOLTAGE, "sigmoid"),
    Kind("regular_spiking", "LIFRate", CURVE, OVER, VOLTAGE, "lif_rate"),
]
BY_NAME = {str(kind): kind for kind in KINDS}
CLOSED = [name for name in BY_NAME if name not in ("izhikevich", "regular_spiking sigmoid")]


def draw_parameters(kind: Kind, data: st.DataObject) -> dict[str, float]:
    return {key: data.draw(st.floats(*ends), label=key) for key, ends in kind.parameters.items()}


def run_nengo(theirs: Any, dt: float, current: Array, state: dict[str, Array]) -> tuple[Array, list[Array]]:
    """Outputs (T, N) of currents (T, N), and each state from before the first step to after the last, (T + 1, N)."""
    state = {name: value.copy() for name, value in state.items()}
    outputs, states = np.empty_like(current), [state_now(state)]
    for now, output in zip(current, outputs, strict=True):
        drive = now.copy()
        if isinstance(theirs, nengo.RegularSpiking):  # Nengo's builder, too, gives it the rates of its base type
            theirs.base_type.step(dt, now, drive)
        theirs.step(dt, drive, output, **state)
        states.append(state_now(state))
    return outputs, [np.stack(values) for values in zip(*states, strict=True)]


def state_now(state: dict[str, Array]) -> list[Array]:
    return [value.copy() for value in state.values()]


def draw_run(kind: Kind, seed: int) -> tuple[Array, dict[str, Array]]:
    """Currents (T, N), a mean a neuron and noise a step, and the states (N) before the first step."""
    generator = np.random.default_rng(seed)
    mean, deviation = kind.drive
    level = generator.normal(mean, deviation, NEURONS)
    current = level + generator.normal(0, deviation / 2, (STEPS, NEURONS))
    return current, {name: generator.uniform(*ends, NEURONS) for name, ends in kind.state.items()}


@pytest.mark.parametrize("name", BY_NAME)
@given(data=st.data(), dt=st.floats(2e-4, 4e-3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_every_step_is_that_of_nengo(name, data, dt, seed):
    """From each of the states that Nengo goes through: by induction, whole runs agree but for rounding.

    Whole runs are compared below; those of izhikevich can be chaotic, which lets rounding grow.
    """
    kind = BY_NAME[name]
    ours, theirs = kind.make({**draw_parameters(kind, data), "dt": dt})
    current, start = draw_run(kind, seed)
    outputs, states = run_nengo(theirs, dt, current, start)
    shape = type(ours.initial_state(1, (NEURONS,), torch.device("cpu"), torch.float64))
    assert shape._fields == tuple(kind.state)
    before = shape(*(torch.from_numpy(values[:-1]) for values in states))
    output, after = ours.step(torch.from_numpy(current), before)
    np.testing.assert_allclose(output, outputs, rtol=1e-9, atol=1e-12)
    for field, values, nengos in zip(shape._fields, after, states, strict=True):
        np.testing.assert_allclose(values, nengos[1:], rtol=1e-9, atol=1e-12, err_msg=field)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "izhikevich"])
@given(data=st.data(), dt=st.floats(2e-4, 4e-3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_whole_runs_are_those_of_nengo(name, data, dt, seed):
    kind = BY_NAME[name]
    ours, theirs = kind.make({**draw_parameters(kind, data), "dt": dt})
    current, start = draw_run(kind, seed)
    outputs, states = run_nengo(theirs, dt, current, start)
    initial = ours.initial_state(1, (NEURONS,), torch.device("cpu"), torch.float64)
    output, final = ours(torch.from_numpy(current[None]), type(initial)(*map(batch, start.values())))
    np.testing.assert_allclose(output[0], outputs, rtol=1e-9, atol=1e-9)
    for field, value, nengos in zip(initial._fields, final, states, strict=True):
        np.testing.assert_allclose(value[0], nengos[-1], rtol=1e-9, atol=1e-9, err_msg=field)


def batch(value: Array) -> torch.Tensor:
    return torch.from_numpy(value[None])


@pytest.mark.parametrize("name", BY_NAME)
def test_the_runs_that_are_compared_have_neurons_that_fire_and_that_rest(name):
    kind = BY_NAME[name]
    _, theirs = kind.make({key: sum(ends) / 2 for key, ends in kind.parameters.items()})
    current, start = draw_run(kind, 0)
    outputs, _ = run_nengo(theirs, 0.001, current, start)
    assert np.count_nonzero(outputs) > STEPS / 4
    assert (np.abs(outputs) < 0.2 * np.abs(outputs).max()).any()


@dataclass(frozen=True)
class Tuning:
    """Maximal rates and intercepts (N), gain and bias (N) that Nengo finds for them."""

    ours: Neuron
    theirs: Any
    max_rates: Array
    intercepts: Array
    amplitude: float

    @property
    def gain_bias(self) -> tuple[Array, Array]:
        gain, bias = self.theirs.gain_bias(self.max_rates, self.intercepts)
        return gain, bias


def draw_tuning(name: str, data: st.DataObject, seed: int, neurons: int = NEURONS) -> Tuning:
    """Rates take 0.1 to 10 tau_rc to a spike: with more, Nengo's gain, a difference of near numbers, has no digits."""
    kind = BY_NAME[name]
    parameters = draw_parameters(kind, data)
    generator = np.random.default_rng(seed)
    wait = generator.uniform(0.1, 10, neurons) * parameters.get("tau_rc", 0.02)
    ours, theirs = kind.make(parameters)
    rates = 1 / (parameters.get("tau_ref", 0.002) + wait)
    return Tuning(ours, theirs, rates, generator.uniform(-1, 0.95, neurons), parameters["amplitude"])


@pytest.mark.parametrize("name", CLOSED)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_gains_and_biases_are_those_of_nengo(name, data, seed):
    drawn = draw_tuning(name, data, seed)
    gain, bias = drawn.ours.gain_bias(torch.from_numpy(drawn.max_rates), torch.from_numpy(drawn.intercepts))
    np.testing.assert_allclose(gain, drawn.gain_bias[0], rtol=1e-9)
    np.testing.assert_allclose(bias, drawn.gain_bias[1], rtol=1e-9, atol=1e-9 * float(gain.max()))


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_sigmoid_meets_its_rate_and_is_at_minus_two_at_its_intercept(data, seed):
    """So it was up to Nengo 3.2; from 4 on, the current at an intercept is 0."""
    drawn = draw_tuning("regular_spiking sigmoid", data, seed)
    lowest = nengo.Sigmoid(tau_ref=drawn.theirs.base_type.tau_ref).rates(-2, np.ones(1), np.zeros(1)).item()
    reached = drawn.max_rates > lowest * 1.01
    drawn.max_rates[~reached] = (lowest + 1 / drawn.theirs.base_type.tau_ref) / 2
    gain, bias = (
        value.numpy()
        for value in drawn.ours.gain_bias(torch.from_numpy(drawn.max_rates), torch.from_numpy(drawn.intercepts))
    )
    np.testing.assert_allclose(drawn.theirs.rates(1, gain, bias)[0], drawn.max_rates, rtol=1e-9)
    np.testing.assert_allclose(drawn.theirs.rates(drawn.intercepts[None], gain, bias)[0], lowest, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "izhikevich" and "adaptive" not in name])
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_rates_are_those_of_nengo(name, data, seed):
    drawn = draw_tuning(name, data, seed)
    x = np.random.default_rng(seed).uniform(-1, 1, (40, NEURONS))
    gain, bias = drawn.gain_bias
    expected = drawn.theirs.rates(x, gain, bias)
    if isinstance(drawn.theirs, nengo.RegularSpiking):
        expected = expected * drawn.amplitude  # Nengo's rates are those of the base type, though its spikes are higher
    rates = drawn.ours.rate(torch.from_numpy(gain * x + bias))
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=1e-9 * float(expected.max()))


@pytest.mark.parametrize("name", ["adaptive_lif", "adaptive_lif_rate"])
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_an_adapted_rate_is_where_nengo_stays(name, data, seed):
    """Nengo's own ``rates`` leave the adaptation out.

    Its output falls as adaptation rises, and near the threshold so steeply that the last bit of the adapted current
    shows: so ours, solved to about 1e-8, must lie between its outputs at an adaptation a little higher and lower.
    """
    kind = BY_NAME[name]
    ours, _ = kind.make(draw_parameters(kind, data))
    s = ours.settings
    theirs = nengo.AdaptiveLIFRate(s.tau_n, s.inc_n, s.tau_rc, s.tau_ref, s.amplitude)
    current = np.random.default_rng(seed).normal(3, 5, NEURONS)
    rates = ours.rate(torch.from_numpy(current)).numpy()
    low, high = np.empty(NEURONS), np.empty(NEURONS)
    theirs.step(0.001, current, low, s.inc_n * rates * (1 + 1e-7))
    theirs.step(0.001, current, high, s.inc_n * rates * (1 - 1e-7))
    assert (low * (1 - 1e-9) <= rates).all()
    assert (rates <= high * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"reset_voltage": -55.0, "reset_recovery": 4.0},
        {"reset_voltage": -50.0, "reset_recovery": 2.0},
        {"tau_recovery": 0.1},
        {"coupling": 0.25},
    ],
    ids=["regular", "bursting", "chattering", "fast", "low threshold"],
)
def test_nengo_reaches_the_rates_for_which_izhikevich_is_tuned(parameters):
    """Counted as ours are: from the reset voltage, over a second, after 0.2 s (Nengo's own gains start at 0 mV).

    Rates rise by whole spikes a second, with a few steps down between, so they are met to a few spikes.
    """
    ours, theirs = BY_NAME["izhikevich"].make(parameters)
    max_rates, intercepts = np.array([20.0, 40.0, 70.0]), np.array([-0.7, 0.0, 0.6])
    gain, bias = (value.numpy() for value in ours.gain_bias(torch.from_numpy(max_rates), torch.from_numpy(intercepts)))
    for x, expected in ((np.ones(3), max_rates), (intercepts, np.zeros(3))):
        start = {"voltage": np.full(3, theirs.reset_voltage)}
        start["recovery"] = theirs.coupling * start["voltage"]
        outputs, _ = run_nengo(theirs, 0.001, np.tile(gain * x + bias, (1200, 1)), start)
        np.testing.assert_allclose(outputs[200:].mean(0), expected, rtol=0, atol=3)


@pytest.mark.parametrize("name", ["spiking_rectified_linear", "lif", "regular_spiking tanh"])
@pytest.mark.parametrize("power", [1, 2])
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_decoders_are_those_of_nengo(name, power, data, seed):
    ensembles, neurons = 3, 20
    drawn = draw_tuning(name, data, seed, ensembles * neurons)
    encoders = np.random.default_rng(seed).choice([-1.0, 1.0], (ensembles, neurons))
    gain, bias = (value.reshape(ensembles, neurons) for value in drawn.gain_bias)
    decoders = solve_decoders(
        drawn.ours.rate, torch.from_numpy(gain * encoders), torch.from_numpy(bias), lambda x: x**power
    )
    x = np.linspace(-1, 1, 201)[:, None]
    factor = drawn.amplitude if isinstance(drawn.theirs, nengo.RegularSpiking) else 1  # see the test of rates
    for e in range(ensembles):
        rates = factor * drawn.theirs.rates(x * encoders[e], gain[e], bias[e])
        expected, _ = nengo.solvers.LstsqL2()(rates, x**power)
        np.testing.assert_allclose(decoders[e], expected[:, 0], rtol=1e-8, atol=1e-8 * np.abs(expected).max())


def check_synapse(ours: Synapse, theirs: Any, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, 60, 3))
    filtered, _ = ours.double()(torch.from_numpy(x))
    expected = theirs.filt(x, dt=ours.dt, axis=1)
    np.testing.assert_allclose(filtered, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("kind", [Lowpass, Alpha], ids=lambda kind: kind.__name__)
@given(tau=st.floats(5e-4, 0.5), dt=st.floats(2e-4, 4e-3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_synapses_are_those_of_nengo(kind, tau, dt, seed):
    check_synapse(kind(tau, dt), getattr(nengo.synapses, kind.__name__)(tau), seed)


@given(
    real=st.lists(st.floats(2, 500), max_size=2),
    pairs=st.lists(st.tuples(st.floats(2, 300), st.floats(5, 500)), max_size=1),
    less=st.integers(0, 3),
    scale=st.floats(0.01, 100),
    dt=st.floats(2e-4, 4e-3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_linear_filters_are_those_of_nengo(real, pairs, less, scale, dt, seed):
    """Stable ones of order 0 to 4, with a direct part where ``less`` is 0."""
    poles = [-p for p in real] + [complex(-a, sign * b) for a, b in pairs for sign in (1, -1)]
    den = np.atleast_1d(np.real(np.poly(poles)))
    num = (den * np.random.default_rng(seed).uniform(0.1, 1, len(den)))[min(less, len(den) - 1) :]
    den = den * scale
    check_synapse(LinearFilter(num.tolist(), den.tolist(), dt), nengo.LinearFilter(num, den), seed)
