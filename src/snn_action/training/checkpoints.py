"""Checkpoints of a run: complete or absent, and loaded without running code from the file."""

import io
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from snn_action.core import distributed
from snn_action.core.archives import is_plain, load_tensors
from snn_action.core.errors import ConfigError
from snn_action.core.files import write_atomic
from snn_action.core.reading import reading
from snn_action.datasets.trained_on import TrainedOn, parse_trained_on
from snn_action.models import TemporalModel
from snn_action.models.end_to_end import EndToEnd
from snn_action.training.nengo_dl import check_weights

PREFIX = "model."  # of the temporal model's weights in a checkpoint
_OLD_PART = re.compile(r"^standardiser\.")  # its name in checkpoints of earlier versions
LAST = Path("checkpoints", "last.ckpt")  # in the folder of a run or fold: what training goes on from
NO_TRAINING = "holds no training to go on with"
TRAINED_ON = "trained_on"  # key of what the weights learned from
UNROUNDED = "unrounded"  # key of the matrices before they were rounded (training.weight_bits)


class TrainingState(NamedTuple):
    """What a training goes on from: weights, optimizer, gradient scaler (empty where there is none), epochs so far.

    ``unrounded`` are the matrices that are rounded (``training.weight_bits``), as they were before; of a state that was
    read they are among its weights.
    """

    weights: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    lines: list[dict[str, Any]]
    unrounded: Mapping[str, Any] = MappingProxyType({})

    def to_content(self, trained_on: TrainedOn | None) -> dict[str, Any]:
        """The content of a checkpoint."""
        content = {
            "epoch": self.lines[-1]["epoch"],
            "state_dict": {f"{PREFIX}{key}": value for key, value in self.weights.items()},
            "optimizer_states": [self.optimizer],
            "gradient_scaler": self.scaler,
            "lines": self.lines,
        }
        if self.unrounded:
            content[UNROUNDED] = {f"{PREFIX}{key}": value for key, value in self.unrounded.items()}
        return content if trained_on is None else {**content, TRAINED_ON: trained_on.to_content()}


def read_training_state(model: TemporalModel, path: Path) -> TrainingState:
    """What a training of ``model`` goes on from; checkpoints that Lightning's trainer wrote are read as well.

    Raises:
        ConfigError: as ``load_weights``, or the file holds weights alone.
    """
    content = read_checkpoint(path)
    unrounded = content.get(UNROUNDED, {})
    if not isinstance(unrounded, dict) or not all(isinstance(key, str) for key in unrounded):
        raise ConfigError(f"{path}: holds weights, but no training to go on with")
    weights = check_fit(model, {"state_dict": content["state_dict"] | unrounded}, path)
    try:
        lines = content["lines"] if "lines" in content else content["callbacks"]["EpochRecorder"]["lines"]
        scaler = content.get("gradient_scaler") or content.get("MixedPrecision") or {}
        return TrainingState(weights, content["optimizer_states"][0], scaler, lines)
    except (KeyError, IndexError, TypeError):
        raise ConfigError(f"{path}: holds weights, but no training to go on with") from None


def begin_anew(message: str) -> ConfigError:
    """The error of a checkpoint that training cannot go on from."""
    return ConfigError(f"{message}; remove it to train from the start")


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint.

    Raises:
        OSError: it cannot be written; names ``path``, where the file stays as it was.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)  # of a full disk it would say nothing but that its writer failed
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def save_weights(model: TemporalModel, path: Path, trained_on: TrainedOn | None = None) -> None:
    """Save a model that was not trained by gradients, in the form that ``load_weights`` reads."""
    content: dict[str, Any] = {"state_dict": {f"{PREFIX}{key}": value for key, value in model.state_dict().items()}}
    if trained_on is not None:
        content[TRAINED_ON] = trained_on.to_content()
    write_checkpoint(content, path)


def read_checkpoint(path: Path, mapped: bool = False) -> dict[str, Any]:
    """A checkpoint's content, on the CPU; ``mapped`` as in ``load_tensors``.

    Raises:
        ConfigError: the file is missing, is one of NengoDL, or is no checkpoint of ours.
    """
    check_weights(path)
    with reading(path, "not a checkpoint of a run"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")  # a foreign file: refused here
        content = load_tensors(path, mapped)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ConfigError(f"{path}: not a checkpoint of a run (it has no 'state_dict')")
    return dict(content)


def read_trained_on(path: Path) -> TrainedOn:
    """What a checkpoint's weights learned from, as far as it says.

    Raises:
        ConfigError: as ``read_checkpoint``.
    """
    content = read_checkpoint(path)
    try:
        return parse_trained_on(content.get(TRAINED_ON))
    except ValueError as error:
        raise ConfigError(f"{path}: not a checkpoint of a run ({error})") from None


def load_weights(model: TemporalModel, path: Path) -> None:
    """Put a checkpoint's weights into ``model``.

    Raises:
        ConfigError: the file cannot be read, is one of NengoDL, or holds weights of another architecture.
    """
    # mapped: a checkpoint also holds the optimizer's state, twice as large as the weights
    model.load_state_dict(check_fit(model, read_checkpoint(path, mapped=True), path))


def check_fit(model: TemporalModel, checkpoint: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """The model's weights in the ``checkpoint`` that was read from ``path``.

    Raises:
        ConfigError: they are of another architecture; names what differs.
    """
    weights = {
        _OLD_PART.sub("standardizer.", key.removeprefix(PREFIX)): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(PREFIX) and is_plain(value)
    }
    if isinstance(model, EndToEnd):
        weights = model.complete(weights)
    own = model.state_dict()
    problems = [f"{key} is missing" for key in own.keys() - weights.keys()]
    problems += [f"{key} is unknown" for key in weights.keys() - own.keys()]
    problems += [
        f"{key} has shape {tuple(weights[key].shape)}, not {tuple(own[key].shape)}"
        for key in own.keys() & weights.keys()
        if own[key].shape != weights[key].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
        raise ConfigError(
            f"{path}: weights of another architecture: {shown}; use the settings of 'model' that they were trained with"
        )
    return weights


def load_shared(model: TemporalModel, find: Callable[[], Path]) -> None:
    """``load_weights`` of the file that ``find`` names; of several processes the first looks and tells the others.

    Raises:
        ConfigError: as ``find`` and ``load_weights``.
    """
    if distributed.is_main():
        load_weights(model, find())
    share_weights(model)


def share_weights(model: TemporalModel) -> None:
    """Give all processes the weights of the first."""
    if distributed.is_together():
        model.load_state_dict(
            distributed.broadcast_object(lambda: {key: value.cpu() for key, value in model.state_dict().items()})
        )
