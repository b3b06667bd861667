import math

import pytest
import torch

from snn_action.snn import legendre
from snn_action.snn.legendre import LegendreMemory, impulse_response, legendre_matrices, spectral_radius

DOUBLE = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def loop(memory: LegendreMemory, u: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """Step by step from the definition, without a line of the module's own forward."""
    a, b = memory.matrices(u)
    seen = []
    for t in range(u.shape[1]):
        state = torch.einsum("ij,bdj->bdi", a, state) + u[:, t, :, None] * b
        seen.append(state)
    return torch.stack(seen, 1)


@pytest.mark.parametrize("steps", [1, 2, 7, 40, 64, 65, 96, 227])
@pytest.mark.parametrize("trained", ["none", "matrices", "theta"])
@pytest.mark.parametrize("starts", [False, True])
def test_all_steps_at_once_equal_the_recurrence(steps, trained, starts):
    """Of both ways: one product with all pairs of steps, and chunk after chunk, the last of them full or not."""
    assert legendre.LONGEST_CHUNK == 64
    assert {-steps % size > 0 for steps in (65, 96, 227) for size in legendre.CHUNKS} == {True, False}
    memory = LegendreMemory(5, 20.0, "zoh", trained).double()
    u, state = draw(3, steps, 2), draw(3, 2, 5, seed=1) * starts
    expected = loop(memory, u, state)
    seen, last = memory(u, state)
    torch.testing.assert_close(seen, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(last, expected[:, -1], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(memory.last(u, state), expected[:, -1], rtol=1e-6, atol=1e-7)
    stepped = state
    for now in u.unbind(1):
        stepped = memory.step(now, stepped)
    torch.testing.assert_close(stepped, expected[:, -1])


def test_clips_of_different_length_keep_the_memory_of_their_own_last_step():
    memory = LegendreMemory(4, 6.0).double()
    u, state, lengths = draw(3, 9, 2), draw(3, 2, 4, seed=1), torch.tensor([9, 1, 4])
    mask = torch.arange(9) < lengths.unsqueeze(1)
    expected = loop(memory, u, state)[torch.arange(3), lengths - 1]
    padded = torch.where(mask.unsqueeze(-1), u, 1e3)
    torch.testing.assert_close(memory(padded, state, mask)[1], expected)
    torch.testing.assert_close(memory.last(padded, state, mask), expected)


def test_a_long_memory_of_high_order_keeps_single_precision():
    """That of permuted sequential MNIST; the reference is stepped in float64."""
    memory = LegendreMemory(468, 784.0)
    u, state = draw(1, 784, 1), draw(1, 1, 468, seed=1)
    a, b = legendre_matrices(468, 784.0)
    seen, expected = memory(u.float(), state.float())[0][0, :, 0], state[0, 0]
    for now, found in zip(u[0, :, 0], seen, strict=True):
        expected = a @ expected + b * now
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [6, 70])
@pytest.mark.parametrize("trained", ["none", "matrices", "theta"])
@pytest.mark.parametrize("discretizer", ["zoh", "euler"])
def test_gradients_are_those_of_the_recurrence(trained, discretizer, steps):
    memory = LegendreMemory(3, 9.0, discretizer, trained).double()
    inputs = [draw(2, steps, 2).requires_grad_(), draw(2, 2, 3, seed=1).requires_grad_(), *memory.parameters()]
    weight = draw(2, steps, 2, 3, seed=2)
    found = torch.autograd.grad((memory(*inputs[:2])[0] * weight).sum(), inputs)
    wanted = torch.autograd.grad((loop(memory, *inputs[:2]) * weight).sum(), inputs)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_a_trained_memory_answers_at_once_when_its_matrices_change():
    memory = LegendreMemory(3, 9.0).double()
    u, zero = draw(1, 5, 1), torch.zeros(1, 1, 3, dtype=DOUBLE)
    before, _ = memory(u, zero)
    with torch.no_grad():
        memory.A.mul_(0.5)
    after, _ = memory(u, zero)
    torch.testing.assert_close(after, loop(memory, u, zero))
    assert (after - before).abs().max() > 1e-3


@pytest.mark.parametrize("order", [1, 2, 6])
def test_euler_is_the_first_step_of_the_exponential(order):
    exact = legendre_matrices(order, 1e5)
    euler = legendre_matrices(order, 1e5, "euler")
    for a, b in zip(exact, euler, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=30 * order**4 / 1e10)


@pytest.mark.parametrize(("order", "theta"), [(2, 1.2), (6, 8.0), (16, 50.0)])
def test_an_unstable_memory_warns_and_says_why(order, theta):
    with pytest.warns(UserWarning, match=r"spectral radius .*zoh"):
        memory = LegendreMemory(order, theta, "euler")
    assert spectral_radius(memory.A) > 1
    assert spectral_radius(LegendreMemory(order, theta).A) < 1


def test_a_memory_that_training_made_unstable_warns_when_it_is_used():
    memory = LegendreMemory(6, 12.0, "euler", "theta")
    memory.log_theta.data.fill_(math.log(4.0))
    with pytest.warns(UserWarning, match=r"trained theta 4 is unstable.*spectral radius"):
        memory.eval()


@pytest.mark.parametrize(
    ("order", "theta", "says"),
    [
        (0, 5.0, "order"),
        (2.5, 5.0, "order"),
        (3, 0.0, "theta"),
        (3, math.inf, "theta"),
        (3, 1e-320, "theta 9.99989e-321 is too small for order 3"),
    ],
)
def test_order_and_theta_out_of_range_are_refused(order, theta, says):
    with pytest.raises(ValueError, match=says):
        legendre_matrices(order, theta)


@pytest.mark.parametrize(
    ("names", "says"), [(("exact",), "discretizer must be one of"), (("zoh", "all"), "trained must")]
)
def test_names_that_do_not_exist_are_refused(names, says):
    with pytest.raises(ValueError, match=says):
        LegendreMemory(3, 7.0, *names)


@pytest.mark.parametrize("trained", ["none", "matrices", "theta"])
@pytest.mark.parametrize("steps", [65, 200])
def test_a_high_order_of_few_values_is_an_fft_and_equals_the_recurrence(steps, trained, monkeypatch):
    memory = LegendreMemory(legendre.FFT_ORDER, 100.0, "zoh", trained).double()
    u, state = draw(2, steps, 2).requires_grad_(), torch.zeros(2, 2, legendre.FFT_ORDER, dtype=DOUBLE)
    assert u.shape[0] * u.shape[2] == legendre.FFT_VALUES
    found = []
    for values in (legendre.FFT_VALUES, 0):
        monkeypatch.setattr(legendre, "FFT_VALUES", values)
        seen, last = memory(u, state)
        leaves = [u, *memory.parameters()]
        found.append((seen, last, torch.autograd.grad((seen * draw(*seen.shape, seed=2)).sum(), leaves)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found[0][0], loop(memory, u, state), rtol=1e-6, atol=1e-8)
    monkeypatch.setattr(torch.fft, "irfft", None)
    memory(u, state)  # without the FFT


def test_a_memory_that_was_made_in_inference_mode_works():
    with torch.inference_mode():
        memory = LegendreMemory(3, 7.0)
        seen, _ = memory(torch.ones(1, 5, 2), torch.zeros(1, 2, 3))
    torch.testing.assert_close(seen, LegendreMemory(3, 7.0)(torch.ones(1, 5, 2), torch.zeros(1, 2, 3))[0])


def test_the_impulse_response_is_the_powers_of_the_matrix():
    a, b = legendre_matrices(4, 7.0)
    expected, now = [], b
    for _ in range(11):
        expected.append(now)
        now = a @ now
    torch.testing.assert_close(impulse_response(a, b, 11), torch.stack(expected))
