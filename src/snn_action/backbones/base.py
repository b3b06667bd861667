"""The contract of backbones: normalized images, or windows of them, to vectors, and what must be known about them."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from snn_action.backbones.settings import Engine
from snn_action.backbones.weights import digest_weights
from snn_action.core.errors import ConfigError

if TYPE_CHECKING:
    from snn_action.backbones.onnx_engine import OnnxEngine
    from snn_action.backbones.sigma_delta import SigmaDeltaNetwork, State

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
        coded: The network as one of sigma-delta neurons, which runs in its place (``code``); None: it does not.
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
        self.coded: SigmaDeltaNetwork | None = None
        self.eval()

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """All of it that determines features: name, digest, mean, deviation; a window, and settings of its own.

        An engine is among them where its features are not those of PyTorch to 1e-5.
        """
        own = {**({"window": self.window} if self.window > 1 else {}), **self.options}
        if self.engine is not None and not self.engine.agrees:
            own["engine"] = "onnx"
        if self.coded is not None:
            own["coding"] = {"sigma_delta": self.coded.thresholds}
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

    def code(self, thresholds: Mapping[str, float] | None = None) -> None:
        """Run the network as one of sigma-delta neurons (``SigmaDeltaNetwork``) with these thresholds from now on.

        Features of an image then depend on those before it. The network must have its weights.

        Raises:
            ConfigError: the network cannot be coded, or a threshold is negative or of an unknown name.
        """
        from snn_action.backbones.sigma_delta import KEY, SigmaDeltaNetwork

        if self.window > 1:
            raise ConfigError(f"{KEY}: {self.name} sees windows of images, and cannot be coded from image to image")
        self.coded = SigmaDeltaNetwork(self.network, thresholds)

    def __getstate__(self) -> dict[str, Any]:
        """All but the engine, which no file can hold."""
        return {**self.__dict__, "engine": None}

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, D)`` of normalized images ``(N, 3, S, S)``, or windows ``(N, W, 3, S, S)``.

        A coded network takes them as images of one stream that begins with the first of them.

        Raises:
            ValueError: the images have another shape.
        """
        self.check(images)
        return self.follow(images)[0]

    def check(self, images: Tensor) -> None:
        """Check the shape of images.

        Raises:
            ValueError: it is another one than ``forward`` takes.
        """
        if self.window > 1:
            if images.ndim != 5 or images.shape[1:3] != (self.window, 3):
                raise ValueError(f"windows must be (N, {self.window}, 3, height, width), not {tuple(images.shape)}")
        elif images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (N, 3, height, width), not {tuple(images.shape)}")

    def follow(self, images: Tensor, state: "State | None" = None) -> tuple[Tensor, "State | None"]:
        """Features ``(N, D)`` of images that come after those that left ``state``, and the state after them.

        A network that is not coded has none.
        """
        if self.coded is None:
            return self.network(images), None
        features, after = self.coded(images, state)
        return features, after


def lay_out(backbone: Backbone, device: torch.device | str) -> None:
    """Move the backbone to the device, what weighs images channels last, which is faster; clips have another rank."""
    backbone.to(torch.device(device))
    for weight in backbone.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def check_size(backbone: Backbone, size: int, device: torch.device | str = "cpu", precision: str = "32") -> None:
    """Try, by PyTorch, whether the backbone takes images of side ``size``, where that is not its own.

    Raises:
        ConfigError: it does not.
    """
    if size == backbone.input_size:
        return
    backbone.use_engine("torch", size)
    try:
        shape = (*((backbone.window,) if backbone.window > 1 else ()), 3, size, size)
        infer(backbone, torch.zeros(1, *shape, device=device), precision)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"clip.size: {backbone.name} cannot take images of side {size} ({error}); leave it out for "
            f"{backbone.input_size}"
        ) from None


def infer(backbone: Backbone, images: Tensor, precision: str = "32") -> Tensor:
    """``infer_next`` of images that nothing came before: their features alone."""
    return infer_next(backbone, images, None, precision)[0]


def infer_next(
    backbone: Backbone, images: Tensor, state: "State | None" = None, precision: str = "32"
) -> tuple[Tensor, "State | None"]:
    """Features ``(N, D)`` float32 of normalized ``images`` as ``Backbone.forward`` takes them, without gradients.

    Of a coded network the images follow those that left ``state``; the state after them comes second.

    ``precision`` ``"bf16"`` computes in bfloat16 where that is safe. On a GPU, ``"32"`` is true single precision and
    the algorithms are deterministic ones, so that equal images get equal features. Where the backbone has an engine,
    that computes.
    """
    if backbone.engine is not None:
        return backbone.engine(images), None
    kind = images.device.type
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with (
        torch.inference_mode(),
        torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"),
        exact if kind == "cuda" else nullcontext(),
    ):
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        backbone.check(images)
        features, state = backbone.follow(images, state)
        return features.float(), state
