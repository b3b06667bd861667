import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from snn_action.config import make_config
from snn_action.core.errors import ConfigError
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.models import build_model
from snn_action.training import Sides, check_augment
from snn_action.training.augment import Augmenter, make_augmenter
from snn_action.training.clips import EpochSampler, make_loader
from snn_action.training.history import EpochRecorder
from snn_action.training.objective import Objective

EVERYTHING = {"speed": [0.5, 2.0], "jitter": 0.5, "drop": 0.2, "noise": 0.3, "mixup": 0.4}


def two_streams(features):
    rows = features.streams[0].shards[0]
    other = StreamRows((rows[:, :2] + 100,), features.streams[0].shard, features.streams[0].offset)
    return replace(features, streams=(*features.streams, other))


def augmenter(features, settings, clips=range(24), **augment):
    return Augmenter(features, clips, settings(augment=augment))


def test_nothing_is_switched_on_by_default(features, settings):
    assert make_augmenter(features, range(4), settings()) is None
    assert make_augmenter(features, range(4), settings(augment={"noise": 0.1})) is not None
    assert make_augmenter(features, range(4), settings(augment={"copies": 7, "seed": 3})) is None


def test_a_clip_is_drawn_from_seed_epoch_and_clip_alone(features, settings):
    one, two = (augmenter(features, settings, **EVERYTHING) for _ in range(2))
    first, mask, mixed = one.read([3, 7, 5], 2)
    two.read([9], 0)
    other, other_mask, other_mixed = two.read([5], 2)
    length = int(mask[2].sum())
    assert other_mask.sum() == length
    assert torch.equal(first[2, :length], other[0])
    assert mixed.share[2] == other_mixed.share[0]
    assert mixed.label[2] == other_mixed.label[0]
    for changed in (one.read([5], 3), augmenter(features, settings, seed=1, **EVERYTHING).read([5], 2)):
        assert changed[0].shape != other.shape or not torch.equal(changed[0], other)


def test_padding_is_zero_and_masked(features, settings):
    found, mask, _ = augmenter(features, settings, **EVERYTHING).read(range(24), 0)
    assert found.shape[:2] == mask.shape
    assert not found[~mask].any()
    assert (mask.sum(1) >= 1).all()
    assert (mask.long().diff(dim=1) <= 0).all()
    assert mask.shape[1] <= features.steps


def test_noise_has_the_deviation_of_its_stream(settings):
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(2000, 8)).astype(np.float32) * ([1] * 4 + [50] * 4)).float()
    parts = [
        StreamRows((rows[:, a:b].contiguous(),), np.zeros(20, int), np.arange(20) * 100) for a, b in ((0, 4), (4, 8))
    ]
    features = FeatureSet(np.arange(20), np.arange(20) % 2, np.full(20, 100), tuple(parts))
    noisy, _, _ = augmenter(features, settings, range(20), noise=0.1).read(range(20), 0)
    noise = noisy - features.read(range(20))[0]
    assert float(noise[..., :4].std()) == pytest.approx(0.1, rel=0.05)
    assert float(noise[..., 4:].std()) == pytest.approx(5, rel=0.05)


def test_mixed_clips_are_the_sum_of_two(features, settings):
    full = replace(features, length=np.full(40, 7))
    found, _, mixed = augmenter(full, settings, mixup=1.0).read(range(24), 0)
    plain, _ = full.read(range(24))
    assert (mixed.share >= 0.5).all()
    assert (mixed.share < 1).any()
    for clip in range(24):
        share = float(mixed.share[clip])
        rest = (found[clip] - share * plain[clip]) / max(1 - share, 1e-9)
        nearest = int((plain - rest).square().sum((1, 2)).argmin())
        if share < 0.99:
            torch.testing.assert_close(plain[nearest], rest, atol=1e-3, rtol=1e-3)
            assert full.label[nearest] == mixed.label[clip]


def test_a_single_stream_is_not_taken_from_another_clip(features, settings):
    found, mask, _ = augmenter(features, settings, mix_streams=1.0).read(range(24), 0)
    plain, real = features.read(range(24))
    assert torch.equal(mask, real)
    torch.testing.assert_close(found, plain)


def test_a_stream_is_taken_from_another_clip_of_the_class(features, settings):
    both = two_streams(replace(features, length=np.full(40, 7)))
    found, _, _ = augmenter(both, settings, mix_streams=1.0).read(range(24), 0)
    plain, _ = both.read(range(24))
    other = 0
    for clip in range(24):
        own = [torch.equal(found[clip, :, a:b], plain[clip, :, a:b]) for a, b in ((0, 5), (5, 7))]
        assert any(own)
        if not all(own):
            a, b = ((0, 5), (5, 7))[own.index(False)]
            source = [k for k in range(24) if torch.equal(found[clip, :, a:b], plain[k, :, a:b])]
            assert {int(both.label[k]) for k in source} == {int(both.label[clip])}
            other += 1
    assert other > 10


def test_rows_come_from_all_versions(features, settings):
    versions = [
        replace(features, streams=(replace(features.streams[0], shards=(features.streams[0].shards[0] + by,)),))
        for by in (1000, 2000)
    ]
    varied = augmenter(replace(features, versions=tuple(versions)), settings, noise=1e-9)
    plain, mask = features.read([4])
    levels = {round(float((varied.read([4], epoch)[0] - plain)[mask].mean()), 0) for epoch in range(40)}
    assert levels == {0.0, 1000.0, 2000.0}


def test_frames_are_drawn_from_all_frames_of_the_video(features, settings):
    rows = torch.arange(40 * 30, dtype=torch.float32).unsqueeze(1).expand(-1, 5).contiguous()
    every = StreamRows((rows,), np.zeros(40, int), np.arange(40) * 30)
    whole = FeatureSet(features.video, features.label, np.full(40, 30), (every,))
    both = replace(features, versions=(whole,))
    config = settings(augment={"redraw": True})
    clip = config.clip.model_copy(update={"frames": 6, "sampling": "uniform"})
    varied = Augmenter(both, range(24), config.model_copy(update={"clip": clip}))
    drawn = [varied.read([2], epoch)[0][0, :, 0].numpy() - 60 for epoch in range(60)]
    for times in drawn:
        assert (times // 5 == np.arange(6)).all()
    assert {*np.concatenate(drawn)} == {*range(30)}
    with pytest.raises(ConfigError, match="no features of all frames"):
        augmenter(features, settings, redraw=True)


def test_copies_follow_the_clips_themselves(features, settings):
    found, mask, label = augmenter(features, settings, noise=0.5, copies=2).read_copies([4, 9])
    plain, plain_mask = features.read([4, 9])
    assert label.tolist() == features.label[[4, 9] * 3].tolist()
    steps = plain.shape[1]
    assert torch.equal(found[:2, :steps], plain)
    assert torch.equal(mask[:2, :steps], plain_mask)
    assert not torch.equal(found[2:4], found[4:6])
    assert not torch.equal(found[2:4], found[:2])


@pytest.mark.parametrize("sorted_batches", [1, 3])
def test_equal_seeds_give_equal_files_and_a_resumed_training_ends_like_a_whole_one(
    tmp_path, train, settings, monkeypatch, sorted_batches
):
    config = settings(augment=EVERYTHING, sorted_batches=sorted_batches)
    a, b = (train(tmp_path / name, config).state_dict() for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)

    original = EpochRecorder.finish

    def finish(self, *arguments):
        original(self, *arguments)
        if self.next_epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(EpochRecorder, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "c", config)
    monkeypatch.undo()
    c = train(tmp_path / "c", config).state_dict()
    assert all(torch.equal(a[key], c[key]) for key in a)
    plain = train(tmp_path / "d", settings()).state_dict()
    assert any(not torch.equal(a[key], plain[key]) for key in a)
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 3


def test_processes_that_read_batches_change_nothing(features, settings):
    config = settings(augment=EVERYTHING)
    found = []
    for workers in (0, 1):
        sampler = EpochSampler(24, 0, shuffle=True)
        loader = make_loader(
            features, range(24), sampler, batch_size=8, workers=workers, reader=Augmenter(features, range(24), config)
        )
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            found.append(list(loader))
    for one, two in ((found[0], found[2]), (found[1], found[3])):
        assert all(torch.equal(a.features, b.features) for a, b in zip(one, two, strict=True))
        assert all(torch.equal(a.mixed.share, b.mixed.share) for a, b in zip(one, two, strict=True))
    assert not torch.equal(found[0][0].mixed.share, found[1][0].mixed.share)


def test_a_model_that_is_solved_at_once_sees_the_copies(tmp_path, train, settings, features):
    model = {"type": "mean_pool"}
    varied = settings(model, augment={"noise": 0.5, "copies": 3})
    sides = Sides(range(24))
    a, b = (train(tmp_path / name, varied, sides) for name in "ab")
    plain = train(tmp_path / "c", settings(model), sides)
    assert torch.equal(a.weight, b.weight)
    assert not torch.equal(a.weight, plain.weight)
    by_hand = build_model(varied.model, features.dim, 3, seed=0)
    by_hand.fit(*Augmenter(features, range(24), varied).read_copies(range(24)))
    assert torch.equal(a.weight, by_hand.weight)


def test_no_gradient_depends_on_padding(features, settings):
    """A step on a batch of unequal lengths is the mean over the same clips, each alone and without padding."""
    config = settings({"type": "lmu", "units": 6, "order": 2, "theta": 5.0, "memory_d": 3, "dropout": 0.0})
    config = config.model_copy(update={"training": config.training.model_copy(update={"feature_noise": 0.0})})
    model = build_model(config.model, features.dim, 3, seed=0)
    model.prepare(*features.read(range(24)), torch.from_numpy(features.label[:24]))
    objective = Objective(model, config.training)
    varied = Augmenter(features, range(24), settings(augment=EVERYTHING))

    def gradient(clips):
        objective.zero_grad()
        inputs, mask, mixed = varied.read(clips, 1)
        objective(inputs, mask, torch.from_numpy(features.label[clips]), mixed)[0].backward()
        return torch.cat([p.grad.flatten() for p in objective.parameters() if p.grad is not None])

    clips = [3, 8, 1, 17, 22]
    lengths = varied.read(clips, 1)[1].sum(1)
    assert len(lengths.unique()) > 1
    alone = torch.stack([gradient([clip]) for clip in clips]).mean(0)
    torch.testing.assert_close(gradient(clips), alone, atol=1e-6, rtol=1e-4)


def configure(model=None, epochs=3, streams=("rgb",), **augment):
    return make_config(
        {
            "name": "x",
            "dataset": {"type": "features", "path": "x"},
            "clip": {"streams": list(streams)},
            "model": model or {"type": "lmu"},
            "training": {"epochs": epochs, "augment": augment},
        }
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (configure(mix_streams=0.5), r"mix_streams: there is one stream.*clip\.streams"),
        (configure({"type": "mean_pool"}, mixup=0.2), "mean_pool is solved at once.*two classes"),
        (configure({"type": "late_fusion"}, mixup=0.2), "late_fusion is solved at once"),
        (configure({"type": "mean_pool"}, noise=0.2, copies=0), "copies is 0.*set copies to 1 or more"),
        (configure(epochs=0, noise=0.2, copies=0), r"training\.epochs is 0"),
    ],
)
def test_what_would_not_reach_the_model_is_an_error(config, words):
    with pytest.raises(ConfigError, match=words):
        check_augment(config)


def test_what_reaches_the_model_is_none():
    check_augment(configure())
    check_augment(configure(mixup=0.2, copies=0))
    check_augment(configure({"type": "mean_pool"}, noise=0.2))
    check_augment(configure(streams=("rgb", "difference"), mix_streams=0.5))


@pytest.mark.parametrize("speed", [[2.0, 0.5], [0.1, 1.0], [1.0, 9.0]])
def test_speeds_are_in_order_and_in_range(speed):
    with pytest.raises(ConfigError, match="two speeds from"):
        configure(speed=speed)
