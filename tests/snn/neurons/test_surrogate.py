import math
from statistics import NormalDist

import pytest
import torch

from snn_action.snn.neurons.surrogate import SURROGATES, arctan, attach, pass_gradient

AREAS = {"arctan": 1.0, "sigmoid": 1.0, "triangle": 1.0, "super_spike": 0.2, "multi_gaussian": 0.85}


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_is_an_even_bump_of_its_area(name):
    x = torch.linspace(-2000, 2000, 4_000_001, dtype=torch.float64)
    g = SURROGATES[name](x)
    torch.testing.assert_close(torch.trapezoid(g, x).item(), AREAS[name], rtol=0, atol=1e-3)
    torch.testing.assert_close(g, g.flip(0))
    assert abs(x[g.argmax()]) < 1e-9


def narrow_and_wide(x: float) -> float:
    wide = NormalDist(sigma=3.0)
    return 1.15 * NormalDist(sigma=0.5).pdf(x) - 0.15 * (wide.pdf(x - 0.5) + wide.pdf(x + 0.5))


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sigmoid", lambda x: 1 / math.cosh(2 * x) ** 2),
        ("triangle", lambda x: max(0.0, 1 - abs(x))),
        ("super_spike", lambda x: (1 + 10 * abs(x)) ** -2),
        ("multi_gaussian", narrow_and_wide),
    ],
)
def test_a_surrogate_has_the_values_of_its_formula(name, formula):
    x = torch.linspace(-2, 2, 17, dtype=torch.float64)
    torch.testing.assert_close(SURROGATES[name](x), torch.tensor([formula(v) for v in x.tolist()], dtype=torch.float64))


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


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("sigmoid", lambda x: torch.sigmoid(4 * x)),
        ("triangle", lambda x: torch.where(x < 0, (1 + x).relu() ** 2 / 2, 1 - (1 - x).relu() ** 2 / 2)),
        ("super_spike", lambda x: x / (1 + 10 * x.abs())),
    ],
)
def test_a_surrogate_is_the_derivative_of_its_step(name, step):
    x = torch.linspace(-2, 2, 16, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(step(x).sum(), x)
    torch.testing.assert_close(SURROGATES[name](x.detach()), derivative)
