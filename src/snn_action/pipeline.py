"""The whole way, from top to bottom: configuration, catalog, features, training, evaluation, report."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_action import registry
from snn_action.backbones import Backbone, build_backbone
from snn_action.config import Config
from snn_action.data.catalog import Catalog, Fold, split_validation
from snn_action.data.datasets.seed_frames import PicklePaths
from snn_action.errors import ConfigError
from snn_action.evaluation import (
    ClipPredictions,
    FoldResult,
    Leakage,
    count_backbone_operations,
    count_model_operations,
    guard_test,
    measure_loss,
    predict_clips,
    summarise,
    write_confusion_csv,
    write_predictions_csv,
)
from snn_action.features import FeatureSet, extract_features, from_arrays
from snn_action.features.seed_pickles import keep_as_pickles
from snn_action.files import write_atomic
from snn_action.models import TemporalModel, build_model
from snn_action.report import describe_metrics, write_report
from snn_action.report.examples import Shown, choose_videos, write_examples
from snn_action.run_folder import fold_folder, log_to, new_run, read_run_config, write_splits
from snn_action.training import (
    Sides,
    find_best,
    fit_closed_form,
    load_weights,
    read_checkpoint,
    read_lines,
    require_trained,
    resolve_device,
    train_model,
    write_lines,
)

logger = logging.getLogger(__name__)

BASELINE_VALIDATION = (
    0.2  # share of training groups on which the baseline's strength is chosen, where training has none
)


@dataclass(frozen=True)
class Data:
    """What a run works on: the catalog without unreadable videos, and the features of its clips."""

    catalog: Catalog
    features: FeatureSet
    backbone: Backbone | None
    bad: dict[int, str]
    seconds: float
    summary: str
    leakage: Leakage


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
    _check_beforehand(config)
    with new_run(config, run_id) as folder:
        return _train_and_evaluate(config, folder, progress)


def resume(folder: str | Path, *, progress: bool = False) -> Run:
    """Continue an interrupted run; it ends with the weights of an uninterrupted one.

    Raises:
        ConfigError: the folder is not a run's, or the run is finished.
    """
    folder = Path(folder)
    return _train_and_evaluate(_read_unfinished(folder), folder, progress)


def train(config: Config, *, run_id: str | None = None, progress: bool = False) -> Path:
    """Extract what is missing and train; the test set stays closed. Returns the run's folder."""
    _check_beforehand(config)
    with new_run(config, run_id) as folder:
        _train(config, folder, progress, show_test=False)
    return folder


def resume_training(folder: str | Path, *, progress: bool = False) -> Path:
    """Continue an interrupted ``train``."""
    folder = Path(folder)
    _train(_read_unfinished(folder), folder, progress, show_test=False)
    return folder


def evaluate(folder: str | Path, overrides: Sequence[str] = (), *, progress: bool = False) -> Run:
    """Test a trained run on its test videos and write its metrics and report (anew).

    Raises:
        ConfigError: the folder is not that of a trained run.
    """
    folder = Path(folder)
    config = read_run_config(folder, overrides)
    with log_to(folder / "run.log"):
        data = load_data(config, progress=progress, guard=True)
        return _evaluate(config, data, folder)


def _read_unfinished(folder: Path) -> Config:
    config = read_run_config(folder)
    if (folder / "metrics.json").exists():
        raise ConfigError(f"{folder}: this run is finished; test it again with: snn-action evaluate {folder}")
    _check_beforehand(config)
    return config


def _train_and_evaluate(config: Config, folder: Path, progress: bool) -> Run:
    data = _train(config, folder, progress, show_test=True)
    with log_to(folder / "run.log"):
        return _evaluate(config, data, folder)


def _train(config: Config, folder: Path, progress: bool, *, show_test: bool) -> Data:
    with log_to(folder / "run.log"):
        data = load_data(config, progress=progress, guard=True)
        _write_splits(config, data, folder)
        for fold in data.catalog.folds:
            _train_fold(config, data, fold, folder, progress, show_test)
    return data


def _check_beforehand(config: Config) -> None:
    """What would otherwise be noticed after hours of extraction; nothing is written before it."""
    resolve_device(config.device)
    if config.training.weights is not None:
        read_checkpoint(config.training.weights)
    elif config.training.skip:
        raise ConfigError("training.skip tests the weights as they are: say which, by training.weights")


def _write_splits(config: Config, data: Data, folder: Path) -> None:
    catalog = data.catalog
    folds = []
    for fold in catalog.folds:
        train, validation = split_validation(catalog, fold, config.training.validation_share, config.seed)
        sides = {"train": train, "validation": validation, "test": fold.test}
        names = {side: [catalog.videos[index].name for index in indices] for side, indices in sides.items()}
        folds.append({"name": fold.name, **names})
    splits = {"class_names": catalog.class_names, "from_videos": data.backbone is not None, "folds": folds}
    write_splits(folder, splits)


def load_data(config: Config, *, progress: bool = False, guard: bool = False) -> Data:
    """The catalog and the features of its clips: those that came with it, or extracted into the store.

    With ``guard``, for training and tests, a split whose test is not clean is refused, before hours of extraction.

    Raises:
        ConfigError: the configuration cannot be followed, or the test leaks and ``evaluation.allow_leakage`` is off.
        WorkError: too many videos cannot be read, or the store cannot be written.
    """
    catalog: Catalog = registry.build("dataset", config.dataset, config.seed)
    device = resolve_device(config.device).main
    if catalog.arrays is not None:
        leakage = guard_test(catalog, config, None, progress) if guard else Leakage((), ())
        given = f"{len(catalog.videos)} videos, features given"
        return Data(catalog, from_arrays(catalog), None, {}, 0.0, given, leakage)
    backbone = build_backbone(config.backbone, config.seed)
    leakage = guard_test(catalog, config, backbone.provenance, progress) if guard else Leakage((), ())
    done = extract_features(catalog, config, backbone, device, progress)
    summary = (
        f"{len(catalog.videos)} videos: {done.n_extracted} extracted in {done.seconds:.1f} s ({done.frames} images), "
        f"{done.n_reused} in the store, {len(done.bad)} unreadable"
    )
    logger.info(summary)
    catalog = catalog.without(set(done.bad))
    if isinstance(pickles := getattr(config.dataset, "pickles", None), PicklePaths):
        keep_as_pickles(pickles, catalog, done.features)
    return Data(catalog, done.features, backbone, done.bad, done.seconds, summary, leakage)


def _train_fold(config: Config, data: Data, fold: Fold, folder: Path, progress: bool, show_test: bool) -> None:
    model = build_model(config.model, data.features.dim, len(data.catalog.class_names), config.seed)
    train_videos, validation_videos = split_validation(
        data.catalog, fold, config.training.validation_share, config.seed
    )
    clips = data.features.clips_of
    sides = Sides(clips(train_videos), clips(validation_videos), clips(fold.test) if show_test else ())
    logger.info(
        "split %s: training on %d videos, validating on %d", fold.name, len(train_videos), len(validation_videos)
    )
    train_model(
        model,
        data.features,
        sides,
        config,
        fold_folder(folder, fold.name, len(data.catalog.folds)),
        measure=lambda chosen: measure_loss(_predict(config, data, model, chosen)),
        extra={"fold": fold.name},
        progress=progress,
    )


def _evaluate(config: Config, data: Data, folder: Path) -> Run:
    """Test every fold with the weights that training kept, then write the results and the report."""
    begin = time.perf_counter()
    catalog, folds = data.catalog, []
    for fold in catalog.folds:
        model = build_model(config.model, data.features.dim, len(catalog.class_names), config.seed)
        load_weights(model, require_trained(fold_folder(folder, fold.name, len(catalog.folds)), folder))
        folds.append(_evaluate_fold(config, data, fold, model))
    seconds = time.perf_counter() - begin
    metrics = summarise(catalog, folds, model.populations)
    metrics |= _describe_work(config, data, folder, model, metrics["spikes"])
    metrics["seconds"]["evaluate"] = seconds
    metrics["videos_per_second"] = metrics["test_videos"] / seconds
    shown = _choose_shown(config, data, folds[0], catalog.folds[0])
    write_examples(folder / "examples.npz", catalog, config.clip, config.seed, shown)
    write_atomic(folder / "predictions.csv", write_predictions_csv(catalog, folds))
    write_atomic(folder / "confusion.csv", write_confusion_csv(catalog, folds))
    write_atomic(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    write_report(folder)
    return Run(folder, metrics)


def _evaluate_fold(config: Config, data: Data, fold: Fold, model: TemporalModel) -> FoldResult:
    train_videos, validation_videos = split_validation(
        data.catalog, fold, config.training.validation_share, config.seed
    )
    clips = data.features.clips_of
    tested = _predict(config, data, model, clips(fold.test))
    baseline = None
    if config.evaluation.baseline:
        average = build_model({"type": "frame_average"}, data.features.dim, len(data.catalog.class_names), config.seed)
        share = config.training.validation_share or BASELINE_VALIDATION
        own_train, own_validation = split_validation(data.catalog, fold, share, config.seed)
        fit_closed_form(average, data.features, clips(own_train), clips(own_validation))
        baseline = _predict(config, data, average, clips(fold.test))
    return FoldResult(fold.name, tested, baseline, len(train_videos), len(validation_videos))


def _predict(config: Config, data: Data, model: TemporalModel, clips: Sequence[int]) -> ClipPredictions:
    device = resolve_device(config.device).main
    return predict_clips(model, data.features, clips, config.evaluation.batch_size, device)


def _describe_work(
    config: Config, data: Data, folder: Path, model: TemporalModel, spikes: dict[str, Any] | None
) -> dict[str, Any]:
    """The part of ``metrics.json`` that predictions do not give: operations, seconds, what was left out, notes."""
    clip, _ = data.features.read([int(data.features.length.argmax())])
    operations = {"model": count_model_operations(model.cpu(), clip, spikes).to_dict(), "backbone": None}
    if data.backbone is not None:
        counted = count_backbone_operations(data.backbone, data.catalog, config, clip.shape[1])
        operations["backbone"] = None if counted is None else counted.to_dict()
    folders = [fold_folder(folder, fold.name, len(data.catalog.folds)) for fold in data.catalog.folds]
    lines = [line for one in folders for line in read_lines(one)]
    if len(folders) > 1:
        write_lines(folder, lines)
    trained = [line.get("seconds", 0.0) for line in lines]
    return {
        "operations": operations,
        "seconds": {"extract": data.seconds, "train": sum(trained)},
        "best_epoch": find_best(lines) if len(folders) == 1 else None,
        "initial": next((line["test"] for line in lines if line["epoch"] < 0 and "test" in line), None),
        "bad_videos": [
            {"video": data.catalog.videos[index].name, "reason": reason} for index, reason in sorted(data.bad.items())
        ],
        "notes": [*data.leakage.notes(), *data.catalog.notes, *_note_training(config, data.catalog, model)],
        "leakage": data.leakage.to_dict(),
    }


def _note_training(config: Config, catalog: Catalog, model: TemporalModel) -> list[str]:
    """What a reader must know of how the tested weights came about."""
    if config.training.skip:
        return [f"Nothing was trained: the weights in {config.training.weights} were tested as they are."]
    if not model.trained_by_gradient:
        return []
    if any(video.group is None for video in catalog.videos):
        return ["Groups are unknown: there was no validation, and the last epoch counts."]
    if config.training.validation_share == 0:
        return ["All training groups were trained on, without validation: the last epoch counts."]
    return []


def _choose_shown(config: Config, data: Data, result: FoldResult, fold: Fold) -> list[Shown]:
    """The clips that the report shows: the first clip of some test videos of the first fold."""
    shown = []
    for video in choose_videos(data.catalog, fold.test, config.report.clips):
        clip = int((result.model.video == video).argmax())
        shown.append(Shown(video, result.model.probabilities[clip][result.model.mask[clip]]))
    return shown
