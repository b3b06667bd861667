import pytest
import torch

from snn_action.neurons.surrogate import SURROGATES, arctan, attach, pass_gradient


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_is_an_even_bump_of_area_one(name):
    x = torch.linspace(-2000, 2000, 4_000_001, dtype=torch.float64)
    g = SURROGATES[name](x)
    torch.testing.assert_close(torch.trapezoid(g, x).item(), 1.0, rtol=0, atol=1e-3)
    torch.testing.assert_close(g, g.flip(0))
    assert abs(x[g.argmax()]) < 1e-9


def test_arctan_is_the_derivative_of_its_step():
    x = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    step = torch.arctan(torch.pi / 2 * 2 * x) / torch.pi + 0.5
    (derivative,) = torch.autograd.grad(step.sum(), x)
    torch.testing.assert_close(arctan(x), derivative)


def test_attach_multiplies_by_the_surrogate():
    distance = torch.tensor([-0.5, 0.0, 0.25], requires_grad=True)
    spikes = attach(torch.tensor([0.0, 1.0, 1.0]), distance, arctan)
    assert spikes.tolist() == [0.0, 1.0, 1.0]
    (gradient,) = torch.autograd.grad((spikes * torch.tensor([1.0, 2.0, 3.0])).sum(), distance)
    torch.testing.assert_close(gradient, arctan(distance.detach()) * torch.tensor([1.0, 2.0, 3.0]))


def test_pass_gradient_keeps_the_value_to_the_last_bit():
    value, proxy = torch.tensor([1000.0, 0.1]), torch.tensor([3.0, 1e8], requires_grad=True)
    result = pass_gradient(value, proxy)
    assert torch.equal(result, value)
    (gradient,) = torch.autograd.grad((result * torch.tensor([2.0, 5.0])).sum(), proxy)
    assert gradient.tolist() == [2.0, 5.0]
