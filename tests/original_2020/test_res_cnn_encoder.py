from pathlib import Path

import pytest
import torch
from torch import nn

from snn_action.backbones import build_backbone, infer
from snn_action.backbones.settings import BackboneSettings
from snn_action.core.compat import torchvision
from snn_action.core.errors import ConfigError


class Reference(nn.Module):
    """The original's encoder, written again from its description."""

    def __init__(self) -> None:
        super().__init__()
        whole = torchvision.models.resnet152(weights=None)
        self.resnet = nn.Sequential(*list(whole.children())[:-1])
        self.fc1, self.bn1 = nn.Linear(whole.fc.in_features, 1024), nn.BatchNorm1d(1024, momentum=0.01)
        self.fc2, self.bn2 = nn.Linear(1024, 768), nn.BatchNorm1d(768, momentum=0.01)
        self.fc3 = nn.Linear(768, 512)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x = self.resnet(x)
            x = x.view(x.size(0), -1)
        x = nn.functional.relu(self.bn1(self.fc1(x)))
        x = nn.functional.relu(self.bn2(self.fc2(x)))
        x = nn.functional.dropout(x, p=0.3, training=self.training)
        return self.fc3(x)


@pytest.fixture(scope="module")
def reference() -> Reference:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = Reference().eval()
        for layer in module.modules():  # small scales, so that 50 blocks without normalization stay within range
            if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
                nn.init.uniform_(layer.weight, 0.2, 0.5)
    return module


def test_the_original_s_state_dict_gives_the_original_s_features(tmp_path: Path, reference: Reference) -> None:
    path = tmp_path / "cnn_encoder.pth"
    torch.save(reference.state_dict(), path, _use_new_zipfile_serialization=False)  # as PyTorch did in 2020
    backbone = build_backbone(BackboneSettings(name="res_cnn_encoder", weights=str(path)))
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference(images)
    assert expected.std() > 1e-2
    torch.testing.assert_close(infer(backbone, images), expected, rtol=1e-4, atol=1e-5)
    assert (backbone.feature_dim, backbone.input_size) == (512, 224)

    state = reference.state_dict()
    del state["fc3.bias"]
    torch.save(state, path)
    with pytest.raises(ConfigError, match=r"1 keys missing \(fc3\.bias\)"):  # its last layer is no classifier
        build_backbone(BackboneSettings(name="res_cnn_encoder", weights=str(path)))


def test_there_are_no_default_weights() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.weights.*CNN_weights"):
        build_backbone(BackboneSettings(name="res_cnn_encoder"))
