"""Training of temporal models: seeded, resumable at every epoch."""

from snn_action.training.augment import check_augment
from snn_action.training.checkpoints import load_shared, load_weights, read_checkpoint, read_trained_on
from snn_action.training.checks import check_spike_target, check_training
from snn_action.training.device import Device, resolve_device
from snn_action.training.encoding import encode_clips, see_clip
from snn_action.training.fit import (
    Sides,
    check_precision,
    fit_closed_form,
    is_fitted_at_once,
    is_trained,
    require_trained,
    set_weights,
    train_model,
)
from snn_action.training.history import find_best, read_lines, write_lines
from snn_action.training.loggers import check_loggers
from snn_action.training.loss import sequence_loss
from snn_action.training.memory import check_memory

__all__ = [
    "Device",
    "Sides",
    "check_augment",
    "check_loggers",
    "check_memory",
    "check_precision",
    "check_spike_target",
    "check_training",
    "encode_clips",
    "find_best",
    "fit_closed_form",
    "is_fitted_at_once",
    "is_trained",
    "load_shared",
    "load_weights",
    "read_checkpoint",
    "read_lines",
    "read_trained_on",
    "require_trained",
    "resolve_device",
    "see_clip",
    "sequence_loss",
    "set_weights",
    "train_model",
    "write_lines",
]
