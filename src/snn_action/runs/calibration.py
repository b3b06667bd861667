"""Calibrates each fold of a run, on videos that its model did not learn and that do not test it.

Where the fold has validation videos and the model learned by gradients, these are its validation videos. Else one more
model is trained in the same way without some groups: a model that learns without gradients ends on all its videos, and
with ``training.validation_share`` 0 nothing is held out. These groups are those by which the baseline chooses.

Which score tells unknown actions is found by leaving classes out: two more models learn one half of the classes each
(every other one) from the same videos, the other half is unknown to them, and the AUROC of each score on the held-out
videos is averaged over both. Together they cost one training. Where nothing more is to be trained by gradients
(``evaluation.calibration`` is null), or there are fewer than four classes, nothing is compared.

The same model then reads streams that are joined from clips of the same held-out videos: segments of streams have a
temperature and a threshold of their own (``evaluation/segment_calibration.py``).
"""

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from snn_action.config import Config
from snn_action.core import distributed
from snn_action.core.files import write_atomic
from snn_action.datasets.catalog import Fold, draw_validation
from snn_action.evaluation import ClipPredictions, measure_loss, predict_together
from snn_action.evaluation.accuracy import average_clips
from snn_action.evaluation.calibration import Calibration, calibrate, read_calibration
from snn_action.evaluation.rejection import SCORES, Score, measure_auroc, score_videos
from snn_action.evaluation.segment_calibration import SegmentCalibration, calibrate_segments, join_clips
from snn_action.evaluation.temperature import fit_temperature
from snn_action.models import TemporalModel, build_model
from snn_action.runs.data import Data
from snn_action.runs.streaming import ROWS
from snn_action.training import Sides, resolve_device, train_model

logger = logging.getLogger(__name__)

FILE = "calibration.json"
FOLDER = "calibration"  # where one more model is trained; gone when it was asked
MODELS = ("all", "half0", "half1")  # in it: trained on all classes, on every other one


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
    reason = _find_hindrance(config, data, fold, model)
    if found is None and reason is not None:
        return reason
    lacks_segments = data.backbone is not None and (found is None or found.segments is None)
    if reason is None and (found is None or lacks_segments):
        own = bool(fold.validation) and model.trained_by_gradient
        held_out = fold.validation or fold.baseline
        asked = model if own else _train_without(config, data, fold, held_out, folder / FOLDER / "all", progress)
        trains_more = bool(config.evaluation.calibration) or not model.trained_by_gradient
        names, name = data.catalog.class_names, config.evaluation.background
        background = None if name is None else names.index(name)
        found = found or calibrate(
            _predict(config, data, asked, held_out),
            config.evaluation.known_share,
            len({data.catalog.videos[index].group for index in held_out}),
            own_model=own,
            auroc=_compare_scores(config, data, fold, held_out, folder / FOLDER, progress) if trains_more else None,
            background=background,
        )
        if lacks_segments:
            found = replace(found, segments=_calibrate_segments(config, data, asked, held_out, found.score, background))
        if distributed.is_main():
            write_atomic(folder / FILE, found.to_json())
    assert found is not None
    if distributed.is_main():
        for name in MODELS:  # what else lies there is not ours
            shutil.rmtree(folder / FOLDER / name, ignore_errors=True)
        with suppress(OSError):
            (folder / FOLDER).rmdir()
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


def _compare_scores(
    config: Config, data: Data, fold: Fold, held_out: tuple[int, ...], folder: Path, progress: bool
) -> dict[Score, float] | None:
    """The AUROC of each score, classes that were left out against others; None where there are too few."""
    classes = len(data.catalog.class_names)
    if classes < 4 or {data.catalog.videos[index].label % 2 for index in held_out} != {0, 1}:
        return None
    found: dict[Score, list[float]] = {score: [] for score in SCORES}
    for half in (0, 1):
        part = take_classes(data, range(half, classes, 2))
        known = [index for index in held_out if part.catalog.videos[index].label >= 0]
        unknown = [index for index in held_out if part.catalog.videos[index].label < 0]
        (own,) = (other for other in part.catalog.folds if other.name == fold.name)
        model = _train_without(config, part, own, held_out, folder / f"half{half}", progress)
        of_known, of_unknown = (_predict(config, part, model, videos) for videos in (known, unknown))
        videos = average_clips(of_known)
        temperature = fit_temperature(videos.probabilities, videos.label)
        for score in SCORES:
            scores = (score_videos(said, score, temperature) for said in (of_known, of_unknown))
            found[score].append(measure_auroc(*scores))
    return {score: float(np.mean(values)) for score, values in found.items()}


def _calibrate_segments(
    config: Config, data: Data, model: TemporalModel, held_out: tuple[int, ...], score: Score, background: int | None
) -> SegmentCalibration:
    """What segments of streams of the held-out videos tell; one process reads them."""
    was_training = model.training
    model.eval().to(resolve_device(config.device).main)
    streams = join_clips(data.features, data.features.clips_of(held_out), config.seed)
    found = distributed.broadcast_object(
        lambda: calibrate_segments(model, streams, config.clip.frames, ROWS, score, background)
    )
    model.train(was_training)
    return found


def take_classes(data: Data, labels: Sequence[int]) -> Data:
    """The same data as if there were these classes only: others' videos have label -1 and are not learned from."""
    place = np.full(len(data.catalog.class_names), -1)
    place[list(labels)] = np.arange(len(labels))
    videos = tuple(replace(video, label=int(place[video.label])) for video in data.catalog.videos)

    def keep(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(index for index in indices if videos[index].label >= 0)

    catalog = replace(
        data.catalog,
        class_names=tuple(data.catalog.class_names[label] for label in labels),
        videos=videos,
        folds=tuple(
            replace(fold, train=keep(fold.train), validation=keep(fold.validation), baseline=keep(fold.baseline))
            for fold in data.catalog.folds
        ),
        pairs=(),
        test_only=True,
    )
    return replace(data, catalog=catalog, features=replace(data.features, label=place[data.features.label]))


def _train_without(
    config: Config, data: Data, fold: Fold, held_out: tuple[int, ...], folder: Path, progress: bool
) -> TemporalModel:
    """A model trained as the fold's, on what the fold learned from but for the videos that are held out."""
    chosen = set(held_out)
    rest = replace(fold, train=tuple(video for video in fold.learned if video not in chosen), validation=())
    share = config.training.validation_share
    (rest,) = draw_validation(replace(data.catalog, folds=(rest,)), share, 0, config.seed).folds
    clips = data.features.clips_of
    names = data.catalog.class_names
    logger.info("split %s: training once more, %d classes without %d videos", fold.name, len(names), len(held_out))
    quiet = config.model_copy(update={"training": config.training.model_copy(update={"loggers": []})})
    other = build_model(config.model, data.features.dim, len(names), config.seed, data.encoder)
    device = resolve_device(config.device).main

    def measure(some: Sequence[int]) -> dict[str, float]:
        return measure_loss(predict_together(other, data.features, some, config.evaluation.batch_size, device))

    sides = Sides(clips(rest.train), clips(rest.validation))
    train_model(
        other, data.features, sides, quiet, folder, measure=measure, extra={"fold": fold.name}, progress=progress
    )
    return other


def _predict(config: Config, data: Data, model: TemporalModel, videos: Sequence[int]) -> ClipPredictions:
    device = resolve_device(config.device).main
    return predict_together(model, data.features, data.features.clips_of(videos), config.evaluation.batch_size, device)
