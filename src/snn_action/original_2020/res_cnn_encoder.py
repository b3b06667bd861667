"""The original 2020 project's CNN: ResNet-152 without its last layer, then three layers down to 512 features.

    x1 = relu(bn1(fc1(resnet(image))))        2048 -> 1024
    x2 = relu(bn2(fc2(x1)))                   1024 -> 768
    features = fc3(dropout(x2))                768 -> 512

In inference the dropout does nothing and is left out. The state dict has the original's names: ``resnet.N...`` (the
children of ResNet-152 by number), ``fc1 bn1 fc2 bn2 fc3``.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from snn_action.backbones.base import Backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.backbones.torchvision_models import make_network
from snn_action.backbones.weights import load_weights, read_provenance, read_weights, seeded
from snn_action.core.errors import ConfigError
from snn_action.original_2020.translate import LEAK


class ResCNNEncoderSettings(BackboneSettings):
    """The original project's CNN."""

    name: Literal["res_cnn_encoder"] = Field("res_cnn_encoder", description="Which backbone this is")
    builds: ClassVar[str] = "snn_action.original_2020.res_cnn_encoder:build"


class ResCNNEncoder(nn.Module):
    """Images ``(N, 3, 224, 224)`` to features ``(N, 512)``; HHTseng/video-classification's ``ResCNNEncoder``."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = nn.Sequential(*list(make_network("resnet152", 224).children())[:-1])
        self.fc1 = nn.Linear(2048, 1024)
        self.bn1 = nn.BatchNorm1d(1024, momentum=0.01)
        self.fc2 = nn.Linear(1024, 768)
        self.bn2 = nn.BatchNorm1d(768, momentum=0.01)
        self.fc3 = nn.Linear(768, 512)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, 512)`` of normalized ``images``."""
        x = self.resnet(images).flatten(1)
        x = torch.relu(self.bn1(self.fc1(x)))
        x = torch.relu(self.bn2(self.fc2(x)))
        features: Tensor = self.fc3(x)
        return features


def build(settings: BackboneSettings, seed: int) -> Backbone:
    """The encoder with the weights in the file ``settings.weights``, or random ones.

    Raises:
        ConfigError: the weights cannot be read or do not fit, or are ``"default"``: none were published.
    """
    if settings.weights == "default":
        raise ConfigError(
            "backbone.weights: 'res_cnn_encoder' has no published weights; name the original's file of CNN weights "
            "(pickle_locations.CNN_weights there), or 'random'"
        )
    with seeded(seed):
        network = ResCNNEncoder()
    provenance: dict[str, object] = {"trained_on": "nothing", "seed": seed}
    if settings.weights != "random":
        load_weights(network, read_weights(settings.weights), settings.weights)
        told = read_provenance(settings.weights)
        provenance = told or {"trained_on": "unknown", "ucf101": LEAK}
    return Backbone(network, name="res_cnn_encoder", feature_dim=512, input_size=224, provenance=provenance)
