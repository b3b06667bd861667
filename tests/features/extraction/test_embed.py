"""Clip-level backbones: each step's feature is that of a window of the clip's last images."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from snn_action.backbones import Backbone, build_backbone, infer
from snn_action.core.errors import ConfigError
from snn_action.features.extraction.embed import extract_video, find_windows, prepare
from snn_action.features.extraction.extract import extract_features
from snn_action.features.keys import feature_key
from snn_action.video import clips as clips_module
from snn_action.video.settings import ClipSettings
from snn_action.video.transforms import normalize

from ..conftest import SIZE, make_backbone, make_config, make_folder

WINDOW = 3


class Blend(nn.Module):
    """Of a window (N, W, 3, S, S): the means of the first, of the last, and of all its images, for each channel."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        means = windows.mean((3, 4))
        return torch.cat([means[:, 0], means[:, -1], means.mean(1)], 1)


def make_video_backbone(window: int = WINDOW) -> Backbone:
    return Backbone(Blend(), name="blend", feature_dim=9, input_size=SIZE, window=window)


def test_windows_hold_the_last_positions_of_a_clip_and_its_first_before_it():
    windows, rows = find_windows([np.array([0, 1, 2]), np.array([2, 3])], 3)
    assert windows[rows].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [2, 2, 2], [2, 2, 3]]
    assert sorted(windows[:, -1].tolist()) == windows[:, -1].tolist()
    single, rows = find_windows([np.array([0, 1, 2]), np.array([2, 3])], 1)
    assert single.tolist() == [[0], [1], [2], [3]]
    assert rows.tolist() == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("sampling", [{"sampling": "first"}, {"sampling": "sliding", "hop": 2}])
@pytest.mark.parametrize("part", [2**26, 3 * SIZE * SIZE * 4])
@pytest.mark.parametrize("batch", [1, 2, 32])
def test_each_step_sees_its_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling, part, batch):
    monkeypatch.setattr(clips_module, "PART", part)
    monkeypatch.setattr(clips_module, "RESIZED_TOGETHER", 2)
    path = make_folder(tmp_path / "video", 9, 0)
    config = make_config(tmp_path / "store", {"frames": 5, **sampling}, workers=0)
    config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"batch_size": batch})})
    backbone = make_video_backbone()
    prepare(backbone, config, "cpu")
    features, mask, clips = extract_video(path, "video", config, backbone, "cpu")
    images = clips_module.read_part(
        clips_module.open_video(path), np.arange(clips.n_frames), ClipSettings(frames=5), SIZE
    )["rgb"]
    for clip, feature, real in zip(clips.clips, features, mask, strict=True):
        frames = clips.indices[clip]
        for t in range(int(real.sum())):
            window = images[[frames[max(0, s)] for s in range(t - WINDOW + 1, t + 1)]]
            wanted = Blend()(normalize(window, backbone.mean, backbone.std).unsqueeze(0))[0]
            assert torch.allclose(feature[t], wanted, atol=1e-6)


def test_what_determines_features_is_in_the_fingerprint_and_the_key():
    def key(backbone: Backbone) -> str:
        return feature_key("0" * 64, "v", "rgb", ClipSettings(), SIZE, 0, backbone, "32")

    plain = make_backbone()
    assert plain.fingerprint == ("small", plain.digest, plain.mean, plain.std)
    same = Backbone(plain.network, name="small", feature_dim=5, input_size=SIZE)
    other = Backbone(plain.network, name="small", feature_dim=5, input_size=SIZE)
    other.options = {"sharpen": 2}
    assert key(plain) == key(same) != key(other)
    assert len({key(make_video_backbone(window)) for window in (2, 3)}) == 2


def test_a_window_of_another_length_and_no_window_are_errors():
    with pytest.raises(ValueError, match=r"windows must be \(N, 3, 3, height, width\), not \(1, 2, 3, 4, 4\)"):
        make_video_backbone()(torch.zeros(1, 2, 3, 4, 4))
    with pytest.raises(ValueError, match="window must be at least 1"):
        make_video_backbone(0)


def test_a_network_of_videos_of_torchvision():
    backbone = build_backbone({"name": "r3d_18", "weights": "random"})
    assert (backbone.window, backbone.input_size, backbone.feature_dim) == (16, 112, 512)
    x = torch.rand(1, 16, 3, 32, 32)
    features = infer(backbone, x)
    assert features.shape == (1, 512)
    assert torch.allclose(features, infer(backbone, x.repeat(2, 1, 1, 1, 1))[:1], atol=1e-5)
    assert not torch.allclose(features, infer(backbone, x.flip(1)), atol=1e-5)


def test_features_of_another_engine_are_in_the_store_already(catalog, small, configure):
    """They are equal to 1e-5, so that both engines have the same keys."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    config = configure()
    by_onnx = config.model_copy(update={"backbone": config.backbone.model_copy(update={"engine": "onnx"})})
    first = extract_features(catalog, by_onnx, small, "cpu", progress=False)
    assert small.engine is not None
    assert first.n_extracted == len(catalog.videos)
    again = extract_features(catalog, config, small, "cpu", progress=False)
    assert small.engine is None
    assert (again.n_extracted, again.n_reused) == (0, len(catalog.videos))
    fresh = extract_features(catalog, configure(store="other"), small, "cpu", progress=False)
    for clip in range(len(fresh.features)):
        found, wanted = (one.features.read([clip])[0] for one in (first, fresh))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_an_engine_for_processors_is_refused_on_a_gpu(small, configure):
    config = configure()
    config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"engine": "onnx"})})
    with pytest.raises(ConfigError, match=r"backbone\.engine: 'onnx' runs on the processor, not on cuda"):
        prepare(small, config, "cuda:0")


def test_a_coded_backbone_sees_the_video_as_one_stream(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "video", 9, 0)
    config = make_config(tmp_path / "store", {"frames": 5, "sampling": "sliding", "hop": 2}, workers=0)
    backbone = make_backbone()
    prepare(backbone, config, "cpu")
    plain, _, _ = extract_video(path, "video", config, backbone, "cpu")
    before = feature_key("0", "v", "rgb", config.clip, SIZE, 0, backbone, "32")
    backbone.code({"images": 0.2})
    features, _, clips = extract_video(path, "video", config, backbone, "cpu")
    assert feature_key("0", "v", "rgb", config.clip, SIZE, 0, backbone, "32") != before
    assert len(clips.clips) > 1
    for first, second in pairwise(features):
        assert torch.equal(first[2:], second[:-2])  # a frame of two clips was seen once
    assert not torch.equal(features, plain)
    images = normalize(read_all(path), backbone.mean, backbone.std)
    torch.testing.assert_close(features[0], backbone.follow(images)[0][:5])


def read_all(path: Path) -> torch.Tensor:
    return clips_module.read_part(clips_module.open_video(path), np.arange(9), ClipSettings(frames=5), SIZE)["rgb"]
