"""Trains one temporal model on the clips of one fold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from snn_action.config import Config
from snn_action.core import distributed
from snn_action.core.errors import ConfigError
from snn_action.core.malloc import keep_freed_memory
from snn_action.core.progress import stage
from snn_action.core.reading import naming
from snn_action.datasets.trained_on import TrainedOn
from snn_action.features.feature_set import FeatureSet
from snn_action.models import TemporalModel
from snn_action.models.end_to_end import EndToEnd
from snn_action.models.rounding import round_matrices, rounded
from snn_action.training.augment import make_augmenter
from snn_action.training.checkpoints import (
    LAST,
    NO_TRAINING,
    begin_anew,
    load_shared,
    load_weights,
    read_training_state,
    save_weights,
    share_weights,
)
from snn_action.training.clips import mix_seed
from snn_action.training.device import resolve_device
from snn_action.training.encoding import encode_clips, measure_statistics
from snn_action.training.history import EpochRecorder, Measure, check_lines, write_lines
from snn_action.training.loggers import log_epochs
from snn_action.training.progress import show_epochs

Side = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

DONE = "trained"  # a fold's folder holds this file once its training is complete


def check_precision(config: Config) -> None:
    """Check that the device trains in that precision.

    Raises:
        ConfigError: it does not.
    """
    if config.precision == "16" and resolve_device(config.device).accelerator == "cpu":
        raise ConfigError("precision: '16' needs a GPU; on the CPU use 'bf16' or '32'")


def is_trained(folder: Path) -> bool:
    """Whether the training of the run or fold in a folder has come to its end."""
    return (folder / DONE).exists()


def require_trained(folder: Path, run: Path) -> Path:
    """The checkpoint whose weights count, of the run's or fold's ``folder``.

    Raises:
        ConfigError: training has not come to its end, or its weights are gone.
    """
    weights = folder / "checkpoints" / "best.ckpt"
    if not is_trained(folder):
        raise ConfigError(f"{folder}: not trained to the end; continue with: snn-action run --resume {run}")
    if not weights.is_file():
        raise ConfigError(f"{weights}: missing, though training has come to its end; restore it, or begin a new run")
    return weights


@dataclass(frozen=True)
class Sides:
    """Clips of a fold: to train on, to choose on (may be none), and to draw the test curve of (may be none)."""

    train: Sequence[int]
    validation: Sequence[int] = ()
    test: Sequence[int] = ()


def train_model(
    model: TemporalModel,
    features: FeatureSet,
    sides: Sides,
    config: Config,
    folder: Path,
    *,
    measure: Callable[[Sequence[int]], dict[str, float]],
    trained_on: TrainedOn | None = None,
    extra: dict[str, Any] | None = None,
    progress: bool = False,
) -> None:
    """Train ``model`` and leave ``checkpoints/{best,last}.ckpt`` and ``metrics.jsonl`` in ``folder``.

    What is there already is continued: killed at any moment, training goes on from the last finished epoch and ends
    with the weights of an uninterrupted run. The model ends with the weights of ``best.ckpt``: the epoch of least
    validation loss, or the last one where there are no validation clips. Test clips are only drawn, never chosen by.
    Several processes train together: each takes its share of every batch, and the first writes.

    Args:
        model: New; its input standardization is fitted here.
        features: Of all clips.
        sides: Which clips are what.
        config: Its sections ``training``, ``seed``, ``device``, ``precision``.
        folder: Of the run or fold.
        measure: Loss and accuracies of the model on some clips; called after every epoch.
        trained_on: Put into every checkpoint.
        extra: Put into every line of ``metrics.jsonl``.
        progress: Show a bar.

    Raises:
        ConfigError: no training clips, the device is missing, or ``training.weights`` do not fit.
    """
    if not sides.train:
        raise ConfigError("there is no clip to train on")
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    settings = config.training
    measures: dict[str, Measure] = {}
    if sides.validation:
        measures["validation"] = lambda: measure(sides.validation)
    if sides.test and config.evaluation.test_curve:
        measures["test"] = lambda: measure(sides.test)
    if not distributed.broadcast_object(lambda: is_trained(folder)):
        if is_fitted_at_once(model, config):
            _fit_at_once(model, features, sides, config, folder, measures, trained_on, extra or {}, progress)
        else:
            _fit_epochs(model, features, sides, config, folder, measures, measure, trained_on, extra or {}, progress)
        if distributed.is_main():
            if model.trained_by_gradient and sides.validation and not settings.skip:
                _settle(model, features, sides, checkpoints / "best.ckpt", trained_on, config)
            (folder / DONE).touch()
    load_shared(model, lambda: require_trained(folder, folder))


def _settle(
    model: TemporalModel,
    features: FeatureSet,
    sides: Sides,
    weights: Path,
    trained_on: TrainedOn | None,
    config: Config,
) -> None:
    """Put what the model chooses on validation clips into the checkpoint that counts; done again, it is the same."""
    inner = model.model if isinstance(model, EndToEnd) else model
    if type(inner).settle is TemporalModel.settle:
        return
    load_weights(model, weights)
    inner.settle(*_read_seen(model, features, sides.validation, config)[1])
    save_weights(model, weights, trained_on)


def _fit_at_once(
    model: TemporalModel,
    features: FeatureSet,
    sides: Sides,
    config: Config,
    folder: Path,
    measures: dict[str, Measure],
    trained_on: TrainedOn | None,
    extra: dict[str, Any],
    progress: bool,
) -> None:
    """A model that learns without gradients, or that is tested with the weights it was given."""
    if distributed.is_main():
        with stage("Fitting the model", progress):
            set_weights(model, features, sides, config)
        for name in ("last", "best"):
            save_weights(model, folder / "checkpoints" / f"{name}.ckpt", trained_on)
    share_weights(model)
    line = {**extra, "epoch": 0, **{name: measure() for name, measure in measures.items()}}
    if distributed.is_main():
        write_lines(folder, [line])


def is_fitted_at_once(model: TemporalModel, config: Config) -> bool:
    """Whether ``set_weights`` is all the training that there is."""
    return config.training.skip or not model.trained_by_gradient or config.training.epochs == 0


def set_weights(model: TemporalModel, features: FeatureSet, sides: Sides, config: Config) -> None:
    """Give a model its weights without gradients: those that were named, or what it is fitted or prepared to.

    With ``training.weight_bits`` its matrices end rounded.

    Raises:
        ConfigError: ``training.weights`` and the model, or ``training.skip``, do not go together.
    """
    settings = config.training
    if settings.weights is not None:
        if not settings.skip and not model.trained_by_gradient:
            raise ConfigError(
                "training.weights: this model is fitted at once, from no start; set training.skip to test the weights "
                "as they are, or name none"
            )
        load_weights(model, settings.weights)
    elif settings.skip:
        raise ConfigError("training.skip tests the weights as they are: say which, by training.weights")
    elif model.trained_by_gradient:
        _prepare(model, features, sides.train, config)
    else:
        _fit(model, _read_training(features, sides.train, config), features, sides.validation)
    if settings.weight_bits is not None:
        round_matrices(model, settings.weight_bits)


def fit_closed_form(
    model: TemporalModel, features: FeatureSet, train: Sequence[int], validation: Sequence[int]
) -> None:
    """Fit a model that has a method ``fit`` instead of gradients (``trained_by_gradient`` is false)."""
    _fit(model, _read_side(features, train), features, validation)


def _fit(model: TemporalModel, train: Side, features: FeatureSet, validation: Sequence[int]) -> None:
    fit: Any = model.fit
    fit(*train, validation=_read_side(features, validation) if validation else None)


def _prepare(model: TemporalModel, features: FeatureSet, clips: Sequence[int], config: Config) -> None:
    """Let the model, or the temporal model inside it, fit to training clips what gradients do not learn.

    With ``training.weight_bits`` it is fitted to what matrices of few bits give.
    """
    if config.training.weight_bits is not None:
        round_matrices(model, config.training.weight_bits)
    if not isinstance(model, EndToEnd):
        model.prepare(*_read_training(features, clips, config))
        return
    measure_statistics(model, features, clips, config.training.batch_size, resolve_device(config.device).main)
    inner, seen = _read_seen(model, features, clips, config)
    inner.prepare(*seen)


def _read_seen(
    model: TemporalModel, features: FeatureSet, clips: Sequence[int], config: Config
) -> tuple[TemporalModel, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The temporal model, and what it gets of some clips."""
    device = resolve_device(config.device).main
    inner, seen = encode_clips(model, features, clips, config.evaluation.batch_size, device)
    return inner, _read_side(seen, clips if seen is features else range(len(seen)))


def _read_side(features: FeatureSet, clips: Sequence[int]) -> Side:
    """Features (B, T, D), masks (B, T) and labels (B,) of some clips."""
    return (*features.read(clips), torch.from_numpy(features.label[list(clips)]))


def _read_training(features: FeatureSet, clips: Sequence[int], config: Config) -> Side:
    """``_read_side`` of training clips, with their varied copies (``training.augment.copies``)."""
    augmenter = make_augmenter(features, clips, config)
    return _read_side(features, clips) if augmenter is None else augmenter.read_copies(clips)


def _fit_epochs(
    model: TemporalModel,
    features: FeatureSet,
    sides: Sides,
    config: Config,
    folder: Path,
    measures: dict[str, Measure],
    measure: Callable[[Sequence[int]], dict[str, float]],
    trained_on: TrainedOn | None,
    extra: dict[str, Any],
    progress: bool,
) -> None:
    from snn_action.training.loop import train_epochs  # with Fabric: seconds, which only a training waits for

    settings, device = config.training, resolve_device(config.device)
    check_precision(config)
    generators = [device.main] if device.accelerator == "cuda" else []
    last = folder / LAST
    begin_from, lines = None, []
    if distributed.broadcast_object(last.exists):
        try:
            begin_from = read_training_state(model, last)
        except ConfigError as error:
            raise begin_anew(str(error)) from None
        with naming(last, NO_TRAINING, begin_anew):
            lines = check_lines(begin_from.lines)
    else:
        if distributed.is_main() and settings.weights is not None:
            load_weights(model, settings.weights)
        elif distributed.is_main():
            with stage("Preparing the model", progress), torch.random.fork_rng(generators):
                torch.manual_seed(mix_seed(config.seed))
                _prepare(model, features, sides.train, config)
        share_weights(model)
        if settings.initial_accuracy and sides.test:
            with rounded(model, settings.weight_bits):
                lines = [{**extra, "epoch": -1, "test": measure(sides.test)}]
    done = lines[-1]["epoch"] + 1 if lines else 0
    with (
        show_epochs(settings.epochs, progress and distributed.is_main(), done) as show,
        log_epochs(config, folder, lines) as log,
        keep_freed_memory(),
        torch.random.fork_rng(generators),
    ):
        recorder = EpochRecorder(folder, lines, measures, settings.patience, extra, trained_on, (show, log))
        train_epochs(model, features, sides.train, config, recorder, begin_from)
