"""The mathematical functions of vectors against float64, each as one stateless neuron."""

import math

import pytest
import torch

from snn_action.snn.fused import neurons
from snn_action.snn.fused.ir import Instruction, UnknownOperationError, constant
from snn_action.snn.fused.trace import trace

FUNCTIONS = {
    "exp": (torch.exp, -80.0, 80.0),
    "expm1": (torch.expm1, -80.0, 80.0),
    "log": (torch.log, 1e-30, 1e30),
    "log1p": (torch.log1p, -0.999, 1e30),
    "tanh": (torch.tanh, -20.0, 20.0),
    "sigmoid": (torch.sigmoid, -60.0, 60.0),
    "softplus": (torch.nn.functional.softplus, -30.0, 30.0),
    "sqrt": (torch.sqrt, 0.0, 1e10),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_they_are_exact_to_a_few_units_in_the_last_place(name):
    function, low, high = FUNCTIONS[name]
    near = torch.logspace(-12, math.log10(high), 3000)
    x = torch.cat([near, -near, torch.linspace(low, high, 4000)])
    x = x[(x >= low) & (x <= high)]
    equations = trace(lambda current: (function(current),), 0, 0)
    y, _ = neurons.run(x.view(1, 1, -1), (), equations)
    expected = function(x.double())
    error = (y.flatten().double() - expected).abs() / expected.abs().clamp(min=1e-37)
    assert error.max() < 6e-7


def test_rounding_and_comparisons_are_pytorchs():
    x = torch.tensor([-2.5, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.5, 2.5, 1e9]).view(1, 1, -1)
    for function in (
        torch.floor,
        torch.round,
        torch.abs,
        lambda c: (c > 0.5).to(c.dtype),
        lambda c: (c >= 0.5).to(c.dtype),
        lambda c: (c != 0.5).to(c.dtype),
        lambda c: torch.where((c < 0) | (c == 1), c, -c),
        lambda c: c.clamp(-1, 1),
        lambda c: torch.maximum(c, 2 - c),
    ):
        y, _ = neurons.run(x, (), trace(lambda c, function=function: (function(c),), 0, 0))
        assert torch.equal(y, function(x)), function


def test_instructions_that_repeat_or_do_nothing_are_left_out():
    equations = trace(lambda c: ((c * 1 - 0) * (c - 1) + (c - 1),), 0, 0)
    assert equations.forward.instructions == (
        Instruction("sub", (0, constant(1.0))),
        Instruction("mul", (0, 1)),
        Instruction("add", (2, 1)),
    )


def test_an_operation_that_kernels_do_not_have_is_named():
    with pytest.raises(UnknownOperationError, match="lgamma"):
        trace(lambda c: (torch.lgamma(c),), 0, 0)
