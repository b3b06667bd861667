"""The contract of backbones: normalized images, or windows of them, to vectors, and what must be known about them."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from snn_action.backbones.settings import Engine
from snn_action.backbones.weights import digest_weights

if TYPE_CHECKING:
    from snn_action.backbones.onnx_engine import OnnxEngine

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
        engine: What runs the network in the place of PyTorch (``use_engine``); None: PyTorch. Copies have none.
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
        self.engine: OnnxEngine | None = None
        self.eval()

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """All of it that determines features: name, digest, mean, deviation; a window, and settings of its own.

        An engine is among them where its features are not those of PyTorch to 1e-5.
        """
        own = {**({"window": self.window} if self.window > 1 else {}), **self.options}
        if self.engine is not None and not self.engine.agrees:
            own["engine"] = "onnx"
        return self.name, self.digest, self.mean, self.std, *([own] if own else [])

    def use_engine(self, engine: Engine, size: int) -> None:
        """Run the network by ``engine`` from now on (``infer``), on images of side ``size``.

        Raises:
            ConfigError: what the engine needs is not installed, or it cannot run this network.
        """
        shape = (*((self.window,) if self.window > 1 else ()), 3, size, size)
        if engine == "torch":
            self.engine = None
        elif self.engine is None or self.engine.shape != shape:
            from snn_action.backbones.onnx_engine import OnnxEngine

            self.engine = OnnxEngine(self.network, shape, self.name)

    def __getstate__(self) -> dict[str, Any]:
        """All but the engine, which no file can hold."""
        return {**self.__dict__, "engine": None}

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
    the algorithms are deterministic ones, so that equal images get equal features. Where the backbone has an engine,
    that computes.
    """
    if backbone.engine is not None:
        return backbone.engine(images)
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
