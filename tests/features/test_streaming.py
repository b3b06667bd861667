"""Features of a stream are those of a clip of the same frames."""

import numpy as np
import pytest
import torch

from snn_action.backbones import build_backbone
from snn_action.config import make_config
from snn_action.features import extract_frames, prepare
from snn_action.features.streaming import Views, embed_stream
from snn_action.video.array import read_array
from snn_action.video.live import LiveFrame

FRAMES = np.random.default_rng(0).integers(0, 256, (23, 20, 24, 3), np.uint8)


def make(streams, stride, span=2):
    clip = {"frames": 100, "stride": stride, "streams": streams, "difference_span": span}
    rest = {"name": "test", "dataset": {"type": "synthetic", "path": "none"}, "model": {"type": "lmu"}}
    config = make_config({**rest, "clip": clip, "backbone": {"name": "tiny"}})
    backbone = build_backbone(config.backbone, 0)
    prepare(backbone, config, "cpu")
    return config, backbone


def give(views, gaps=()):
    for index, image in enumerate(FRAMES):
        if index not in gaps:
            yield LiveFrame(index, index / 25, image if views.wants(index) else None, 0.0)


@pytest.mark.parametrize("streams", [["rgb"], ["difference"], ["rgb", "difference"]])
@pytest.mark.parametrize(("every", "span"), [(1, 2), (2, 2), (3, 2), (11, 2), (2, 5)])
@pytest.mark.parametrize("batch", [1, 4])
def test_they_are_those_of_a_clip(streams, every, span, batch):
    config, backbone = make(streams, every, span)
    wanted, _, clips = extract_frames(read_array(FRAMES), "a", config, backbone, "cpu")
    views = Views(config.clip.streams, span, every)
    parts = [*embed_stream(give(views), views, config, backbone, torch.device("cpu"), batch)]
    assert max(len(part.frames) for part in parts) <= batch
    assert [frame.index for part in parts for frame in part.frames] == clips.indices.tolist()
    got = torch.cat([part.features for part in parts])
    # the last frames' differences: a clip has the very last frame there, a stream may have the one before
    sure = len(got) if every == 1 or streams == ["rgb"] else int(np.searchsorted(clips.indices, len(FRAMES) - span))
    torch.testing.assert_close(got[:sure], wanted[0][:sure], atol=1e-4, rtol=1e-4)


def test_images_that_nobody_needs_are_not_asked_for():
    assert [Views(("rgb",), 2, 5).wants(index) for index in range(6)] == [True, False, False, False, False, True]
    asked = [index for index in range(20) if Views(("difference",), 2, 8).wants(index)]
    assert asked == [0, 2, 6, 8, 10, 14, 16, 18]


def test_none_among_the_frames_hurries():
    config, backbone = make(["rgb"], 1)
    views = Views(("rgb",), 2, 1)
    frames = [None, *(f for frame in list(give(views))[:6] for f in (frame, None)), *list(give(views))[6:9]]
    parts = embed_stream(iter(frames), views, config, backbone, torch.device("cpu"), 100)
    assert [len(part.frames) for part in parts] == [1] * 6 + [3]


def test_a_gap_is_an_end_and_a_beginning():
    config, backbone = make(["difference"], 1)
    views = Views(("difference",), 2, 1)
    parts = embed_stream(give(views, gaps=range(5, 12)), views, config, backbone, torch.device("cpu"), 100)
    (part,) = parts
    assert [frame.index for frame in part.frames] == [*range(5), *range(12, 23)]
    wanted, _, _ = extract_frames(read_array(FRAMES[12:]), "a", config, backbone, "cpu")
    torch.testing.assert_close(part.features[5:], wanted[0], atol=1e-4, rtol=1e-4)
    assert len(views._recent) <= 2 * views.span + 1


def test_a_backbone_that_sees_windows_gets_the_last_images():
    from snn_action.backbones import Backbone

    class Mean(torch.nn.Module):
        def forward(self, images):
            return images.mean((1, 3, 4))

    config, _ = make(["rgb"], 1)
    backbone = Backbone(Mean(), name="mean", feature_dim=3, input_size=16, window=4)
    views = Views(("rgb",), 2, 1)
    wanted, _, _ = extract_frames(read_array(FRAMES), "a", config, backbone, "cpu")
    for batch in (1, 5):
        parts = embed_stream(give(views), views, config, backbone, torch.device("cpu"), batch)
        got = torch.cat([part.features for part in parts])
        torch.testing.assert_close(got, wanted[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("streams", [["rgb"], ["rgb", "difference"]])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_coded_backbone_goes_on_from_batch_to_batch(streams, batch):
    config, backbone = make(streams, 1)
    plain, _, _ = extract_frames(read_array(FRAMES), "a", config, backbone, "cpu")
    backbone.code({"images": 0.5, "relu": 0.05})
    wanted, _, _ = extract_frames(read_array(FRAMES), "a", config, backbone, "cpu")
    views = Views(config.clip.streams, 2, 1)
    parts = [*embed_stream(give(views), views, config, backbone, torch.device("cpu"), batch)]
    got = torch.cat([part.features for part in parts])
    assert float((got - wanted[0]).abs().max()) < 0.1 * float((plain - wanted).abs().max())
