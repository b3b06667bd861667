import pytest
import torch
from torch import nn

from snn_action.core.errors import ConfigError
from snn_action.evaluation.energy.count import count_head
from snn_action.models import build_model
from snn_action.models.transmission import start, transmit, transmit_once

THETA = 0.4


def values(steps: int = 30) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, steps, 5, generator=generator, dtype=torch.float64).cumsum(1) * 0.3


def layers() -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(1)
    return nn.Linear(5, 3).double(), nn.Linear(5, 4, bias=False).double()


def test_receivers_add_up_changes_that_reach_the_threshold():
    """Against a loop that only ever adds what is sent."""
    x, (one, other) = values(), layers()
    given = start(2, (one, other), x.device, x.dtype)
    (a, b), after = transmit(x, given, None, THETA, "x", one, other)
    held, sums = torch.zeros(2, 5, dtype=torch.float64), [one.bias.expand(2, -1), torch.zeros(2, 4).double()]
    sent = 0
    for t in range(30):
        error = x[:, t] - held
        change = torch.where(error.abs() >= THETA, THETA * (error / THETA).round(), 0.0)
        held, sent = held + change, sent + int(change.count_nonzero())
        sums = [before + change @ layer.weight.T for before, layer in zip(sums, (one, other), strict=True)]
        torch.testing.assert_close(a[:, t], sums[0])
        torch.testing.assert_close(b[:, t], sums[1])
    assert 30 < sent < 150  # of 300 values
    assert after is not None
    torch.testing.assert_close(after.held, held)
    torch.testing.assert_close(after.products, tuple(sums))


def test_one_step_after_another_gives_the_same_and_padding_changes_nothing():
    x, both = values(), layers()
    state = given = start(2, both, x.device, x.dtype)
    mask = torch.arange(30) < torch.tensor([[30], [12]])
    products, after = transmit(x, given, mask, THETA, "x", *both)
    for t in range(12):
        once, state = transmit_once(x[:, t], state, THETA, "x", *both)
        torch.testing.assert_close(once, [product[:, t] for product in products])
    torch.testing.assert_close(state.held[1], after.held[1])
    torch.testing.assert_close(state.products[0][1], after.products[0][1])


def test_without_a_threshold_values_come_as_they_are():
    x, (one, _) = values(), layers()
    (product,), after = transmit(x, None, None, None, "x", one)
    assert after is None
    torch.testing.assert_close(product, one(x))


def test_gradients_pass_as_if_values_came_as_they_are():
    x, (one, _) = values().requires_grad_(), layers()
    (product,), _ = transmit(x, start(2, (one,), x.device, x.dtype), None, THETA, "x", one)
    (grad,) = torch.autograd.grad(product.sum(), x)
    torch.testing.assert_close(grad, one.weight.sum(0).expand_as(grad))


@pytest.mark.parametrize("kind", ["lmu", "spiking_lmu"])
def test_energy_counts_the_changes_alone(kind):
    """By hand: each sent change meets the weights behind it, and each sender is looked at once a step."""
    options = {"units": 7, "memory_d": 3, "order": 2, "theta": 4.0}
    model = build_model(
        {"type": kind, **options, "input_threshold": 0.5, "memory_threshold": 0.1}, in_features=6, num_classes=2, seed=0
    ).eval()
    clip = torch.randn(1, 9, 6, generator=torch.Generator().manual_seed(3)).cumsum(1) * 0.3
    with torch.no_grad():
        x, state, _ = model.receive(clip, None, None)
        held_x, held_m = torch.zeros(6), torch.zeros(6)
        sent = [0, 0]
        for t in range(9):
            change = torch.where((x[0, t] - held_x).abs() >= 0.5, 0.5 * ((x[0, t] - held_x) / 0.5).round(), 0.0)
            held_x, sent[0] = held_x + change, sent[0] + int(change.count_nonzero())
            _, state = model.step_once(x[:, t], state)
            error = state.memory.flatten() - held_m
            change = torch.where(error.abs() >= 0.1, 0.1 * (error / 0.1).round(), 0.0)
            held_m, sent[1] = held_m + change, sent[1] + int(change.count_nonzero())
    assert 0 < sent[0] < 54
    assert 0 < sent[1] < 54
    counted = {layer.name: layer for layer in count_head(model, clip, None)}
    for name, weights, neurons, events, targets in (
        ("encoder", "encoder", "sent input", sent[0], 3),
        ("memory_kernel", "memory_kernel", "sent memory", sent[1], 7),
    ):
        assert counted[weights].effective_macs == events * targets, name
        assert counted[weights].by_changes
        assert counted[f"{neurons} neurons"].spikes == events
        assert counted[f"{neurons} neurons"].neuron_updates == 9 * 6
    assert not counted["memory.A"].by_changes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"type": "lmu", "hidden_recurrence": True, "memory_threshold": 0.1},
            "memory_threshold: goes without feedback",
        ),
        ({"type": "lmu", "memory_to_memory": True, "input_threshold": 0.1}, "input_threshold: goes without feedback"),
        ({"type": "spiking_lmu", "spiking_memory": True, "memory_threshold": 0.1}, "sends spikes already"),
        ({"type": "lmu", "input_threshold": 0.0}, "input_threshold"),
    ],
)
def test_what_cannot_be_coded_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        build_model(options, in_features=4, num_classes=2, seed=0)
