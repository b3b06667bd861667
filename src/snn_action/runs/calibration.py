"""Calibrates each fold of a run, on videos that its model did not learn and that do not test it.

Where the fold has validation videos and the model learned by gradients, these are its validation videos. Else one more
model is trained in the same way without some groups: a model that learns without gradients ends on all its videos, and
with ``training.validation_share`` 0 nothing is held out. These groups are those by which the baseline chooses.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from snn_action.config import Config
from snn_action.core import distributed
from snn_action.core.files import write_atomic
from snn_action.datasets.catalog import Fold, draw_validation
from snn_action.evaluation import ClipPredictions, measure_loss, predict_together
from snn_action.evaluation.calibration import Calibration, calibrate, read_calibration
from snn_action.models import TemporalModel, build_model
from snn_action.runs.data import Data
from snn_action.training import Sides, resolve_device, train_model

logger = logging.getLogger(__name__)

FILE = "calibration.json"
FOLDER = "calibration"  # where one more model is trained; gone when it was asked


def load_calibration(config: Config, folder: Path) -> Calibration | None:
    """What the fold's ``folder`` says, with the share of known videos that is asked for now; None where nothing.

    Raises:
        ConfigError: the file is broken, or of a newer version.
    """
    if config.evaluation.calibration is False:
        return None
    found = read_calibration(folder / FILE)
    return None if found is None else found.with_share(config.evaluation.known_share)


def calibrate_fold(
    config: Config, data: Data, fold: Fold, model: TemporalModel, folder: Path, progress: bool
) -> Calibration | str:
    """What is in the fold's ``folder``, else what is found now and put there; or why nothing can be.

    A process that is killed loses nothing: the other model's training goes on where it was.

    Args:
        config: Of the run.
        data: Its videos and features.
        fold: Whose model it is.
        model: That model, trained.
        folder: Of the fold.
        progress: Show bars.
    """
    found = distributed.broadcast_object(lambda: load_calibration(config, folder))
    if found is None:
        reason = _find_hindrance(config, data, fold, model)
        if reason is not None:
            return reason
        own = bool(fold.validation) and model.trained_by_gradient
        held_out = fold.validation or fold.baseline
        asked = model if own else _train_without(config, data, fold, held_out, folder / FOLDER, progress)
        groups = {data.catalog.videos[index].group for index in held_out}
        names, background = data.catalog.class_names, config.evaluation.background
        label = None if background is None else names.index(background)
        said = _predict(config, data, asked, data.features.clips_of(held_out))
        found = calibrate(said, config.evaluation.known_share, len(groups), own_model=own, background=label)
        if distributed.is_main():
            write_atomic(folder / FILE, found.to_json())
    if distributed.is_main():
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return found


def _find_hindrance(config: Config, data: Data, fold: Fold, model: TemporalModel) -> str | None:
    """Why there is no calibration, in words for the report."""
    if config.evaluation.calibration is False:
        return "evaluation.calibration is false"
    if config.training.skip or data.split.start is not None:
        return "the weights that training began from may have learned the videos that would be held out"
    if any(data.catalog.videos[index].group is None for index in fold.learned):
        return "groups are unknown, so that no videos can be held out"
    if not fold.validation and not fold.baseline:
        return "no group can be held out without leaving a class without training videos"
    if not fold.validation and model.trained_by_gradient and not config.evaluation.calibration:
        return (
            "no videos were held out from training (training.validation_share is 0); with evaluation.calibration true "
            "one more model is trained for it"
        )
    return None


def _train_without(
    config: Config, data: Data, fold: Fold, held_out: tuple[int, ...], folder: Path, progress: bool
) -> TemporalModel:
    """A model trained as the fold's, on what the fold learned from but for the videos that are held out."""
    chosen = set(held_out)
    rest = replace(fold, train=tuple(video for video in fold.learned if video not in chosen), validation=())
    share = config.training.validation_share
    (rest,) = draw_validation(replace(data.catalog, folds=(rest,)), share, 0, config.seed).folds
    clips = data.features.clips_of
    logger.info("split %s: training once more without %d videos, to calibrate on them", fold.name, len(held_out))
    quiet = config.model_copy(update={"training": config.training.model_copy(update={"loggers": []})})
    other = build_model(config.model, data.features.dim, len(data.catalog.class_names), config.seed)
    train_model(
        other,
        data.features,
        Sides(clips(rest.train), clips(rest.validation)),
        quiet,
        folder,
        measure=lambda some: measure_loss(_predict(config, data, other, some)),
        extra={"fold": fold.name},
        progress=progress,
    )
    return other


def _predict(config: Config, data: Data, model: TemporalModel, clips: Sequence[int]) -> ClipPredictions:
    device = resolve_device(config.device).main
    return predict_together(model, data.features, clips, config.evaluation.batch_size, device)
