import math

import pytest
import torch

from snn_action.neurons.synapse import Lowpass


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


def test_a_sequence_may_be_given_in_parts_and_masked_steps_leave_the_state():
    x = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0))
    synapse = Lowpass(0.005)
    whole, final = synapse(x)
    first, state = synapse(x[:, :4])
    second, state = synapse(x[:, 4:], state)
    assert torch.equal(torch.cat([first, second], 1), whole)
    assert torch.equal(state.value, final.value)
    mask = torch.arange(9) < torch.tensor([9, 2, 5]).unsqueeze(1)
    _, masked = synapse(x, mask=mask)
    torch.testing.assert_close(masked.value, torch.stack([whole[0, 8], whole[1, 1], whole[2, 4]]), rtol=0, atol=0)


@pytest.mark.parametrize(("tau", "dt"), [(0.0, 0.001), (-1.0, 0.001), (float("nan"), 0.001), (0.1, 0.0)])
def test_times_must_be_positive(tau, dt):
    with pytest.raises(ValueError, match="must be positive"):
        Lowpass(tau, dt)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="x must be"):
        Lowpass(0.1)(torch.zeros(3, 4))
