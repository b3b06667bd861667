import numpy as np
import pytest
import torch

from snn_action.snn.neurons import adaptive_lif as al
from snn_action.snn.neurons import lif
from snn_action.snn.neurons.lif_rate import lif_rate
from snn_action.snn.neurons.soft_lif_rate import soft_lif_slope

SETTINGS = {"tau_n": 0.05, "inc_n": 0.2, "amplitude": 0.5}


def test_steps_and_their_surrogate_gradient_are_those_by_hand(follow_lif):
    neuron = al.AdaptiveLIFSettings(**SETTINGS).build("surrogate").train()
    generator = torch.Generator().manual_seed(0)
    low, high = (torch.randn(1, steps, 5, generator=generator, dtype=torch.float64) for steps in (200, 60))
    current = torch.cat([4 + 4 * low, 15 + 6 * high], 1).requires_grad_()
    spikes, final = neuron(current)
    assert 40 < spikes.detach().count_nonzero() < 1000
    weights = torch.randn(spikes.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), current)
    course = follow_lif(current.detach()[0].numpy(), weights[0].numpy(), **SETTINGS)
    np.testing.assert_array_equal(spikes.detach()[0].numpy(), course.spikes)
    for value, expected in zip(final, (course.voltage, course.refractory_time, course.adaptation), strict=True):
        np.testing.assert_allclose(value.detach()[0].numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(gradient[0].numpy(), course.gradient, rtol=1e-8, atol=1e-8)


def test_without_increment_it_is_a_lif_neuron():
    current = 3 * torch.randn(2, 50, 3, 4, dtype=torch.float64)
    spikes, _ = al.AdaptiveLIFSettings(inc_n=0.0).build()(current)
    assert torch.equal(spikes, lif.LIFSettings().build()(current)[0])


@pytest.mark.parametrize("current", [1.5, 4.0, 12.0])
def test_spikes_come_at_the_settled_rate(current):
    neuron = al.AdaptiveLIFSettings(tau_n=0.2, inc_n=0.02).build()
    spikes, _ = neuron(torch.full((1, 4000, 1), current, dtype=torch.float64))
    rate = neuron.rate(torch.tensor(current, dtype=torch.float64)).item()
    assert spikes[0, 1500:].mean().item() == pytest.approx(rate, rel=0.03)
    assert rate < 0.95 * lif_rate(torch.tensor(current), 0.02, 0.002, 1.0).item()


def test_spike_aware_gradient_is_the_implicit_one_of_the_soft_rate():
    neuron = al.AdaptiveLIFSettings(**SETTINGS).build().train()
    current = torch.tensor([[[-1.0, 0.95, 1.5, 8.0]]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(neuron(current)[0].sum(), current)
    adapted = (current - 0.2 * neuron.rate(current)).detach()
    slope = soft_lif_slope(adapted, 0.02, 0.02, 0.002, 0.5)
    torch.testing.assert_close(gradient, slope / (1 + 0.2 * slope))


def test_bad_settings_are_refused():
    for name, value in (("tau_n", 0.0), ("inc_n", -1.0), ("tau_ref", -1.0)):
        with pytest.raises(ValueError, match=name):
            al.AdaptiveLIFSettings(**{name: value})
    with pytest.raises(ValueError, match="max_rates"):
        al.AdaptiveLIFSettings().build().gain_bias(torch.tensor([500.0]), torch.tensor([0.0]))
