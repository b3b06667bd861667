"""The contract of backbones: normalized images, or windows of them, to vectors, and what must be known about them."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.backbones.weights import digest_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A network from images, or from windows of images, to vectors of features, frozen, in evaluation mode.

    At frame level (``window`` 1) a clip's feature at a step is that of its image there. At clip level the network sees
    a window of the last ``window`` images of the clip up to that step; before the clip's first image that one stands.

    Attributes:
        name: Its name in ``backbone.name``.
        network: From normalized images ``(N, 3, S, S)``, or windows ``(N, W, 3, S, S)`` with W above 1, to features
            ``(N, D)``, its weights already loaded.
        feature_dim: D.
        input_size: The side S of the images that it was made for.
        mean: Mean by channel that is subtracted from RGB / 255.
        std: Deviation by channel that this is divided by.
        provenance: What its weights learned from, where known: ``trained_on`` in words, ``videos`` by name.
        digest: SHA-256 of the weights as loaded (``digest_weights``).
        window: Images W that it sees at once; 1: frame level.
        options: Keys that the backbone's settings have beside those of all backbones, as ``build_backbone`` was given
            them: they may decide features where weights do not.
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
        window: int = 1,
    ) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        super().__init__()
        self.name = name
        self.network = network.requires_grad_(False)
        self.feature_dim = feature_dim
        self.input_size = input_size
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.provenance = dict(provenance or {})
        self.digest = digest_weights(network)
        self.window = window
        self.options: dict[str, Any] = {}
        self.eval()

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """All of it that determines features: name, digest, mean, deviation; a window, and settings of its own."""
        own = {**({"window": self.window} if self.window > 1 else {}), **self.options}
        return self.name, self.digest, self.mean, self.std, *([own] if own else [])

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, D)`` of normalized images ``(N, 3, S, S)``, or windows ``(N, W, 3, S, S)``.

        Raises:
            ValueError: the images have another shape.
        """
        if self.window > 1:
            if images.ndim != 5 or images.shape[1:3] != (self.window, 3):
                raise ValueError(f"windows must be (N, {self.window}, 3, height, width), not {tuple(images.shape)}")
        elif images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (N, 3, height, width), not {tuple(images.shape)}")
        features: Tensor = self.network(images)
        return features


def infer(backbone: Backbone, images: Tensor, precision: str = "32") -> Tensor:
    """Features ``(N, D)`` float32 of normalized ``images`` as ``Backbone.forward`` takes them, without gradients.

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
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return backbone(images).float()  # type: ignore[no-any-return]
