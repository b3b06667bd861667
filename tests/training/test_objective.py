import math

import pytest
import torch

from snn_action.config import TrainingSettings
from snn_action.models import build_model
from snn_action.training.clips import Batch
from snn_action.training.recogniser import Recogniser, TrainingCounts, make_optimizer, scale_rate


def test_rate_warms_up_then_stays():
    assert [scale_rate(step, 10, 4, cosine=False) for step in range(6)] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]


def test_rate_falls_by_half_a_cosine_to_zero():
    rates = [scale_rate(step, 12, 2, cosine=True) for step in range(13)]
    assert rates[:2] == [1 / 3, 2 / 3]
    assert rates[2:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 10)) for k in range(11)])
    assert rates[2] == 1
    assert rates[12] == pytest.approx(0)


@pytest.mark.parametrize(("total", "warmup"), [(3, 3), (2, 5), (1, 0)])
def test_rate_is_positive_in_training_whatever_the_numbers(total, warmup):
    assert all(0 < scale_rate(step, total, warmup, cosine=True) <= 1 for step in range(total))


def test_counts_are_those_of_a_loop():
    torch.manual_seed(0)
    counts = TrainingCounts()
    assert counts.take() == {}
    losses, steps, last, clip = [], [], [], []
    for size in (3, 5):
        logits, label = torch.randn(size, 4, 3), torch.randint(3, (size,))
        lengths = torch.randint(1, 5, (size,))
        loss = torch.rand(())
        counts.add(logits, torch.arange(4) < lengths.unsqueeze(1), label, loss)
        losses += [float(loss)] * size
        for c in range(size):
            shown = logits[c, : lengths[c]].softmax(-1)
            steps += [bool(row.argmax() == label[c]) for row in shown]
            last.append(bool(shown[-1].argmax() == label[c]))
            clip.append(bool(shown.mean(0).argmax() == label[c]))
    taken = counts.take()
    for key, values in (("loss", losses), ("timestep", steps), ("last", last), ("clip", clip)):
        assert taken[key] == pytest.approx(sum(values) / len(values)), key
    assert counts.take() == {}


def test_noise_is_in_units_of_each_features_deviation(settings):
    config = settings(feature_noise=0.5, loss={"timestep": 1.0})
    model = build_model({"type": "frame_average"}, 2, 3)
    deviation = torch.tensor([10.0, 0.01])
    model.standardiser.scale = 1 / deviation
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    recogniser = Recogniser(model, config.training, seed=0, steps_per_epoch=1)
    batch = Batch(torch.full((400, 10, 2), 3.0), torch.ones(400, 10, dtype=torch.bool), torch.zeros(400).long())
    recogniser.training_step(batch, 0)
    assert (seen[0] - 3).std((0, 1)) == pytest.approx(0.5 * deviation, rel=0.05)


@pytest.mark.parametrize(("name", "plain"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_the_optimiser_in_one_pass_moves_weights_as_pytorchs_plain_one(name, plain, clip):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 4, generator=generator)
    settings = TrainingSettings(optimizer=name, learning_rate=0.01, weight_decay=0.1, gradient_clip=clip)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizers = [
        make_optimizer([ours], settings),
        plain([theirs], lr=0.01, weight_decay=0.1, foreach=False, fused=False),
    ]
    assert bool(optimizers[0].defaults["fused"]) == (clip is None)
    for _ in range(5):
        gradient = torch.randn(5, 4, generator=generator)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert (ours - start).abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
