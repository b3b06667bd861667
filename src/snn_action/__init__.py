"""Recognise human actions in video with spiking neural networks."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn_action.backbones import build_backbone as build_backbone
    from snn_action.config import load_config as load_config
    from snn_action.core.registry import REGISTRY as REGISTRY
    from snn_action.models import build_model as build_model
    from snn_action.runs.pipeline import run as run
    from snn_action.runs.prediction import load_run as load_run

__version__ = "0.1.0"

_HOMES = {
    "REGISTRY": "core.registry",
    "build_backbone": "backbones",
    "build_model": "models",
    "load_config": "config",
    "load_run": "runs.prediction",
    "run": "runs.pipeline",
}
__all__ = ["REGISTRY", "build_backbone", "build_model", "load_config", "load_run", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
