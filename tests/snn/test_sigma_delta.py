import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.snn import SigmaDelta
from snn_action.snn.sigma_delta import SigmaDeltaState

SHAPES = ((1, 1, 1), (2, 7, 5), (1, 9, 4, 3, 2), (3, 6))


def walk(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).cumsum(1)


def code_plainly(values: Tensor, threshold: float) -> Tensor:
    """The equation, number by number, in float64."""
    flat = values.double().flatten(2) if values.ndim > 2 else values.double().unsqueeze(-1)
    held = torch.zeros_like(flat)
    for b in range(flat.shape[0]):
        for n in range(flat.shape[2]):
            before = 0.0
            for t in range(flat.shape[1]):
                change = float(flat[b, t, n]) - before
                if abs(change) >= threshold:
                    before += threshold * round(change / threshold)
                held[b, t, n] = before
    return held.reshape(values.shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threshold", [0.25, 1.7])
def test_changes_that_reach_the_threshold_are_sent(shape: tuple[int, ...], threshold: float) -> None:
    values = walk(*shape)
    held, state = SigmaDelta(threshold)(values)
    torch.testing.assert_close(held.double(), code_plainly(values, threshold), rtol=1e-6, atol=1e-6)
    assert torch.equal(state.held, held[:, -1])


@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_threshold_receivers_hold_the_values(shape: tuple[int, ...]) -> None:
    values = walk(*shape)
    held, state = SigmaDelta(0)(values)
    assert torch.equal(held, values)
    assert torch.equal(state.held, values[:, -1])


@given(st.floats(0.01, 3), st.integers(0, 100))
def test_receivers_are_less_than_a_threshold_off(threshold: float, seed: int) -> None:
    values = walk(2, 8, 3, seed=seed)
    held, _ = SigmaDelta(threshold)(values)
    assert (held - values).abs().max() < threshold * (1 + 1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_stepping_is_one_pass(threshold: float) -> None:
    coder, values = SigmaDelta(threshold), walk(2, 9, 4)
    whole, last = coder(values)
    state, steps = None, []
    for now in values.unbind(1):
        held, state = coder.step(now, state)
        steps.append(held)
    assert torch.equal(torch.stack(steps, 1), whole)
    assert state is not None
    assert torch.equal(state.held, last.held)


def test_a_still_value_is_sent_once_and_noise_below_the_threshold_never() -> None:
    noise = 0.4 * (torch.rand(1, 50, 6, generator=torch.Generator().manual_seed(1)) - 0.5)
    held, _ = SigmaDelta(1.0)(5.0 + noise)
    assert torch.diff(held, dim=1).count_nonzero() == 0
    assert bool((held == 5).all())


def test_kernels_compute_the_same_as_plain_operations() -> None:
    values = walk(1, 20, 37)
    held, _ = SigmaDelta(0.3)(values)
    plain, _ = SigmaDelta(0.3)(values.double())
    assert torch.equal((held / 0.3).round(), (plain / 0.3).round().float())


def test_the_gradient_passes_straight_through() -> None:
    values = walk(1, 5, 3).requires_grad_()
    held, _ = SigmaDelta(0.5)(values)
    weight = walk(1, 5, 3, seed=3)
    (held * weight).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, weight)


@pytest.mark.parametrize("threshold", [1e-20, 1e20])
def test_the_smallest_and_the_largest_threshold_keep_values_finite(threshold: float) -> None:
    values = torch.tensor([[[1e-8, 1e15], [-1e15, 0.0], [1e15, 1e-30]]])
    held, state = SigmaDelta(threshold)(values)
    assert held.isfinite().all()
    assert (held - values).abs().max() <= max(threshold, 1e-6 * 1e15)
    assert torch.equal(state.held, held[:, -1])


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf"), 1e-45, 1e-300, 1e39, 1e308])
def test_a_threshold_that_is_none_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        SigmaDelta(threshold)


def test_wrong_input_is_refused() -> None:
    coder = SigmaDelta(0.1)
    with pytest.raises(ValueError, match="values must be floating-point"):
        coder(torch.ones(1, 2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="with a step at least"):
        coder(torch.ones(1, 0, 3))
    with pytest.raises(ValueError, match="is nan at step 1 of clip 0"):
        coder(torch.tensor([[[1.0], [torch.nan]]]))
    with pytest.raises(ValueError, match=r"state\.held must be"):
        coder(torch.ones(1, 2, 3), SigmaDeltaState(torch.ones(1, 4)))
