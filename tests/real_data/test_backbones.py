from pathlib import Path

import pytest
import safetensors.torch
import torch

from snn_action.backbones import build_backbone, infer
from snn_action.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from snn_action.backbones.settings import BackboneSettings
from snn_action.core.compat import torchvision
from snn_action.core.errors import ConfigError
from snn_action.video.decode import read_frames
from snn_action.video.transforms import normalize, resize


def settings(shared: Path, name: str, weights: str | None = None) -> BackboneSettings:
    return BackboneSettings(name=name, weights=str(shared / "weights" / f"{weights or name}.safetensors"))


@pytest.mark.parametrize(("name", "dim"), [("mobilenet_v2", 1280), ("squeezenet1_1", 512)])
def test_features_of_real_frames_are_those_of_torchvision_s_network(shared: Path, name: str, dim: int) -> None:
    clips = ("run/daria_run", "bend/denis_bend")
    frames = [read_frames(shared / "data" / "weizmann" / f"{clip}.avi", [10]) for clip in clips]
    images = torch.cat([normalize(resize(frame, 224), IMAGENET_MEAN, IMAGENET_STD) for frame in frames])
    whole = torchvision.models.get_model(name, weights=None).eval()
    state = safetensors.torch.load_file(shared / "weights" / f"{name}.safetensors")
    missing, foreign = whole.load_state_dict(state, strict=False)
    assert set(missing) <= {"classifier.1.weight", "classifier.1.bias"}
    assert not foreign
    with torch.no_grad():
        expected = whole.features(images).mean((2, 3))
    backbone = build_backbone(settings(shared, name))
    features = infer(backbone, images)
    assert features.shape == (2, dim)
    assert features.std(0).mean() > 0.05
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_weights_of_the_other_network_are_refused(shared: Path) -> None:
    with pytest.raises(ConfigError, match=r"squeezenet1_1\.safetensors.*another architecture"):
        build_backbone(settings(shared, "mobilenet_v2", "squeezenet1_1"))
