"""A small CNN for the synthetic set, its weights shipped with the package.

It learned (``scripts/make_tiny_weights.py``) to say from single frames where a figure's joints are and which
movement it makes, on synthetic figures that no synthetic dataset holds, so its features are close to linear in the
pose. ``weights/tiny.json`` says what it saw.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from snn_action.backbones.base import Backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.backbones.weights import load_weights, read_provenance, read_weights, seeded

FEATURES = 128
SIZE = 64
WEIGHTS = Path(__file__).with_name("weights") / "tiny.safetensors"
LAYERS = ((3, 16, 5, 2), (16, 32, 3, 2), (32, 48, 3, 1), (48, 64, 3, 2), (64, 96, 3, 1), (96, 96, 3, 2))


class TinyNetwork(nn.Module):
    """Images ``(N, 3, 64, 64)`` to features ``(N, 128)``: six convolutions, then one linear map of all places."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, side, stride, side // 2) for inputs, outputs, side, stride in LAYERS
        )
        self.linear = nn.Linear(LAYERS[-1][1] * (SIZE // 16) ** 2, FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, 128)`` of normalized ``images``.

        Raises:
            ValueError: the images have another size.
        """
        check_size(images)
        x = images
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
        features: Tensor = self.linear(x.flatten(1))
        return features


@torch.fx.wrap  # the graph of the network, at which it may be cut in two, calls it
def check_size(images: Tensor) -> None:
    """Check the size of images.

    Raises:
        ValueError: it is another.
    """
    if images.shape[-2:] != (SIZE, SIZE):
        raise ValueError(f"'tiny' sees images of {SIZE} x {SIZE}, not {tuple(images.shape[-2:])}")


def build(settings: BackboneSettings, seed: int) -> Backbone:
    """The network with its shipped weights (``"default"``), random ones, or those of a file.

    Raises:
        ConfigError: the weights cannot be read or do not fit.
    """
    with seeded(seed):
        network = TinyNetwork()
    provenance: dict[str, object] = {"trained_on": "nothing", "seed": seed}
    if settings.weights != "random":
        path = WEIGHTS if settings.weights == "default" else Path(settings.weights)
        load_weights(network, read_weights(path), str(path))
        provenance = {"trained_on": "unknown", **read_provenance(path)}
    return Backbone(network, name="tiny", feature_dim=FEATURES, input_size=SIZE, provenance=provenance)
