"""Backbones from their names and settings."""

import fnmatch
from collections.abc import Mapping
from typing import Any

from snn_action.backbones.base import Backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.backbones.thresholds import code
from snn_action.core.registry import list_items, parse


def build_backbone(settings: BackboneSettings | Mapping[str, Any] | str, seed: int = 0) -> Backbone:
    """The backbone that ``settings``, a mapping such as ``{"name": "resnet18"}`` or a name alone describe.

    It has its weights; ``seed`` draws those of ``weights: "random"``.

    A name stands for a registered backbone or else for a classifier of torchvision.

    Raises:
        ConfigError: no backbone has that name, or its weights cannot be read or do not fit.
        WorkError: weights cannot be downloaded.
    """
    if isinstance(settings, str):
        settings = {"name": settings}
    if type(settings) is BackboneSettings:  # of any name
        settings = settings.model_dump(mode="json")
    parsed: BackboneSettings = parse("backbone", settings)
    backbone = parsed.build(seed)
    backbone.options = parsed.model_dump(mode="json", exclude=set(BackboneSettings.model_fields))
    if parsed.coding == "sigma_delta":
        code(backbone, parsed.thresholds)
    return backbone


def list_backbones(pattern: str = "*") -> list[str]:
    """Names of backbones that match a pattern such as ``"resnet*"``: torchvision's classifiers, ours, plug-ins'."""
    from snn_action.backbones.torchvision_models import classifier_names

    return sorted({*list_items("backbone", pattern), *fnmatch.filter(classifier_names(), pattern)})
