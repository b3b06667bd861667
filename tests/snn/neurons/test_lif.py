import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.snn.neurons import lif
from snn_action.snn.neurons.lif_rate import lif_rate, lif_slope
from snn_action.snn.neurons.soft_lif_rate import soft_lif_slope

SETTINGS = {"tau_rc": 0.03, "tau_ref": 0.0025, "min_voltage": -0.5, "amplitude": 0.5}


def currents(steps: int, neurons: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 + 4 * torch.randn(1, steps, neurons, generator=generator, dtype=torch.float64)


def exact_spike_times(current: float, tau_rc: float, tau_ref: float, until: float) -> list[float]:
    first = tau_rc * np.log(current / (current - 1))
    return list(np.arange(first, until, first + tau_ref))


@pytest.mark.parametrize("current", [1.05, 1.7, 4.0, 9.3])
def test_spikes_at_a_constant_current_fall_in_the_steps_of_continuous_time(current):
    neuron = lif.LIFSettings(**SETTINGS).build()
    spikes, _ = neuron(torch.full((1, 2000, 1), current, dtype=torch.float64))
    steps = spikes[0, :, 0].nonzero()[:, 0].numpy()
    times = np.array(exact_spike_times(current, 0.03, 0.0025, 2.0))
    assert np.array_equal(steps, np.floor(times / 0.001 + 1e-9).astype(int))
    assert set(spikes.unique().tolist()) == {0.0, 500.0}


def test_steps_and_their_surrogate_gradient_are_those_by_hand(follow_lif):
    neuron = lif.LIFSettings(**SETTINGS).build("surrogate").train()
    current = torch.cat([currents(120, 6), 20 + 2 * currents(60, 6, 1)], 1).requires_grad_()
    spikes, final = neuron(current)
    assert 100 < spikes.detach().count_nonzero() < 1000
    weights = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), current)
    course = follow_lif(current.detach()[0].numpy(), weights[0].numpy(), **SETTINGS)
    np.testing.assert_array_equal(spikes.detach()[0].numpy(), course.spikes)
    np.testing.assert_allclose(final.voltage.detach()[0].numpy(), course.voltage, atol=1e-12)
    np.testing.assert_allclose(final.refractory_time.detach()[0].numpy(), course.refractory_time, atol=1e-12)
    np.testing.assert_allclose(gradient[0].numpy(), course.gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("gradient", ["rate", "spike_aware"])
@pytest.mark.parametrize("sigma", [0.0, 0.02])
def test_the_rate_is_exact_and_its_derivative_smoothed(gradient, sigma):
    neuron = lif.LIFSettings(rate_sigma=sigma, amplitude=0.5).build(gradient).train()
    current = torch.tensor([[[-1.0, 0.9, 1.0, 1.001, 3.0]]], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(neuron.rate(current), lif_rate(current, 0.02, 0.002, 0.5))
    (slope,) = torch.autograd.grad(neuron(current)[0].sum(), current)
    exact, soft = lif_slope(current, 0.02, 0.002, 0.5), soft_lif_slope(current, 0.02, 0.02, 0.002, 0.5)
    torch.testing.assert_close(slope, soft if sigma else exact)
    assert bool((soft > 0).all())
    assert soft.max() < 0.5 * exact.max()


def test_a_membrane_much_faster_than_the_step_stays_finite():
    neuron = lif.LIFSettings(tau_rc=1e-6).build("surrogate")
    current = torch.full((1, 20, 2), 2.0, requires_grad=True)
    spikes, state = neuron(current)
    spikes.sum().backward()
    assert bool(state.refractory_time.isfinite().all())
    assert bool(current.grad.isfinite().all())


def test_bad_settings_are_refused():
    for name, value in (("tau_rc", 0.0), ("tau_ref", -1.0), ("min_voltage", 0.1), ("rate_sigma", -0.1)):
        with pytest.raises(ValueError, match=name):
            lif.LIFSettings(**{name: value})
    with pytest.raises(ValueError, match="max_rates"):
        lif.LIFSettings().build().gain_bias(torch.tensor([500.0]), torch.tensor([0.0]))
