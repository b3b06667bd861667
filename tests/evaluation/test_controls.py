import numpy as np
import pytest
import torch

from snn_action.backbones import build_backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.config import load_config
from snn_action.evaluation.controls import rearrange
from snn_action.features.extraction.embed import embed
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.video.transforms import difference_image


def make_features(lengths=(5, 3, 4), dims=(2, 3)):
    rng = np.random.default_rng(0)
    offset = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    streams = tuple(
        StreamRows(
            (torch.from_numpy(rng.normal(size=(sum(lengths), dim)).astype(np.float32)),),
            np.zeros(len(lengths), np.int64),
            offset,
        )
        for dim in dims
    )
    clips = np.arange(len(lengths))
    return FeatureSet(clips, clips % 2, np.array(lengths), streams)


@pytest.fixture
def config(write_config):
    clip = {"frames": 5, "streams": ["rgb", "difference"]}
    return load_config(write_config({"type": "folder", "path": "x"}, clip=clip, backbone={"name": "tiny"}))


def test_random_order_keeps_the_frames_and_moves_whole_steps(config):
    features = make_features()
    plain, mask = features.read([0, 1, 2])
    other = rearrange(features, "shuffled", config, None, "cpu")
    moved, same_mask = other.read([0, 1, 2])
    assert torch.equal(mask, same_mask)
    for before, after, length in zip(plain, moved, features.length, strict=True):
        rows = {tuple(row) for row in before[:length].tolist()}
        assert {tuple(row) for row in after[:length].tolist()} == rows  # both streams of a step stay together
        assert not after[length:].any()
    assert not torch.equal(plain, moved)
    # a clip's order depends neither on the others of its batch nor on its place in it
    torch.testing.assert_close(other.read([2])[0][0], moved[2, :4], rtol=0, atol=0)


def test_orders_differ_by_clip_and_are_uniform(config):
    features = make_features([3] * 600, (1,))
    shuffled = rearrange(features, "shuffled", config, None, "cpu")
    plain, _ = features.read(range(600))
    moved, _ = shuffled.read(range(600))
    orders = [
        tuple(before[:, 0].argsort()[after[:, 0].argsort().argsort()].tolist())
        for before, after in zip(plain, moved, strict=True)
    ]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert counts.min() > 60  # 100 expected


def test_the_first_frame_is_repeated_and_nothing_moves(config):
    features = make_features(dims=(2, 128))
    plain, _ = features.read([0, 1])
    held, mask = rearrange(features, "first_frame", config, None, "cpu").read([0, 1])
    for before, after, length in zip(plain, held, mask.sum(1).tolist(), strict=True):
        torch.testing.assert_close(after[:length], before[:1].expand(length, -1), rtol=0, atol=0)
        assert not after[length:].any()
    backbone = build_backbone(BackboneSettings(name="tiny"))
    still, _ = rearrange(features, "first_frame", config, backbone, "cpu").read([0, 1])
    torch.testing.assert_close(still[0, :, :2], held[0, :, :2], rtol=0, atol=0)
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    nothing = torch.from_numpy(difference_image(frame, frame)).permute(2, 0, 1)[None]
    expected = embed(backbone, nothing, 1, "32", "cpu")
    torch.testing.assert_close(still[0, :, 2:], expected.expand(5, -1))


def test_the_features_themselves_stay(config):
    features = make_features()
    before, _ = features.read([0, 1, 2])
    for control in ("shuffled", "first_frame"):
        rearrange(features, control, config, None, "cpu").read([0, 1, 2])
    assert torch.equal(features.read([0, 1, 2])[0], before)
