import math

import pytest
import torch

from snn_action.snn.neurons import soft_lif_rate as sl
from snn_action.snn.neurons.lif_rate import lif_rate


def test_output_is_the_closed_form():
    neuron = sl.SoftLIFRateSettings(sigma=0.2, tau_rc=0.03, tau_ref=0.004, amplitude=0.5).build()
    current = torch.tensor([-2.0, 0.0, 0.9, 1.0, 1.1, 3.0], dtype=torch.float64)
    z = [0.2 * math.log1p(math.exp((j - 1) / 0.2)) for j in current.tolist()]
    expected = torch.tensor([0.5 / (0.004 + 0.03 * math.log1p(1 / value)) for value in z], dtype=torch.float64)
    torch.testing.assert_close(neuron.rate(current), expected)
    output, _ = neuron(current.expand(1, 2, 6))
    torch.testing.assert_close(output, expected.expand(1, 2, 6))


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0])
def test_derivative_is_right_on_both_sides_of_the_tail(sigma):
    shape = (sigma, 0.02, 0.002, 0.5)
    x = torch.tensor([-300.0, -25.0, -20.5, -19.5, -3.0, 0.0, 2.0, 30.0], dtype=torch.float64)
    current = (1 + sigma * x).requires_grad_()
    assert torch.autograd.gradcheck(lambda j: sl.soft_lif_rate(j, *shape), current, eps=1e-7, atol=1e-4)
    (gradient,) = torch.autograd.grad(sl.soft_lif_rate(current, *shape).sum(), current)
    torch.testing.assert_close(sl.soft_lif_slope(current.detach(), *shape), gradient)


def test_float32_is_finite_positive_and_rising_far_from_the_threshold():
    current = torch.linspace(-1e4, 1e4, 20001).requires_grad_()
    rate = sl.soft_lif_rate(current, 0.02, 0.02, 0.002, 1.0)
    (gradient,) = torch.autograd.grad(rate.sum(), current)
    assert bool((rate > 0).all())
    assert bool((rate.diff() >= -1e-3).all())
    assert bool((gradient.isfinite() & (gradient >= 0)).all())


def test_a_narrow_threshold_gives_the_lif_rate():
    current = torch.tensor([1.05, 1.5, 5.0], dtype=torch.float64)
    soft = sl.soft_lif_rate(current, 1e-3, 0.02, 0.002, 1.0)
    torch.testing.assert_close(soft, lif_rate(current, 0.02, 0.002, 1.0))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="sigma"):
        sl.SoftLIFRateSettings(sigma=0.0)
    with pytest.raises(ValueError, match="max_rates"):
        sl.SoftLIFRateSettings().build().gain_bias(torch.tensor([500.0]), torch.tensor([0.0]))
