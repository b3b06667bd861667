"""A backbone of your own, with a setting of its own: random convolutions, pooled in a grid.

python examples/own_backbone.py

From a package of your own: [project.entry-points."snn_action.backbone"] grid = "my_package.own_backbone:GridSettings"
A network that is trained elsewhere is loaded in ``build`` in the same way.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from snn_action import build_backbone
from snn_action.backbones import Backbone, BackboneSettings
from snn_action.backbones.weights import seeded

CHANNELS = 16


class GridSettings(BackboneSettings):
    """Random convolutions, pooled in a grid."""

    name: Literal["grid"] = Field("grid", description="Which backbone this is")
    cells: int = Field(4, ge=1, le=16, description="Cells of the grid along each side")

    def build(self, seed: int = 0) -> Backbone:
        with seeded(seed):
            convolution = nn.Conv2d(3, CHANNELS, kernel_size=5, stride=2)
        network = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(self.cells), nn.Flatten())
        return Backbone(network, name="grid", feature_dim=CHANNELS * self.cells**2, input_size=64)


if __name__ == "__main__":
    images = torch.randn(2, 3, 64, 64)
    for cells in (2, 4):
        backbone = build_backbone({"name": "grid", "cells": cells})
        print(f"cells {cells}: images {tuple(images.shape)} to features {tuple(backbone(images).shape)}")
