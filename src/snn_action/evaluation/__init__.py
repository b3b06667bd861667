"""Honest numbers: what a model said of the test clips, and what is counted of it."""

from snn_action.evaluation.accuracy import measure_accuracy, measure_loss
from snn_action.evaluation.controls import CONTROLS, rearrange
from snn_action.evaluation.energy.backbone import count_backbone
from snn_action.evaluation.guard import guard_test
from snn_action.evaluation.leakage import Leakage
from snn_action.evaluation.operations import Operations, count_model_operations, count_operations
from snn_action.evaluation.predictions import ClipPredictions, predict_clips, predict_together, record_spikes
from snn_action.evaluation.results import (
    FoldResult,
    measure_shared,
    summarize,
    write_confusion_csv,
    write_predictions_csv,
)

__all__ = [
    "CONTROLS",
    "ClipPredictions",
    "FoldResult",
    "Leakage",
    "Operations",
    "count_backbone",
    "count_model_operations",
    "count_operations",
    "guard_test",
    "measure_accuracy",
    "measure_loss",
    "measure_shared",
    "predict_clips",
    "predict_together",
    "rearrange",
    "record_spikes",
    "summarize",
    "write_confusion_csv",
    "write_predictions_csv",
]
