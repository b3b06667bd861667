import math

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.core import registry
from snn_action.core.settings import SettingsError
from snn_action.snn.neurons import integrate_and_fire as neuron_if

RESETS = ["soft", "hard"]


def make(gradient="spike_aware", **options) -> neuron_if.IntegrateAndFire:
    return neuron_if.IntegrateAndFireSettings(**options).build(gradient)


def currents(steps: int, neurons: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 300 + 500 * torch.randn(1, steps, neurons, generator=generator, dtype=torch.float64)


def simulate(drive: np.ndarray, reset: str, dt: float, start: float = 0.0) -> tuple[np.ndarray, np.ndarray, float]:
    """Spikes, voltage before the reset, and the last voltage of one neuron."""
    v, spikes, high = start, [], []
    for j in drive:
        v += j * dt
        high.append(v)
        spikes.append(v >= 1)
        if spikes[-1]:
            v = v - 1 if reset == "soft" else 0.0
    return np.array(spikes, float), np.array(high), v


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("dt", [0.001, 0.004])
def test_steps_equal_a_plain_loop(reset, dt):
    neuron = make(reset=reset, dt=dt, amplitude=0.5, initial_voltage="uniform")
    current = currents(150, 4, 0)
    start = neuron.initial_state(1, (4,), current.device, current.dtype).voltage[0]
    spikes, final = neuron(current)
    for n in range(4):
        fired, _, voltage = simulate(current[0, :, n].numpy(), reset, dt, start[n].item())
        assert 20 < fired.sum() < 150
        np.testing.assert_allclose(spikes[0, :, n].numpy(), fired * 0.5 / dt, atol=1e-9)
        assert final.voltage[0, n].item() == pytest.approx(voltage, abs=1e-9)


@pytest.mark.parametrize("reset", RESETS)
def test_surrogate_gradient_equals_a_hand_written_pass_through_time(reset):
    neuron = make("surrogate", reset=reset, amplitude=0.5)
    current = currents(60, 3, 1).requires_grad_()
    spikes, _ = neuron.train()(current)
    weights = torch.rand(60, 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((spikes[0] * weights).sum(), current)
    for n in range(3):
        fired, high, _ = simulate(current.detach()[0, :, n].numpy(), reset, 0.001)
        assert fired.sum() > 5
        carried, expected = 0.0, np.zeros(60)
        for t in reversed(range(60)):
            g = 1 / (1 + (np.pi * (high[t] - 1)) ** 2)
            through = 1 - g if reset == "soft" else 1 - fired[t] - high[t] * g
            carried = g * weights[t, n].item() * 0.5 / 0.001 + carried * through
            expected[t] = carried * 0.001
        np.testing.assert_allclose(gradient[0, :, n].numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dt", [0.001, 0.005])
def test_rates_are_those_of_spikes_at_a_constant_current(dt):
    current = torch.tensor([-50.0, 0.0, 3.3, 71.3, 180.0, 420.7, 777.0, 999.0, 1500.0], dtype=torch.float64)
    for reset in RESETS:
        neuron = make(reset=reset, dt=dt, amplitude=0.5)
        spikes, _ = neuron(current.expand(1, 5000, len(current)))
        counts, expected = neuron.count(spikes)[0], neuron.rate(current) * dt / 0.5
        if reset == "soft":
            assert bool(((counts.sum(0) - 5000 * expected).abs() < 1 + 1e-6).all())
            continue
        for n, share in enumerate(expected.tolist()):
            steps = counts[:, n].nonzero()[:, 0] + 1
            period = round(1 / share) if share else math.inf
            assert share == 0 or 1 / share == pytest.approx(period, abs=1e-9)
            assert steps.tolist() == [t for t in range(1, 5001) if t % period == 0]


@pytest.mark.parametrize("gradient", ["rate", "spike_aware"])
@pytest.mark.parametrize("reset", RESETS)
def test_the_derivative_is_that_of_the_soft_rate(gradient, reset):
    neuron = make(gradient, reset=reset, amplitude=0.5).train()
    current = torch.tensor([[[-10.0, 0.5, 300.0, 990.0, 1100.0]]], dtype=torch.float64, requires_grad=True)
    output, _ = neuron(current)
    (slope,) = torch.autograd.grad(output.sum(), current)
    assert slope.flatten().tolist() == [0.0, 0.5, 0.5, 0.5, 0.0]
    if gradient == "rate":
        assert torch.equal(output, neuron.rate(current))


def test_gain_and_bias_meet_rates_and_intercepts():
    neuron = make()
    max_rates = torch.tensor([100.0, 200.0, 1000.0], dtype=torch.float64)
    intercepts = torch.tensor([-1.0, 0.0, 0.9], dtype=torch.float64)
    gain, bias = neuron.gain_bias(max_rates, intercepts)
    torch.testing.assert_close(neuron.rate(gain + bias), max_rates)
    torch.testing.assert_close(gain * intercepts + bias, torch.zeros_like(gain), rtol=0, atol=1e-9)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="max_rates must be at most 500, one spike a step"):
        make(dt=0.002).gain_bias(torch.tensor([501.0]), torch.zeros(1))
    with pytest.raises(ValueError, match="intercepts"):
        make().gain_bias(torch.tensor([20.0]), torch.ones(1))
    with pytest.raises(SettingsError, match="reset"):
        registry.parse("neuron", {"type": "if", "reset": "none"})
