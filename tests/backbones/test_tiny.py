"""The backbone `tiny`: its shipped weights, and that its features are close to linear in the pose."""

import json

import numpy as np
import pytest
import torch

from snn_action.backbones import build_backbone, infer
from snn_action.backbones.settings import BackboneSettings
from snn_action.backbones.tiny import WEIGHTS
from snn_action.core.errors import ConfigError
from snn_action.datasets.synthetic.casting import draw_clip
from snn_action.datasets.synthetic.figure import INDEX
from snn_action.datasets.synthetic.motions import ACTIONS
from snn_action.datasets.synthetic.render import render_clip


def tiny(weights="default", seed=0):
    return build_backbone(BackboneSettings(name="tiny", weights=weights), seed)


def see(backbone, frames):
    images = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    return infer(backbone, (images - mean) / std)


def test_shipped_weights_are_small_and_say_where_they_come_from():
    backbone = tiny()
    assert WEIGHTS.stat().st_size < 2_000_000
    provenance = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert backbone.provenance == provenance
    assert provenance["groups"][0] > 99  # a synthetic dataset has at most 99 groups
    assert provenance["movement_accuracy"] > 0.8
    assert (backbone.name, backbone.feature_dim, backbone.input_size) == ("tiny", 128, 64)


def pose_fit(backbone):
    """Share of the joints' variance that a ridge regression on features explains in groups that it did not see."""
    features, places = [], []
    for group in range(1, 25):
        for action in ACTIONS[::2]:
            frames, joints = render_clip(draw_clip(99, group, 1, action, 4, 2), 64)
            features.append(see(backbone, frames).double())
            places.append(torch.from_numpy((joints - joints[:, [INDEX["pelvis"]]]).reshape(len(joints), -1).copy()))
    y, x = torch.cat(places), torch.cat(features)
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    fit = len(x) * 2 // 3
    weights = torch.linalg.solve(x[:fit].T @ x[:fit] + 10 * torch.eye(x.shape[1]), x[:fit].T @ y[:fit])
    left, spread = y[fit:] - x[fit:] @ weights, y[fit:] - y[:fit].mean(0)
    return 1 - float(left.square().sum() / spread.square().sum())


def test_features_of_unseen_groups_say_where_the_joints_are():
    assert pose_fit(tiny()) > 0.7
    assert pose_fit(tiny("random")) < 0.2


def test_random_weights_follow_the_seed():
    assert tiny("random", 1).digest == tiny("random", 1).digest
    assert len({tiny("random", 1).digest, tiny("random", 2).digest, tiny().digest}) == 3
    assert tiny("random", 1).provenance["trained_on"] == "nothing"


def test_weights_of_a_file(tmp_path):
    path = tmp_path / "copy.safetensors"
    path.write_bytes(WEIGHTS.read_bytes())
    assert tiny(str(path)).digest == tiny().digest
    assert tiny(str(path)).provenance["trained_on"] == "unknown"
    torch.save({"linear.weight": torch.zeros(128, 4)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"other\.pth.*missing"):
        tiny(str(tmp_path / "other.pth"))


def test_another_size_is_an_error():
    with pytest.raises(ValueError, match="64 x 64"):
        tiny("random")(torch.zeros(1, 3, 112, 112))
