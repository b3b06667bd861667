"""The written-out backward pass against finite differences, and the forward pass against a plain loop."""

import itertools

import pytest
import torch
from torch import Tensor

from snn_action.models.lmu_loop import Weights, run_lmu
from snn_action.snn.legendre import legendre_matrices

BATCH, STEPS, SIZE, ORDER, UNITS = 3, 4, 2, 3, 5
COMBINATIONS = list(itertools.product([False, True], repeat=4))  # E_h, E_m, W_h, mask


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 0.4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arguments(from_hidden: bool, from_memory: bool, recurrent: bool) -> list[Tensor | None]:
    a, b = legendre_matrices(ORDER, 6.0)
    memory = SIZE * ORDER
    return [
        draw(BATCH, STEPS, SIZE),
        draw(BATCH, STEPS, UNITS, seed=1),
        draw(SIZE, UNITS, seed=2) if from_hidden else None,
        draw(SIZE, memory, seed=3) if from_memory else None,
        draw(UNITS, memory, seed=4),
        draw(UNITS, UNITS, seed=5) if recurrent else None,
        a,
        b,
        draw(BATCH, SIZE, ORDER, seed=6),
        draw(BATCH, UNITS, seed=7),
    ]


def run(inputs: list[Tensor | None], mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    drive, push, *weights, memory, hidden = inputs
    return run_lmu(drive, push, Weights(*weights), memory, hidden, mask)


def make_mask(masked: bool) -> Tensor | None:
    return torch.arange(STEPS) < torch.tensor([[4], [1], [3]]) if masked else None


@pytest.mark.parametrize(("from_hidden", "from_memory", "recurrent", "masked"), COMBINATIONS)
def test_forward_is_the_plain_loop(from_hidden, from_memory, recurrent, masked):
    inputs, mask = arguments(from_hidden, from_memory, recurrent), make_mask(masked)
    drive, push, e_h, e_m, w_m, w_h, a, b, memory, hidden = inputs
    seen = []
    for t in range(STEPS):
        u = drive[:, t]
        u = u if e_h is None else u + hidden @ e_h.T
        u = u if e_m is None else u + memory.flatten(1) @ e_m.T
        new = torch.einsum("ij,bdj->bdi", a, memory) + u[:, :, None] * b
        z = push[:, t] + new.flatten(1) @ w_m.T
        z = z if w_h is None else z + hidden @ w_h.T
        real = torch.ones(BATCH, dtype=torch.bool) if mask is None else mask[:, t]
        memory = torch.where(real[:, None, None], new, memory)
        hidden = torch.where(real[:, None], z.tanh(), hidden)
        seen.append(hidden)
    for found, expected in zip(run(inputs, mask), (torch.stack(seen, 1), memory, hidden), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("from_hidden", "from_memory", "recurrent", "masked"), COMBINATIONS)
def test_the_gradient_of_everything_is_exact(from_hidden, from_memory, recurrent, masked):
    inputs, mask = arguments(from_hidden, from_memory, recurrent), make_mask(masked)
    places = [k for k, tensor in enumerate(inputs) if tensor is not None]

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        whole = list(inputs)
        for place, tensor in zip(places, tensors, strict=True):
            whole[place] = tensor
        return run(whole, mask)

    leaves = [inputs[place].clone().requires_grad_() for place in places]
    assert torch.autograd.gradcheck(function, leaves, atol=1e-6)


@pytest.mark.parametrize("time_first", [False, True])
def test_what_it_is_given_stays_as_it_is(time_first):
    inputs = arguments(True, True, True)
    if time_first:  # as the model gives them
        inputs[:2] = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in inputs[:2]]
    before = [tensor.clone() for tensor in inputs]
    run(inputs, None)
    assert all(torch.equal(tensor, was) for tensor, was in zip(inputs, before, strict=True))


def test_under_autocast_states_keep_their_precision():
    inputs = [None if tensor is None else tensor.float() for tensor in arguments(True, True, True)]
    plain = run(inputs, None)
    inputs[0], inputs[1] = inputs[0].bfloat16(), inputs[1].bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = run(inputs, None)
    assert all(tensor.dtype == torch.float32 for tensor in found)
    torch.testing.assert_close(found[0], plain[0], rtol=0.02, atol=0.02)
