import math

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.snn.neurons import regular_spiking as rs

CURVES = {
    "relu": lambda j: max(j, 0.0),
    "tanh": lambda j: 400 * math.tanh(j),
    "sigmoid": lambda j: 400 / (1 + math.exp(-j)),
    "lif_rate": lambda j: 1 / (0.0025 + 0.02 * math.log(1 + 1 / (j - 1))) if j > 1 else 0.0,
}
SCALE = {"relu": 500.0, "tanh": 1.0, "sigmoid": 2.0, "lif_rate": 4.0}


def make(name: str, gradient="spike_aware", **options) -> rs.RegularSpiking:
    return rs.RegularSpikingSettings(rate_function=name, **options).build(gradient)


def currents(name: str, steps: int, neurons: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return SCALE[name] * torch.randn(2, steps, neurons, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", CURVES)
def test_spike_counts_have_their_closed_form(name):
    neuron = make(name, amplitude=0.3, dt=0.004, initial_voltage="uniform")
    current = currents(name, 60, 5, 0)
    start = neuron.initial_state(2, (5,), current.device, current.dtype).voltage.unsqueeze(1).numpy()
    spikes, final = neuron(current)
    total = start + 0.004 * np.vectorize(CURVES[name])(current.numpy()).cumsum(1)
    expected = np.diff(np.floor(total), axis=1, prepend=0.0)
    np.testing.assert_allclose(neuron.count(spikes).numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(neuron.count_all(spikes, (1, 2)).numpy(), np.abs(expected).sum((1, 2)), atol=1e-9)
    np.testing.assert_allclose(final.voltage.numpy(), total[:, -1] - np.floor(total[:, -1]), atol=1e-9)
    assert (expected.min() < 0) == (name == "tanh")


@pytest.mark.parametrize("name", CURVES)
def test_the_rate_has_the_derivative_of_its_curve(name):
    current = torch.tensor([-3.0, -0.5, 0.4, 0.9, 1.3, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(make(name, amplitude=0.5).rate, (current,))
    at_start = torch.tensor([1.0, 0.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(make(name).rate(at_start).sum(), at_start)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("name", CURVES)
def test_surrogate_gradient_equals_a_hand_written_pass_through_time(name):
    neuron = make(name, "surrogate", amplitude=0.5)
    current = currents(name, 30, 3, 1).requires_grad_()
    spikes, _ = neuron.train()(current)
    weights = torch.rand_like(spikes)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), current)
    drive = current.detach().numpy()
    curve = np.vectorize(CURVES[name])
    slope = (curve(drive + 1e-6) - curve(drive - 1e-6)) / 2e-6
    voltage, surrogate = np.zeros((2, 3)), []
    for t in range(30):
        voltage = voltage + curve(drive[:, t]) * 0.001
        nearest = np.round(voltage) if name == "tanh" else np.maximum(np.round(voltage), 1)
        surrogate.append(1 / (1 + (np.pi * (voltage - nearest)) ** 2))
        voltage = voltage - np.floor(voltage)
    carried = np.zeros((2, 3))
    for t in reversed(range(30)):
        carried = surrogate[t] * weights[:, t].numpy() * 0.5 / 0.001 + (1 - surrogate[t]) * carried
        np.testing.assert_allclose(gradient[:, t].numpy(), carried * 0.001 * slope[:, t], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", CURVES)
def test_gain_and_bias_meet_rates_and_intercepts(name):
    neuron = make(name)
    max_rates = torch.tensor([100.0, 200.0, 390.0], dtype=torch.float64)
    intercepts = torch.tensor([-1.0, 0.0, 0.9], dtype=torch.float64)
    gain, bias = neuron.gain_bias(max_rates, intercepts)
    torch.testing.assert_close(neuron.rate(gain + bias), max_rates)
    start = torch.full((3,), rs.START[name], dtype=torch.float64)
    torch.testing.assert_close(gain * intercepts + bias, start, rtol=0, atol=1e-9)


def test_gain_and_bias_refuse_what_cannot_be_reached():
    for name in ("tanh", "sigmoid", "lif_rate"):
        with pytest.raises(ValueError, match="max_rates must be below 1 / tau_ref = 400"):
            make(name).gain_bias(torch.tensor([400.0]), torch.zeros(1))
    with pytest.raises(ValueError, match="max_rates must be above 47"):
        make("sigmoid").gain_bias(torch.tensor([40.0]), torch.zeros(1))


@pytest.mark.parametrize("option", ["tau_ref", "tau_rc"])
def test_bad_settings_are_refused(option):
    with pytest.raises(ValueError, match=option):
        make("lif_rate", **{option: 0.0})
