"""Recognize human actions in video with spiking neural networks."""

from typing import TYPE_CHECKING

from snn_action.core.lazy import lazy_names

if TYPE_CHECKING:
    from snn_action.backbones import build_backbone as build_backbone
    from snn_action.backbones import list_backbones as list_backbones
    from snn_action.config import Config as Config
    from snn_action.config import load_config as load_config
    from snn_action.config import make_config as make_config
    from snn_action.core.registry import REGISTRY as REGISTRY
    from snn_action.datasets import list_datasets as list_datasets
    from snn_action.models import build_model as build_model
    from snn_action.models import list_models as list_models
    from snn_action.runs.pipeline import run as run
    from snn_action.runs.prediction import load_run as load_run
    from snn_action.runs.tuning.tune import tune as tune
    from snn_action.snn.build import build_neuron as build_neuron
    from snn_action.snn.build import list_neurons as list_neurons

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "REGISTRY": "core.registry",
    "build_backbone": "backbones",
    "build_model": "models",
    "build_neuron": "snn.build",
    "list_backbones": "backbones",
    "list_datasets": "datasets",
    "list_models": "models",
    "list_neurons": "snn.build",
    "load_config": "config",
    "load_run": "runs.prediction",
    "make_config": "config",
    "run": "runs.pipeline",
    "tune": "runs.tuning.tune",
}
__all__ = [
    "REGISTRY",
    "Config",
    "build_backbone",
    "build_model",
    "build_neuron",
    "list_backbones",
    "list_datasets",
    "list_models",
    "list_neurons",
    "load_config",
    "load_run",
    "make_config",
    "run",
    "tune",
]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
