"""Backbones: networks that turn images, or windows of images, into vectors. They know nothing of videos."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn_action.backbones.base import Backbone as Backbone
    from snn_action.backbones.base import infer as infer
    from snn_action.backbones.build import build_backbone as build_backbone
    from snn_action.backbones.build import list_backbones as list_backbones
    from snn_action.backbones.settings import BackboneSettings as BackboneSettings

_HOMES = {
    "Backbone": "base",
    "BackboneSettings": "settings",
    "build_backbone": "build",
    "infer": "base",
    "list_backbones": "build",
}
__all__ = [
    "Backbone",
    "BackboneSettings",
    "build_backbone",
    "infer",
    "list_backbones",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
