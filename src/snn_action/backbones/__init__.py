"""Backbones: networks that turn images, or windows of images, into vectors. They know nothing of videos."""

from typing import TYPE_CHECKING

from snn_action.core.lazy import lazy_names

if TYPE_CHECKING:
    from snn_action.backbones.base import Backbone as Backbone
    from snn_action.backbones.base import infer as infer
    from snn_action.backbones.base import infer_next as infer_next
    from snn_action.backbones.build import build_backbone as build_backbone
    from snn_action.backbones.build import list_backbones as list_backbones
    from snn_action.backbones.settings import BackboneSettings as BackboneSettings

_HOMES = {
    "Backbone": "base",
    "BackboneSettings": "settings",
    "build_backbone": "build",
    "infer": "base",
    "infer_next": "base",
    "list_backbones": "build",
}
__all__ = [
    "Backbone",
    "BackboneSettings",
    "build_backbone",
    "infer",
    "infer_next",
    "list_backbones",
]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
