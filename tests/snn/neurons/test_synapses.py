import math

import pytest
import torch

from snn_action.snn.neurons.synapses import Alpha, LinearFilter, Lowpass


def test_a_step_is_answered_by_its_exponential():
    synapse = Lowpass(0.02, dt=0.002)
    filtered, state = synapse(torch.ones(2, 30, 3, dtype=torch.float64))
    expected = 1 - torch.exp(-torch.arange(1, 31, dtype=torch.float64) * 0.1)
    torch.testing.assert_close(filtered[1, :, 2], expected)
    torch.testing.assert_close(state.value, filtered[:, -1])


def test_the_impulse_is_a_geometric_row_of_area_one():
    impulse = torch.zeros(1, 400, 1, dtype=torch.float64)
    impulse[0, 0] = 1
    filtered, _ = Lowpass(0.01)(impulse)
    torch.testing.assert_close(filtered.sum().item(), 1.0)
    torch.testing.assert_close(
        filtered[0, 1:9] / filtered[0, :8], torch.full((8, 1), math.exp(-0.1), dtype=torch.float64)
    )


def test_alpha_answers_a_step_with_its_closed_form():
    filtered, _ = Alpha(0.01)(torch.ones(1, 80, 1, dtype=torch.float64))
    time = torch.arange(1, 81, dtype=torch.float64) / 10
    torch.testing.assert_close(filtered[0, :, 0], 1 - (1 + time) * torch.exp(-time))


def test_a_damped_oscillator_answers_a_step_with_its_closed_form():
    omega, damping = 60.0, 8.0  # H(s) = (omega^2 + damping^2) / ((s + damping)^2 + omega^2)
    whole = omega**2 + damping**2
    filtered, _ = LinearFilter([whole], [1, 2 * damping, whole])(torch.ones(1, 200, 1, dtype=torch.float64))
    time = torch.arange(1, 201, dtype=torch.float64) / 1000
    ringing = torch.cos(omega * time) + damping / omega * torch.sin(omega * time)
    torch.testing.assert_close(filtered[0, :, 0], 1 - torch.exp(-damping * time) * ringing)


def test_a_filter_with_a_direct_part_passes_what_changes():
    filtered, _ = LinearFilter([0.02, 0], [0.02, 1])(torch.ones(1, 50, 1, dtype=torch.float64))  # s tau / (s tau + 1)
    torch.testing.assert_close(filtered[0, :, 0], torch.exp(-torch.arange(50, dtype=torch.float64) / 20))


def test_a_filter_of_order_zero_is_a_factor():
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    filtered, state = LinearFilter([3.0], [2.0])(x)
    torch.testing.assert_close(filtered, 1.5 * x)
    assert state.vector.shape == (2, 3, 0)


@pytest.mark.parametrize("kind", [Lowpass, Alpha])
def test_a_learnable_time_constant_gives_the_same_and_has_its_gradient(kind):
    x = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fixed, learnable = kind(0.007), kind(0.007, learnable=True).double()
    torch.testing.assert_close(learnable(x)[0], fixed(x)[0], rtol=1e-6, atol=1e-6)
    assert learnable.tau == pytest.approx(0.007)
    weights = torch.rand_like(x)

    def loss(log_tau: torch.Tensor) -> torch.Tensor:
        return (torch.func.functional_call(learnable, {"log_tau": log_tau}, (x,))[0] * weights).sum()

    assert torch.autograd.gradcheck(loss, (learnable.log_tau,))
    assert [name for name, _ in fixed.named_parameters()] == []


def test_a_learnable_filter_gives_the_same_and_stretches_time():
    x = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fixed, learnable = (
        LinearFilter([1, 2], [0.001, 0.1, 1]).double(),
        LinearFilter([1, 2], [0.001, 0.1, 1], learnable=True),
    )
    learnable.double()
    torch.testing.assert_close(learnable(x)[0], fixed(x)[0])
    slower = LinearFilter([1 * 3, 2], [0.001 * 9, 0.1 * 3, 1])  # s -> 3 s
    with torch.no_grad():
        learnable.log_stretch.fill_(math.log(3.0))
    torch.testing.assert_close(learnable(x)[0], slower(x)[0])

    def loss(log_stretch: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(learnable, {"log_stretch": log_stretch}, (x,))[0].square().sum()

    assert torch.autograd.gradcheck(loss, (learnable.log_stretch,))
    assert set(learnable.state_dict()) - set(fixed.state_dict()) == {"log_stretch"}


@pytest.mark.parametrize(
    "synapse", [Lowpass(0.005), Alpha(0.003), LinearFilter([1, 2], [0.001, 0.1, 1])], ids=lambda s: type(s).__name__
)
def test_a_sequence_may_be_given_in_parts_and_masked_steps_leave_the_state(synapse):
    x = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0))
    whole, final = synapse(x)
    first, state = synapse(x[:, :4])
    second, state = synapse(x[:, 4:], state)
    assert torch.equal(torch.cat([first, second], 1), whole)
    assert all(torch.equal(a, b) for a, b in zip(state, final, strict=True))
    mask = torch.arange(9) < torch.tensor([9, 2, 5]).unsqueeze(1)
    _, masked = synapse(x, mask=mask)
    for clip, length in enumerate((9, 2, 5)):
        _, alone = synapse(x[clip : clip + 1, :length])
        for held, ended in zip(masked, alone, strict=True):
            torch.testing.assert_close(held[clip], ended[0])


@pytest.mark.parametrize(
    ("num", "den", "says"),
    [
        ([1, 2, 3], [1, 2], "num"),
        ([], [1], "num"),
        ([1], [0, 1], "den"),
        ([1], [], "den"),
        ([1], [1, math.nan], "finite"),
    ],
)
def test_transfer_functions_are_checked(num, den, says):
    with pytest.raises(ValueError, match=says):
        LinearFilter(num, den)


@pytest.mark.parametrize("kind", [Lowpass, Alpha])
@pytest.mark.parametrize(("tau", "dt"), [(0.0, 0.001), (-1.0, 0.001), (float("nan"), 0.001), (0.1, 0.0)])
def test_times_must_be_positive(kind, tau, dt):
    with pytest.raises(ValueError, match=r"^(tau|dt) must be positive"):
        kind(tau, dt)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="x must be"):
        Lowpass(0.1)(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="floating-point"):
        Lowpass(0.1)(torch.zeros(3, 4, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"mask must have shape \(3, 4\)"):
        Lowpass(0.1)(torch.zeros(3, 4, 2), mask=torch.ones(2, 2))


@pytest.mark.parametrize("synapse", [Lowpass(0.005), Alpha(0.003), LinearFilter([1], [0.1, 1])])
def test_a_state_must_fit(synapse):
    x = torch.zeros(3, 5, 4)
    _, state = synapse(x)
    name = state._fields[0]
    for bad in (state[0][:2], state[0][:, :1], state[0].double(), torch.full_like(state[0], math.nan), None):
        with pytest.raises(ValueError, match=rf"state\.{name}"):
            synapse(x, state._replace(**{name: bad}))
    with pytest.raises(ValueError, match="state must be one that was returned"):
        synapse(x, tuple(state))
