"""What a backbone is to the rest of the house: normalised images to vectors, and what must be known about it."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.backbones.weights import digest_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A network from images to vectors of features, frozen, in evaluation mode.

    Attributes:
        name: Its name in ``backbone.name``.
        network: From normalised images ``(N, 3, S, S)`` to features ``(N, D)``, its weights already loaded.
        feature_dim: D.
        input_size: The side S of the images that it was made for.
        mean: Mean by channel that is subtracted from RGB / 255.
        std: Deviation by channel that this is divided by.
        provenance: What its weights learned from, where known: ``trained_on`` in words, ``videos`` by name.
        digest: SHA-256 of the weights as loaded (``digest_weights``).
        options: Keys that the backbone's settings have beside those of all backbones, as ``build_backbone`` was given
            them. They are part of what features are stored under, as they may decide them where weights do not.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        feature_dim: int,
        input_size: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network.requires_grad_(False)
        self.feature_dim = feature_dim
        self.input_size = input_size
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.provenance = dict(provenance or {})
        self.digest = digest_weights(network)
        self.options: dict[str, Any] = {}
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, D)`` of normalised images ``(N, 3, S, S)``.

        Raises:
            ValueError: the images have another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (N, 3, height, width), not {tuple(images.shape)}")
        features: Tensor = self.network(images)
        return features


def infer(backbone: Backbone, images: Tensor, precision: str = "32") -> Tensor:
    """Features ``(N, D)`` float32 of normalised ``images`` (N, 3, S, S), without gradients, channels last.

    ``precision`` ``"bf16"`` computes in bfloat16 where that is safe. On a GPU, ``"32"`` is true single precision and
    the algorithms are deterministic ones, so that equal images get equal features.
    """
    kind = images.device.type
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with (
        torch.inference_mode(),
        torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"),
        exact if kind == "cuda" else nullcontext(),
    ):
        return backbone(images.contiguous(memory_format=torch.channels_last)).float()  # type: ignore[no-any-return]
