"""``Sequential`` hands states on: stepping equals one pass, padding changes nothing, wrong states are refused."""

import pytest
import torch
from torch import nn

from snn_action.snn import LIF, EnsembleArray, LegendreMemory, Lowpass, Sequential

BATCH, STEPS = 5, 12


@pytest.fixture
def net() -> Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inner = Sequential(nn.Linear(12, 8), LIF(unit="count", gradient="surrogate"))
        memory = LegendreMemory(3, 10.0)
        array = EnsembleArray(8, 6, seed=1)
        return Sequential(nn.Linear(3, 4), memory, nn.Flatten(2), inner, array, Lowpass(0.01), nn.Linear(8, 2))


@pytest.fixture
def x() -> torch.Tensor:
    return 30 * torch.rand(BATCH, STEPS, 3, generator=torch.Generator().manual_seed(2))


def test_steps_are_one_pass_and_a_pass_goes_on_from_a_state(net, x):
    whole, end = net(x)
    assert whole.shape == (BATCH, STEPS, 2)
    state, steps = None, []
    for now in x.unbind(1):
        y, state = net.step(now, state)
        steps.append(y)
    assert torch.allclose(torch.stack(steps, 1), whole, atol=1e-5)
    first, between = net(x[:, :7])
    second, after = net(x[:, 7:], between)
    assert torch.allclose(torch.cat([first, second], 1), whole, atol=1e-5)
    assert torch.allclose(after[0], end[0], atol=1e-5)  # of the memory
    assert len(end) == 4  # memory, inner network, array, synapse
    assert len(end[1]) == 1


def test_padding_changes_no_real_step_and_no_state(net, x):
    lengths = torch.tensor([12, 3, 7, 1, 9])
    mask = torch.arange(STEPS) < lengths.unsqueeze(1)
    padded, end = net(torch.where(mask.unsqueeze(-1), x, 9.0), mask=mask)
    for clip, length in enumerate(lengths.tolist()):
        alone, last = net(x[clip : clip + 1, :length])
        assert torch.allclose(padded[clip, :length], alone[0], atol=1e-5)
        assert torch.allclose(end[0][clip], last[0][0], atol=1e-5)
        assert torch.allclose(end[3].value[clip], last[3].value[0], atol=1e-5)


def test_every_parameter_learns(net, x):
    net(x)[0].square().sum().backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert not idle


def test_a_state_of_another_network_is_refused(net, x):
    with pytest.raises(ValueError, match="state must have 4 entries, one a layer with a state, not 1"):
        net(x, (None,))


def test_a_network_without_state_is_that_of_pytorch(x):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)
    y, state = Sequential(*layers)(x)
    assert state == ()
    assert torch.equal(y, nn.Sequential(*layers)(x))
