"""The written-out backward pass against numerical differences and against PyTorch's own through an eager loop."""

from itertools import product

import pytest
import torch
from torch import Tensor

from snn_action.models.lmu_loop import Weights, run_lmu

BATCH, STEPS, D, ORDER, UNITS = 3, 5, 2, 3, 4
CONNECTIONS = list(product([False, True], repeat=3))  # hidden to memory, memory to memory, recurrence


def make(connections: tuple[bool, ...], masked: bool, seed: int = 0) -> tuple[list[Tensor | None], Tensor | None]:
    """drive, push, memory, hidden and the weights in the order of ``Weights``, all with a gradient; and a mask."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return (0.6 * torch.randn(*shape, generator=generator, dtype=torch.float64)).requires_grad_()

    from_hidden, from_memory, recurrent = connections
    tensors = [
        draw(BATCH, STEPS, D),
        draw(BATCH, STEPS, UNITS),
        draw(BATCH, D, ORDER),
        draw(BATCH, UNITS),
        draw(D, UNITS) if from_hidden else None,
        draw(D, D * ORDER) if from_memory else None,
        draw(UNITS, D * ORDER),
        draw(UNITS, UNITS) if recurrent else None,
        draw(ORDER, ORDER),
        draw(ORDER),
    ]
    mask = torch.arange(STEPS) < torch.tensor([STEPS, 1, 3]).unsqueeze(1)
    return tensors, mask if masked else None


def loop(tensors: list[Tensor | None], mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    drive, push, memory, hidden, *weights = tensors
    return run_lmu(drive, push, Weights(*weights), memory, hidden, mask)


def eager(tensors: list[Tensor | None], mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The equations, one step after another, with PyTorch's gradients."""
    drive, push, memory, hidden, *weights = tensors
    w = Weights(*weights)
    outputs = []
    for t in range(drive.shape[1]):
        u = drive[:, t]
        if w.from_hidden is not None:
            u = u + hidden @ w.from_hidden.T
        if w.from_memory is not None:
            u = u + memory.flatten(1) @ w.from_memory.T
        new_memory = torch.einsum("ij,bdj->bdi", w.A, memory) + u.unsqueeze(-1) * w.B
        total = push[:, t] + new_memory.flatten(1) @ w.memory.T
        if w.recurrent is not None:
            total = total + hidden @ w.recurrent.T
        new_hidden = total.tanh()
        if mask is not None:
            new_memory = torch.where(mask[:, t].view(-1, 1, 1), new_memory, memory)
            new_hidden = torch.where(mask[:, t].view(-1, 1), new_hidden, hidden)
        memory, hidden = new_memory, new_hidden
        outputs.append(hidden)
    return torch.stack(outputs, 1), memory, hidden


def combine(outputs: tuple[Tensor, ...]) -> Tensor:
    """One number that every output has its own share in."""
    generator = torch.Generator().manual_seed(7)
    parts = (o * torch.randn(o.shape, generator=generator, dtype=o.dtype) for o in outputs)
    return torch.stack([part.sum() for part in parts]).sum()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("connections", CONNECTIONS, ids=str)
def test_outputs_and_gradients_are_those_of_an_eager_loop(connections, masked):
    tensors, mask = make(connections, masked)
    leaves = [tensor for tensor in tensors if tensor is not None]
    for ours, theirs in zip(loop(tensors, mask), eager(tensors, mask), strict=True):
        torch.testing.assert_close(ours, theirs)
    ours = torch.autograd.grad(combine(loop(tensors, mask)), leaves)
    theirs = torch.autograd.grad(combine(eager(tensors, mask)), leaves, materialize_grads=True)
    for leaf, a, b in zip(leaves, ours, theirs, strict=True):
        unseen = leaf is tensors[3] and not connections[0] and not connections[2]
        assert bool(a.any()) is not unseen
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("connections", CONNECTIONS, ids=str)
def test_gradients_are_numerical_differences(connections, masked):
    tensors, mask = make(connections, masked)
    places = [i for i, tensor in enumerate(tensors) if tensor is not None]

    def run(*leaves: Tensor) -> tuple[Tensor, ...]:
        given: list[Tensor | None] = [None] * len(tensors)
        for place, leaf in zip(places, leaves, strict=True):
            given[place] = leaf
        return loop(given, mask)

    assert torch.autograd.gradcheck(run, [tensors[i] for i in places])


@pytest.mark.parametrize("learns", ["none", "weights", "state", "A"])
def test_only_the_gradients_that_are_asked_for_are_given(learns):
    tensors, _ = make((True, True, True), masked=False)
    wanted = {"none": [], "weights": [4, 5, 6, 7], "state": [2, 3], "A": [8]}[learns]
    given = [tensor.detach().requires_grad_(i in wanted) for i, tensor in enumerate(tensors)]
    hidden, memory, last = loop(given, None)
    assert hidden.requires_grad == bool(wanted)
    if wanted:
        ours = torch.autograd.grad(combine((hidden, memory, last)), [given[i] for i in wanted])
        theirs = torch.autograd.grad(combine(eager(given, None)), [given[i] for i in wanted])
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_a_padded_step_gives_the_state_again_and_takes_no_gradient():
    tensors, mask = make((True, True, True), masked=True)
    hidden, _, last = loop(tensors, mask)
    torch.testing.assert_close(hidden[1, 1:], hidden[1, :1].expand(STEPS - 1, -1))
    torch.testing.assert_close(last, hidden[:, -1])
    for gradient in torch.autograd.grad(hidden.square().sum(), tensors[:2]):
        assert not gradient[~mask].any()
        assert gradient[mask].any()


def test_what_is_given_stays_as_it_is():
    tensors, mask = make((True, True, True), masked=True)
    before = [tensor.detach().clone() for tensor in tensors]
    combine(loop(tensors, mask)).backward()
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


@pytest.mark.parametrize("cut", [1, 3])
def test_parts_of_a_sequence_after_each_other_are_the_whole(cut):
    tensors, _ = make((True, True, True), masked=False, seed=cut)
    drive, push, *rest = tensors
    whole = loop(tensors, None)
    first = loop([drive[:, :cut], push[:, :cut], *rest], None)
    second = loop([drive[:, cut:], push[:, cut:], first[1], first[2], *rest[2:]], None)
    torch.testing.assert_close(torch.cat([first[0], second[0]], 1), whole[0])
    torch.testing.assert_close(second[1], whole[1])
    ours = torch.autograd.grad(combine((torch.cat([first[0], second[0]], 1), *second[1:])), tensors)
    theirs = torch.autograd.grad(combine(whole), tensors)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
