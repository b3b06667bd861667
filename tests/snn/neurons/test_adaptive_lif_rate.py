import math

import numpy as np
import pytest
import torch

from snn_action.snn.neurons import adaptive_lif_rate as alr
from snn_action.snn.neurons.lif_rate import lif_rate

SETTINGS = {"tau_rc": 0.03, "tau_ref": 0.004, "amplitude": 0.5, "tau_n": 0.05, "inc_n": 0.04}


def lif(current: float) -> float:
    return 0.5 / (0.004 + 0.03 * math.log1p(1 / (current - 1))) if current > 1 else 0.0


def test_steps_equal_a_loop_over_single_neurons():
    neuron = alr.AdaptiveLIFRateSettings(**SETTINGS).build()
    current = 2 + 3 * torch.randn(1, 80, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    output, final = neuron(current)
    for i in range(4):
        n = 0.0
        for t, j in enumerate(current[0, :, i].tolist()):
            rate = lif(j - n)
            n += 0.001 / 0.05 * (0.04 * rate - n)
            assert output[0, t, i].item() == pytest.approx(rate, rel=1e-9)
        assert final.adaptation[0, i].item() == pytest.approx(n, rel=1e-9)


def test_gradient_runs_through_the_adaptation():
    neuron = alr.AdaptiveLIFRateSettings(**SETTINGS).build().train()
    current = 4 + torch.rand(1, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    current.requires_grad_()
    assert torch.autograd.gradcheck(lambda j: neuron(j)[0], current, eps=1e-7)
    (gradient,) = torch.autograd.grad(neuron(current)[0][:, -1].sum(), current)
    assert bool((gradient[:, :-1] < 0).all())


def test_it_settles_at_its_rate():
    neuron = alr.AdaptiveLIFRateSettings(**SETTINGS).build()
    current = torch.tensor([-1.0, 1.0, 1.1, 2.0, 10.0], dtype=torch.float64)
    output, _ = neuron(current.expand(1, 2000, 5))
    torch.testing.assert_close(output[0, -1], neuron.rate(current), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("inc_n", [0.0, 1e-4, 0.01, 0.1, 5.0])
@pytest.mark.parametrize("tau_ref", [0.0, 0.002])
def test_the_settled_rate_solves_its_equation(inc_n, tau_ref):
    over = torch.logspace(-8, 4, 200, dtype=torch.float64)
    rate = alr.settled_rate(1 + over, inc_n, 0.02, tau_ref, 1.0)
    over = (1 + over) - 1  # what is left of it in the current
    low, high = np.full(200, -1e12), np.log(over.numpy())  # logarithms of the adapted current less 1
    for _ in range(200):
        middle = (low + high) / 2
        j = np.exp(middle)
        reached = 1 / (tau_ref + 0.02 * np.logaddexp(0, -middle))
        above = j + inc_n * reached > over.numpy()
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    expected = 1 / (tau_ref + 0.02 * np.logaddexp(0, -low))
    np.testing.assert_allclose(rate.numpy(), expected, rtol=1e-9)
    single = alr.settled_rate((1 + over).float(), inc_n, 0.02, tau_ref, 1.0)
    near = over > 1e-2
    np.testing.assert_allclose(single[near].numpy(), rate[near].numpy(), rtol=1e-4)


def test_the_settled_rates_derivative_is_the_implicit_one():
    current = torch.tensor([0.5, 1.2, 2.0, 20.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda j: alr.settled_rate(j, 0.02, 0.03, 0.004, 0.5), current, eps=1e-6)
    smooth = alr.settled_rate(current, 0.02, 0.03, 0.004, 0.5, sigma=0.02)
    (gradient,) = torch.autograd.grad(smooth.sum(), current)
    assert bool((gradient > 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_settled_rate_and_its_derivative_are_finite_everywhere(dtype):
    current = torch.cat([torch.linspace(-5, 5, 1001), 1 + torch.logspace(-7, 6, 200)]).to(dtype).requires_grad_()
    for sigma in (0.0, 0.02):
        rate = alr.settled_rate(current, 0.01, 0.02, 0.002, 1.0, sigma)
        (gradient,) = torch.autograd.grad(rate.sum(), current)
        assert bool((rate.isfinite() & (rate >= 0) & gradient.isfinite() & (gradient >= 0)).all())
        assert bool((rate <= lif_rate(current, 0.02, 0.002, 1.0) * (1 + 1e-4)).all())


def test_gain_and_bias_are_those_without_adaptation():
    neuron = alr.AdaptiveLIFRateSettings().build()
    max_rates, intercepts = torch.tensor([100.0, 300.0]), torch.tensor([-0.5, 0.5])
    gain, bias = neuron.gain_bias(max_rates, intercepts)
    output, _ = neuron((gain + bias).expand(1, 1, 2))
    torch.testing.assert_close(output[0, 0], max_rates, rtol=1e-4, atol=0)
    with pytest.raises(ValueError, match="max_rates"):
        neuron.gain_bias(5 * max_rates, intercepts)


@pytest.mark.parametrize(("name", "value"), [("tau_n", 0.0), ("inc_n", -0.1), ("tau_rc", -1.0)])
def test_bad_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        alr.AdaptiveLIFRateSettings(**{name: value})
