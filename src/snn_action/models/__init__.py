"""Temporal models: features ``(B, T, D)`` to logits ``(B, T, K)``. Usable alone."""

from typing import TYPE_CHECKING

from snn_action.core.lazy import lazy_names

if TYPE_CHECKING:
    from snn_action.models.base import Population as Population
    from snn_action.models.base import TemporalModel as TemporalModel
    from snn_action.models.base import find_spikes as find_spikes
    from snn_action.models.build import build_model as build_model
    from snn_action.models.build import check_model as check_model
    from snn_action.models.build import list_models as list_models
    from snn_action.models.ensemble_array import EnsembleArray as EnsembleArray
    from snn_action.models.late_fusion import LateFusion as LateFusion
    from snn_action.models.lmu import LMU as LMU
    from snn_action.models.lstm import LSTM as LSTM
    from snn_action.models.mean_pool import MeanPool as MeanPool
    from snn_action.models.settings import ModelSettings as ModelSettings
    from snn_action.models.spiking_lmu import SpikingLMU as SpikingLMU
    from snn_action.models.stacked_lmu import StackedLMU as StackedLMU

_HOMES = {
    "EnsembleArray": "ensemble_array",
    "LMU": "lmu",
    "LSTM": "lstm",
    "LateFusion": "late_fusion",
    "MeanPool": "mean_pool",
    "ModelSettings": "settings",
    "Population": "base",
    "SpikingLMU": "spiking_lmu",
    "StackedLMU": "stacked_lmu",
    "TemporalModel": "base",
    "build_model": "build",
    "check_model": "build",
    "find_spikes": "base",
    "list_models": "build",
}
__all__ = [
    "LMU",
    "LSTM",
    "EnsembleArray",
    "LateFusion",
    "MeanPool",
    "ModelSettings",
    "Population",
    "SpikingLMU",
    "StackedLMU",
    "TemporalModel",
    "build_model",
    "check_model",
    "find_spikes",
    "list_models",
]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
