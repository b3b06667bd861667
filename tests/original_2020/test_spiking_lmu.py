import math

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.models import build_model
from snn_action.original_2020.spiking_lmu import SpikingLMU2020
from snn_action.snn.legendre import legendre_matrices


def make(in_features: int = 3, classes: int = 2, **options) -> SpikingLMU2020:
    model = build_model({"type": "spiking_lmu_2020", **options}, in_features, classes, seed=0)
    assert isinstance(model, SpikingLMU2020)
    return model.double()


def scramble(model: SpikingLMU2020) -> SpikingLMU2020:
    """Every weight at work, those that begin at zero too."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, scale in {"hu": 0.3, "du": 3e-4, "ah": 3e-4, "hh": 0.1}.items():
            model.weights[name].normal_(std=scale)
    return model


class LIFNeurons:
    """Nengo's LIF, neuron after neuron and in plain Python, or its rate."""

    def __init__(self, voltage: np.ndarray, spiking: bool):
        self.spiking = spiking
        self.voltage, self.refractory = voltage.copy(), np.zeros(len(voltage))

    def __call__(self, current: np.ndarray, dt: float = 0.001, tau_rc: float = 0.02, tau_ref: float = 0.002):
        output = np.zeros_like(current)
        for n, j in enumerate(current):
            if not self.spiking:
                output[n] = 1 / (tau_ref + tau_rc * math.log1p(1 / (j - 1))) if j > 1 else 0
                continue
            self.refractory[n] -= dt
            left = min(max(dt - self.refractory[n], 0), dt)
            self.voltage[n] -= (j - self.voltage[n]) * math.expm1(-left / tau_rc)
            if self.voltage[n] > 1:
                output[n] = 1 / dt
                self.refractory[n] = tau_ref + dt + tau_rc * math.log1p(-(self.voltage[n] - 1) / (j - 1))
                self.voltage[n] = 0
            self.voltage[n] = max(self.voltage[n], 0)
        return output


def reference(model: SpikingLMU2020, x: Tensor, spiking: bool) -> np.ndarray:
    """The original's network of one clip (T, D), step after step."""
    s = model.settings
    w = {name: weight.detach().numpy() for name, weight in model.weights.items()}
    parts = {}
    for name in ("input", "entering", "memory"):
        part = getattr(model, name)
        voltage = part.neuron.initial_state(1, (s.ensemble_neurons,), x.device, x.dtype).voltage[0].numpy()
        assert len(set(voltage)) == s.ensemble_neurons  # Nengo's default: each neuron its own
        neurons = LIFNeurons(voltage, spiking)
        parts[name] = (part.encoders.detach().numpy(), part.bias.detach().numpy(), neurons)

    def run(name: str, value: np.ndarray) -> np.ndarray:
        encoders, bias, neurons = parts[name]
        return neurons(encoders @ value + bias)

    keep = 0.0 if s.tau is None else math.exp(-0.001 / s.tau)
    a = c = d = np.zeros(s.ensemble_neurons)
    h, logits = np.zeros(s.units), []
    for now in x.numpy():
        a = keep * a + (1 - keep) * run("input", now)
        c = keep * c + (1 - keep) * run("entering", w["au"] @ a + w["hu"] @ h + w["du"] @ d)
        d_new = keep * d + (1 - keep) * run("memory", w["dm"] @ d + w["cm"] @ c)
        h = np.tanh(w["ah"] @ a + w["hh"] @ h + w["dh"] @ d_new)
        d = d_new
        logits.append(model.readout.weight.detach().numpy() @ h)
    return np.stack(logits)


@pytest.mark.parametrize("tau", [None, 0.005])
@pytest.mark.parametrize("training", [False, True])
def test_it_is_the_network_of_the_module(tau, training):
    """Spikes in evaluation; in training the same network of rates."""
    model = scramble(make(units=4, order=3, theta=9.0, ensemble_neurons=15, tau=tau)).train(training)
    x = torch.randn(1, 12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, _ = model(x)
    expected = reference(model, x[0], spiking=not training)
    assert np.abs(np.diff(expected, axis=0)).max() > 1e-2
    np.testing.assert_allclose(logits[0].numpy(), expected, atol=1e-9)


def test_training_on_rates_leaves_the_neurons_as_they_were():
    model = make(units=4, ensemble_neurons=15).train()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    before = model.initial_state(2, x.device, x.dtype)
    _, after = model(x, before)
    for name in ("input", "entering", "memory"):
        assert torch.equal(getattr(before, name).neurons.voltage, getattr(after, name).neurons.voltage)


@pytest.mark.parametrize(("tau", "order"), [(None, 2), (None, 3), (0.01, 2)])
def test_at_the_start_rates_of_many_neurons_carry_the_legendre_memory(tau, order):
    """One feature, small enough for the unit ball; rates without spikes' noise."""
    torch.manual_seed(0)
    theta = 20.0
    model = make(1, units=4, order=order, theta=theta, ensemble_neurons=2000, tau=tau).train()
    a, b = legendre_matrices(order, theta)
    value = 0.4 * torch.sin(2 * math.pi * torch.arange(60, dtype=torch.float64) / 40)
    decoders = model.memory.solve()
    state, memory, entering = None, torch.zeros(order, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    lowpass, far = 0.0 if tau is None else math.exp(-0.001 / tau), []
    seen = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for now in value:
            _, state = model.step(now.view(1, 1), state)
            seen = lowpass * seen + (1 - lowpass) * now  # the input's synapse, and that of u
            entering = lowpass * entering + (1 - lowpass) * seen
            memory = a @ memory + b * entering
            far.append((decoders @ state.memory.output[0] - memory).abs().max())
    assert float(memory.abs().max()) > 0.02
    assert float(torch.stack(far).max()) < 0.03


def test_initialization_is_that_of_the_original():
    model = make(512, classes=8, ensemble_neurons=100, units=800, order=2, theta=25.0)
    sizes = {name: tuple(weight.shape) for name, weight in model.weights.items()}
    assert sizes["ah"] == (800, 100)
    assert sum(parameter.numel() for parameter in model.parameters()) == 859_600  # as NengoDL counts them
    for name in ("hu", "du", "ah", "hh"):
        assert not model.weights[name].any()
    gains = model.input.encoders.norm(dim=1)
    rates = 1 / (0.002 + 0.02 * torch.log1p(1 / (gains + model.input.bias - 1)))
    assert 200 <= rates.min() < 215
    assert 385 < rates.max() <= 400
    intercepts = (1 - model.input.bias) / gains
    assert -1 <= intercepts.min() < -0.9
    assert 0.8 < intercepts.max() <= 0.9
    limit = math.sqrt(6 / 808)
    assert 0.97 * limit < model.readout.weight.abs().max() <= limit
    assert model.readout.bias is None
    hidden = model.weights["dh"].detach() @ torch.linalg.pinv(model.memory.solve())
    assert float(hidden.std()) == pytest.approx(math.sqrt(2 / 802), rel=0.05)


def test_a_hundred_neurons_cannot_hold_512_features_and_more_neurons_hold_more():
    """The share of a value in the unit ball that rates lose when they are decoded."""
    lost = []
    for neurons in (100, 1000):
        model = make(512, units=2, ensemble_neurons=neurons)
        x = torch.nn.functional.normalize(torch.randn(200, 512, dtype=torch.float64))
        rates = model.input.neuron.rate(x @ model.input.encoders.detach().T + model.input.bias.detach())
        lost.append(float((rates @ model.input.solve().T - x).square().sum() / x.square().sum()))
    assert lost[0] > 0.8
    assert lost[1] < lost[0] - 0.1


@pytest.mark.parametrize(("key", "value"), [("ensemble_neurons", 1), ("order", 0), ("theta", 0.0), ("tau", 0.0)])
def test_settings_out_of_range_are_named(key, value):
    with pytest.raises(ConfigError, match=key):
        make(**{key: value})
