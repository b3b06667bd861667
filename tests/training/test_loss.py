import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_action.config import LossSettings
from snn_action.models import Population
from snn_action.training.loss import sequence_loss, spike_penalty


def naive(logits, lengths, labels, timestep, clip, smoothing):
    classes = logits.shape[-1]
    total = 0.0
    for c, length in enumerate(lengths):
        target = [smoothing / classes + (1 - smoothing) * (k == labels[c]) for k in range(classes)]
        shares = [[math.exp(v) / sum(math.exp(w) for w in row) for v in row] for row in logits[c, :length].tolist()]
        mean = [sum(row[k] for row in shares) / length for k in range(classes)]
        steps = sum(-sum(t * math.log(p) for t, p in zip(target, row, strict=True)) for row in shares) / length
        total += timestep * steps - clip * sum(t * math.log(p) for t, p in zip(target, mean, strict=True))
    return total / len(lengths)


@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    timestep=st.sampled_from([0.0, 0.5, 1.0]),
    clip=st.sampled_from([0.0, 1.0, 2.0]),
    smoothing=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_equals_a_naive_sum(seed, lengths, timestep, clip, smoothing):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(lengths), max(lengths), 3, generator=generator)
    labels = torch.randint(3, (len(lengths),), generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    got = sequence_loss(logits, mask, labels, LossSettings(timestep=timestep, clip=clip), smoothing)
    assert float(got) == pytest.approx(naive(logits, lengths, labels.tolist(), timestep, clip, smoothing), rel=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_mixed_clip_has_the_share_of_each_loss(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, generator=generator)
    mask = torch.ones(3, 4, dtype=torch.bool)
    labels, second, share = torch.tensor([0, 1, 2]), torch.tensor([4, 4, 2]), torch.tensor([0.9, 0.5, 0.7])
    weights = LossSettings(timestep=1.0, clip=2.0)
    found = sequence_loss(logits, mask, labels, weights, smoothing, (second, share))
    each = [
        float(s) * sequence_loss(logits[c : c + 1], mask[c : c + 1], labels[c : c + 1], weights, smoothing)
        + (1 - float(s)) * sequence_loss(logits[c : c + 1], mask[c : c + 1], second[c : c + 1], weights, smoothing)
        for c, s in enumerate(share)
    ]
    torch.testing.assert_close(found, torch.stack(each).mean())


@pytest.mark.parametrize("weights", [LossSettings(timestep=1, clip=0), LossSettings(timestep=0, clip=1)])
def test_padding_changes_neither_loss_nor_gradient_whatever_it_holds(weights):
    mask = torch.tensor([[True, True, False], [True, False, False]])
    labels = torch.tensor([0, 1])
    found = []
    for padding in (0.0, 1e4, -1e4):
        logits = torch.tensor([[[1.0, 2.0], [0.5, -1.0], [0, 0]], [[3.0, 0.0], [0, 0], [0, 0]]])
        logits = torch.where(mask.unsqueeze(-1), logits, padding).requires_grad_()
        loss = sequence_loss(logits, mask, labels, weights)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert bool(gradient.isfinite().all())
        assert not gradient[~mask].any()
        found.append((loss.detach(), gradient))
    for loss, gradient in found[1:]:
        assert torch.equal(loss, found[0][0])
        assert torch.equal(gradient, found[0][1])


@pytest.mark.parametrize("weights", [LossSettings(timestep=1, clip=0), LossSettings(timestep=0, clip=1)])
def test_a_sure_and_wrong_prediction_has_a_finite_loss_and_gradient(weights):
    logits = torch.tensor([[[1e4, 0.0]]], requires_grad=True)
    loss = sequence_loss(logits, torch.ones(1, 1, dtype=torch.bool), torch.tensor([1]), weights)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(1e4)
    torch.testing.assert_close(gradient, torch.tensor([[[1.0, -1.0]]]))


class Layer(NamedTuple):
    spikes: torch.Tensor


def test_the_penalty_counts_spikes_a_neuron_and_real_step_above_the_target():
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    populations = [Population("a", 10, 1), Population("b", 5, 1)]
    state = (Layer(torch.tensor([8.0, 2.0])), Layer(torch.tensor([1.0, 3.0])))  # rates 0.2, 0.1 and 0.05, 0.3
    free = spike_penalty(state, mask, populations, 0.0)
    torch.testing.assert_close(free, torch.tensor((0.2**2 + 0.1**2 + 0.05**2 + 0.3**2) / 4))
    over = spike_penalty(state, mask, populations, 0.1)
    torch.testing.assert_close(over, torch.tensor((1.0**2 + 0 + 0 + 2.0**2) / 4))


def test_targets_by_name_are_those_of_the_populations_that_are_named():
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    populations = [Population("a", 10, 1), Population("b", 5, 1), Population("c", 4, 1)]
    counts = [torch.tensor([8.0, 2.0]), torch.tensor([1.0, 3.0]), torch.tensor([9.0, 9.0])]
    state = tuple(map(Layer, counts))
    targets = {"b": 0.1, "a": 0.05}
    expected = []
    for population, count in zip(populations[:2], counts, strict=False):
        for number, steps in zip(count.tolist(), (4, 2), strict=True):
            expected.append(max(number / population.neurons / steps / targets[population.name] - 1, 0) ** 2)
    found = spike_penalty(state, mask, populations, targets)
    torch.testing.assert_close(found, torch.tensor(sum(expected) / 4))
    free = spike_penalty(state, mask, populations, {"a": 0.0, "b": 0.1})
    torch.testing.assert_close(free, torch.tensor((0.2**2 + 0.1**2 + 2.0**2) / 4))
    same = spike_penalty(state, mask, populations, dict.fromkeys("abc", 0.1))
    assert torch.equal(same, spike_penalty(state, mask, populations, 0.1))


def test_a_population_without_a_target_has_no_gradient():
    counts = [torch.tensor([5.0]).requires_grad_() for _ in range(2)]
    populations = [Population("a", 10, 1), Population("b", 10, 1)]
    spike_penalty(tuple(map(Layer, counts)), torch.ones(1, 2).bool(), populations, {"b": 0.1}).backward()
    assert counts[0].grad is None
    assert counts[1].grad.item() > 0
