"""Backbones: networks that turn images into vectors. They know nothing of videos."""

from snn_action.backbones.base import Backbone, infer
from snn_action.backbones.settings import BackboneSettings
from snn_action.core.registry import REGISTRY, load_item

__all__ = ["Backbone", "build_backbone", "infer"]


def build_backbone(settings: BackboneSettings, seed: int = 0) -> Backbone:
    """The backbone that ``settings`` name, with its weights; ``seed`` draws those of ``weights: "random"``.

    A name stands for a registered backbone or else for a classifier of torchvision.

    Raises:
        ConfigError: no backbone has that name, or its weights cannot be read or do not fit.
        WorkError: weights cannot be downloaded.
    """
    if settings.name in REGISTRY["backbone"]:
        backbone: Backbone = load_item("backbone", settings.name).build(settings, seed)
        return backbone
    from snn_action.backbones import torchvision_models

    return torchvision_models.build(settings, seed)
