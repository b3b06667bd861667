"""The whole way, from top to bottom: configuration, catalog, features, training, evaluation, report."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from snn_action.config import Config
from snn_action.core import distributed
from snn_action.core.errors import ConfigError
from snn_action.core.files import write_together
from snn_action.core.progress import stage, track
from snn_action.core.run_access import open_run
from snn_action.datasets.catalog import Fold
from snn_action.evaluation import (
    CONTROLS,
    ClipPredictions,
    FoldResult,
    measure_loss,
    measure_shared,
    predict_clips,
    predict_together,
    rearrange,
    summarize,
    write_confusion_csv,
    write_predictions_csv,
)
from snn_action.features import FeatureSet, check_end_to_end
from snn_action.models import TemporalModel, build_model, check_model
from snn_action.report import describe_metrics, write_report
from snn_action.report.examples import write_examples
from snn_action.runs.calibration import calibrate_fold
from snn_action.runs.data import Data, load_data
from snn_action.runs.folder import fold_folder, new_run, read_run_config
from snn_action.runs.results import choose_shown, describe_work
from snn_action.runs.split import Split
from snn_action.runs.split_file import FILE, read_begun_run, write_split
from snn_action.runs.timing import measure_timing, write_timing
from snn_action.training import (
    Sides,
    check_augment,
    check_loggers,
    check_precision,
    check_training,
    encode_clips,
    fit_closed_form,
    is_trained,
    load_shared,
    read_checkpoint,
    require_trained,
    resolve_device,
    train_model,
)

__all__ = ["Data", "Run", "evaluate", "load_data", "resume", "resume_training", "run", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and what ``metrics.json`` says."""

    folder: Path
    metrics: dict[str, Any]

    @property
    def summary(self) -> str:
        """A few lines for the terminal."""
        return describe_metrics(self.metrics, self.folder)


def run(config: Config, *, run_id: str | None = None, progress: bool = False) -> Run:
    """Do the whole job of a configuration, from videos to a report.

    Raises:
        ConfigError: the configuration cannot be followed; names the key or file.
        WorkError: the work failed; what was done is kept, ``resume`` goes on.
    """
    with distributed.group():
        _check_beforehand(config)
        with new_run(config, run_id) as folder:
            logger.info("run folder: %s", folder)
            data = _train(config, None, folder, progress, show_test=True)
            return _evaluate(config, data, folder, progress)


def resume(folder: str | Path, *, progress: bool = False) -> Run:
    """Continue an interrupted run; it ends with the weights and results of an uninterrupted one.

    Raises:
        ConfigError: the folder is not a run's, or the run is finished.
        WorkError: another process works in the folder, or the work failed.
    """
    folder = Path(folder)
    with distributed.group(), open_run(folder, "run --resume"):
        config, split, tested = distributed.broadcast_object(lambda: _read_unfinished(folder))
        if tested and (folder / "examples.npz").exists():
            return Run(folder, distributed.broadcast_object(lambda: _finish_report(folder)))
        try:
            _check_beforehand(config, begun=split is not None)
            data = _train(config, split, folder, progress, show_test=True)
        except ConfigError as error:
            if not tested:
                raise
            way_out = f"its results are kept; for a report without clips: snn-action report {folder}"
            raise ConfigError(f"{error}\n{way_out}") from error
        return _evaluate(config, data, folder, progress)


def train(config: Config, *, run_id: str | None = None, progress: bool = False) -> Path:
    """Extract what is missing and train; the test set stays closed. Returns the run's folder."""
    with distributed.group():
        _check_beforehand(config)
        with new_run(config, run_id, "train --resume") as folder:
            logger.info("run folder: %s", folder)
            _train(config, None, folder, progress, show_test=False)
    return folder


def resume_training(folder: str | Path, *, progress: bool = False) -> Path:
    """Continue an interrupted ``train``."""
    folder = Path(folder)
    with distributed.group(), open_run(folder, "train --resume"):
        config, split, tested = distributed.broadcast_object(lambda: _read_unfinished(folder))
        if tested:
            raise ConfigError(f"{folder}: trained and tested; its report is made by: snn-action run --resume {folder}")
        _check_beforehand(config, begun=split is not None)
        _train(config, split, folder, progress, show_test=False)
    return folder


def evaluate(folder: str | Path, overrides: Sequence[str] = (), *, progress: bool = False) -> Run:
    """Test a trained run on its test videos and write its metrics and report (anew).

    Args:
        folder: Of the run.
        overrides: Put over the run's configuration; only what changes neither what was learned nor what is tested.
        progress: Show bars.

    Raises:
        ConfigError: the folder is not that of a trained run, an override changes what was learned or tested, or the
            run's videos, classes or backbone are no longer as they were.
        WorkError: another process works in the folder, or the work failed.
    """
    folder = Path(folder)
    with distributed.group(), open_run(folder, "evaluate"):
        config, split = read_begun_run(folder, overrides)
        data = load_data(config, split, progress=progress, guard=True, trains=False)
        return _evaluate(config, data, folder, progress)


def _read_unfinished(folder: Path) -> tuple[Config, Split | None, bool]:
    """The configuration, what was decided (None: nothing yet), and whether only the report is missing."""
    config = read_run_config(folder)
    if not (folder / FILE).exists() and not any(folder.rglob("*.ckpt")):  # killed before it decided anything
        return config, None, False
    config, split = read_begun_run(folder)
    names = [sides.name for sides in split.folds]
    trained = all(is_trained(fold_folder(folder, name, names)) for name in names)
    tested = trained and (folder / "metrics.json").exists()
    if tested and (folder / "report.html").exists():
        raise ConfigError(f"{folder}: this run is finished; test it again with: snn-action evaluate {folder}")
    return config, split, tested


def _train(config: Config, split: Split | None, folder: Path, progress: bool, *, show_test: bool) -> Data:
    """Train every fold. ``split`` is what the run decided when it began; None: it begins now, and decides."""
    data = load_data(config, split, progress=progress, guard=True)
    if split is None and distributed.is_main():
        write_split(folder, data.split)
        write_timing(folder, measure_timing(data.catalog, config))
    for fold in data.catalog.folds:
        _train_fold(config, data, fold, folder, progress, show_test)
    return data


def _check_beforehand(config: Config, *, begun: bool = False) -> None:
    """What would otherwise be noticed after hours of extraction; nothing is written before it.

    A run that has begun has looked at its first weights, and may need them no more.
    """
    check_precision(config)
    check_loggers(config)
    check_model(config.model)
    check_training(config)
    check_end_to_end(config)
    check_augment(config)
    if begun:
        return
    if config.training.weights is not None:
        read_checkpoint(config.training.weights)
    elif config.training.skip:
        raise ConfigError("training.skip tests the weights as they are: say which, by training.weights")


def _train_fold(config: Config, data: Data, fold: Fold, folder: Path, progress: bool, show_test: bool) -> None:
    model = build_model(config.model, data.features.dim, len(data.catalog.class_names), config.seed, data.encoder)
    clips = data.features.clips_of
    sides = Sides(clips(fold.train), clips(fold.validation), clips(fold.test) if show_test else ())
    logger.info("split %s: training on %d videos, validating on %d", fold.name, len(fold.train), len(fold.validation))
    own = fold_folder(folder, fold.name, data.fold_names)
    train_model(
        model,
        data.features,
        sides,
        config,
        own,
        measure=lambda chosen: measure_loss(_predict(config, data, model, chosen)),
        trained_on=data.split.find_learned(fold.name),
        extra={"fold": fold.name},
        progress=progress,
    )
    calibrate_fold(config, data, fold, model, own, progress)


def _evaluate(config: Config, data: Data, folder: Path, progress: bool) -> Run:
    """Test every fold with the weights that training kept, then write the results and the report."""
    tested = (_evaluate_fold(config, data, fold, folder, progress) for fold in data.catalog.folds)
    first, model = next(tested)
    folds = [first, *(result for result, _ in tested)]
    return Run(
        folder, distributed.broadcast_object(lambda: write_results(config, data, folder, folds, model, progress))
    )


def write_results(
    config: Config,
    data: Data,
    folder: Path,
    folds: list[FoldResult],
    model: TemporalModel,
    progress: bool,
    notes: list[str] | None = None,
) -> dict[str, Any]:
    """Write what the tests gave, then the report with its pictures, which may fail; return the metrics.

    ``model`` is the first fold's, of which the shown clips are. ``notes`` stand in the place of the run's own.
    """
    catalog = data.catalog
    metrics = summarize(catalog, folds, model.populations)
    with stage("Counting operations", progress):
        metrics |= describe_work(config, data, folder, model, metrics["spikes"])
    if notes is not None:
        metrics["notes"] = [*notes, *data.catalog.notes]
    metrics["leakage"] = data.leakage.to_dict() | measure_shared(catalog, folds)
    metrics["seconds"]["evaluate"] = seconds = sum(fold.model.seconds for fold in folds)
    metrics["videos_per_second"] = metrics["test_videos"] / seconds
    results = {
        folder / "predictions.csv": write_predictions_csv(catalog, folds),
        folder / "confusion.csv": write_confusion_csv(catalog, folds),
        folder / "metrics.json": json.dumps(metrics, indent=2) + "\n",
    }
    write_together(results, outdated=(folder / "report.html", folder / "metrics.json"))
    with stage("Writing the report", progress):
        shown, left_out = choose_shown(config, data, folds[0], catalog.folds[0], model)
        write_examples(folder / "examples.npz", catalog, config, shown, left_out)
        write_report(folder)
    return metrics


def _finish_report(folder: Path) -> dict[str, Any]:
    write_report(folder)
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def _evaluate_fold(
    config: Config, data: Data, fold: Fold, folder: Path, progress: bool
) -> tuple[FoldResult, TemporalModel]:
    model = build_model(config.model, data.features.dim, len(data.catalog.class_names), config.seed, data.encoder)
    own = fold_folder(folder, fold.name, data.fold_names)
    load_shared(model, partial(require_trained, own, folder))
    groups = frozenset(data.catalog.videos[index].group for index in fold.learned)
    result = test_fold(config, data, fold, model, progress)
    result = replace(result, train_videos=len(fold.train), validation_videos=len(fold.validation), groups=groups)
    result = replace(result, calibration=calibrate_fold(config, data, fold, model, own, progress))
    if config.evaluation.baseline and distributed.is_main():
        with stage(f"Fitting the baseline, split {fold.name}", progress):
            result = replace(result, baseline=_test_baseline(config, data, fold, model))
    return result, model


def test_fold(config: Config, data: Data, fold: Fold, model: TemporalModel, progress: bool) -> FoldResult:
    """What a model says of a fold's test clips, and of the controls; what it learned from is not known here."""
    device = resolve_device(config.device).main
    clips = data.features.clips_of(fold.test)

    def test(what: str, features: FeatureSet) -> ClipPredictions:
        with track(f"{what}, split {fold.name}", len(clips), progress, "clips") as tick:
            return predict_together(model, features, clips, config.evaluation.batch_size, device, tick)

    tested = test("Testing", data.features)
    controls: dict[str, ClipPredictions] = {}
    for control in CONTROLS if config.evaluation.controls else ():
        rearranged = rearrange(data.features, control, config, data.backbone, device)
        controls[control] = test(f"Testing {control.replace('_', ' ')}", rearranged)
    return FoldResult(fold.name, tested, None, 0, 0, controls)


def _test_baseline(config: Config, data: Data, fold: Fold, model: TemporalModel) -> ClipPredictions:
    """The baseline on the features that the model sees: with ``end_to_end``, those of its own trained layers."""
    device = resolve_device(config.device).main
    every = data.features.clips_of([*fold.learned, *fold.test])
    _, features = encode_clips(model, data.features, every, config.evaluation.batch_size, device)
    average = build_model({"type": "mean_pool"}, features.dim, len(data.catalog.class_names), config.seed)
    clips, chosen = features.clips_of, set(fold.baseline)
    train = [video for video in fold.learned if video not in chosen]
    fit_closed_form(average, features, clips(train), clips(fold.baseline))
    return predict_clips(average, features, clips(fold.test), config.evaluation.batch_size, device)


def _predict(config: Config, data: Data, model: TemporalModel, clips: Sequence[int]) -> ClipPredictions:
    device = resolve_device(config.device).main
    return predict_together(model, data.features, clips, config.evaluation.batch_size, device)
