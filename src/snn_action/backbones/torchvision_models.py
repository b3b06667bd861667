"""Any classifier of torchvision by name, of images or of videos, without its last layer.

The feature is what the last layer, the one that scores the classes, would see. In most networks that is the globally
pooled feature; where layers stand between (AlexNet, VGG, MobileNetV3, MaxViT) it is what comes out of them, in AlexNet
and VGG 4,096-dimensional. Weights files have torchvision's names. The last layer and the auxiliary classifiers of
GoogLeNet and Inception are not used and may be missing.
"""

import difflib
import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from snn_action.backbones.base import Backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.backbones.weights import find_default, load_weights, read_provenance, read_weights, seeded
from snn_action.core.compat import torchvision
from snn_action.core.errors import ConfigError
from snn_action.core.registry import list_items

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


WINDOW = 16  # images that its networks of videos see at once: what most of their weights were trained on


class _ChannelsBeforeTime(nn.Module):
    """Windows ``(N, W, 3, S, S)`` for a network that takes ``(N, 3, W, S, S)``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> Tensor:
        features: Tensor = self.network(windows.transpose(1, 2))
        return features


def video_classifier_names() -> list[str]:
    """Names of torchvision's classifiers of videos."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models.video)
    return names


def classifier_names() -> list[str]:
    """Names of torchvision's classifiers of images, then of videos."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names + video_classifier_names()


def build(settings: BackboneSettings, seed: int) -> Backbone:
    """The classifier ``settings.name`` without its last layer.

    Raises:
        ConfigError: torchvision has no such classifier, or the weights do not fit.
        WorkError: the default weights cannot be downloaded.
    """
    name = settings.name
    if name not in (names := classifier_names()):
        near = difflib.get_close_matches(name.lower(), [*names, *list_items("backbone")], n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        own = ", ".join(list_items("backbone"))
        raise ConfigError(f"backbone.name: unknown backbone {name!r}; {hint}Known: {own} and torchvision's classifiers")
    defaults = torchvision.models.get_model_weights(name).DEFAULT
    transforms = defaults.transforms()
    input_size = int(transforms.crop_size[0])
    with seeded(seed):
        network = make_network(name, input_size)
    dim, last = cut_last_layer(network)
    trained_on = "Kinetics-400" if name in video_classifier_names() else "ImageNet-1k"
    provenance: dict[str, Any] = {"trained_on": "nothing", "seed": seed}
    if settings.weights != "random":
        is_default = settings.weights == "default"
        path = find_default(defaults) if is_default else Path(settings.weights)
        load_weights(network, read_weights(path), str(path), unused=(f"{last}.", *AUXILIARY))
        provenance = (
            {"trained_on": trained_on, "weights": str(defaults)} if is_default else read_provenance(settings.weights)
        )
    is_video = name in video_classifier_names()
    if is_video and settings.weights == "default":
        provenance["images"] = describe_clips(defaults)
    return Backbone(
        _ChannelsBeforeTime(network) if is_video else network,
        window=WINDOW if is_video else 1,
        name=name,
        feature_dim=dim,
        input_size=input_size,
        mean=transforms.mean,
        std=transforms.std,
        provenance=provenance,
    )


def describe_clips(weights: Any) -> str:
    """What a video classifier's published ``weights`` learned from, and what its windows are here, in words."""
    said: str = weights.meta["_docs"]
    rate, length = (re.search(rf"{key}=([\d.]*\d)", said) for key in ("frame_rate", "clip_len"))
    learned = f"{length[1]} frames at {rate[1]} a second" if length and rate else "clips"
    return (
        f"learned from: {learned}, the middle of the shorter side; given here: windows of {WINDOW} frames at the "
        "clip's own distance (clip.stride, clip.sampling), the whole frame, stretched"
    )


def make_network(name: str, input_size: int) -> nn.Module:
    """A classifier with freshly drawn weights, built as for its published weights, no auxiliary heads."""
    options: dict[str, object] = {}
    if name in ("googlenet", "inception_v3"):
        # Their published weights expect inputs in [-1, 1]; the network converts from the usual normalization itself.
        options = {"aux_logits": False, "transform_input": True, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": input_size}
    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return network


def cut_last_layer(network: nn.Module) -> tuple[int, str]:
    """Take the last layer out of a classifier, in place; return the features that it saw and its name."""
    layers = [(k, m) for k, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Conv3d)]
    name, layer = layers[-1]
    network.set_submodule(name, nn.Identity())
    return (layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels), name
