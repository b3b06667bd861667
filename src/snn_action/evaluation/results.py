"""From predictions to ``metrics.json``, ``predictions.csv`` and ``confusion.csv``, for one fold or several."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snn_action.core.tables import write_table
from snn_action.datasets.catalog import Catalog
from snn_action.evaluation import accuracy
from snn_action.evaluation.accuracy import VideoPredictions
from snn_action.evaluation.calibration import Calibration
from snn_action.evaluation.early_stop import stop_early
from snn_action.evaluation.predictions import ClipPredictions
from snn_action.evaluation.reliability import BINS, measure_reliability
from snn_action.models import Population

KINDS = ("timestep", "last", "clip", "video")


@dataclass(frozen=True)
class FoldResult:
    """What the model, and the baseline on the same features, said of a fold's test clips.

    ``controls`` are what the same model said of them with their frames rearranged (``controls.CONTROLS``), ``groups``
    those of the videos that were learned from. ``calibration`` is the fold's, or why there is none.
    """

    name: str
    model: ClipPredictions
    baseline: ClipPredictions | None
    train_videos: int
    validation_videos: int
    controls: Mapping[str, ClipPredictions] = field(default_factory=dict)
    groups: frozenset[str | None] = frozenset()
    calibration: Calibration | str = "the run has none"


def join_folds(parts: Sequence[ClipPredictions], videos: int) -> ClipPredictions:
    """The test clips of all folds together; a video tested in two folds counts twice (index + fold x ``videos``)."""
    steps = max(part.mask.shape[1] for part in parts)

    def pad(array: Any) -> Any:
        return np.pad(array, [(0, 0), (0, steps - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])

    spikes = [part.spikes for part in parts if part.spikes is not None]
    totals = [pad(part.totals) for part in parts if part.totals is not None]
    return ClipPredictions(
        np.concatenate([pad(part.probabilities) for part in parts]),
        np.concatenate([pad(part.mask) for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.video + fold * videos for fold, part in enumerate(parts)]),
        np.concatenate(spikes) if spikes else None,
        parts[0].averaged,
        sum(part.seconds for part in parts),
        np.concatenate(totals) if len(totals) == len(parts) else None,
    )


def summarize(catalog: Catalog, folds: Sequence[FoldResult], populations: Sequence[Population]) -> dict[str, Any]:
    """The part of ``metrics.json`` that predictions give; over several folds their mean and deviation are added."""
    count = len(catalog.videos)
    model = join_folds([fold.model for fold in folds], count)
    baselines = [fold.baseline for fold in folds if fold.baseline is not None]
    baseline = join_folds(baselines, count) if baselines else None
    videos = accuracy.average_clips(model)
    result: dict[str, Any] = {
        "accuracy": accuracy.measure_accuracy(model),
        "top5": {"video": accuracy.measure_top(model)},
        "baseline": None if baseline is None else _describe_baseline(baseline, catalog),
        "per_class": accuracy.measure_classes(accuracy.count_confusion(videos), catalog.class_names),
        "pairs": _describe_pairs(catalog, videos, None if baseline is None else accuracy.average_clips(baseline)),
        "controls": _describe_controls(catalog, folds),
        "anytime": accuracy.measure_anytime(model),
        "spikes": accuracy.measure_spikes(model, populations),
        "calibration": _describe_calibration(folds),
        "early_stop": _describe_early_stop(folds, count),
        "train_videos": round(float(np.mean([fold.train_videos for fold in folds]))),
        "validation_videos": round(float(np.mean([fold.validation_videos for fold in folds]))),
        "test_videos": len(videos.video),
    }
    if len(folds) > 1:
        result |= _describe_folds(folds)
    return result


def _describe_baseline(baseline: ClipPredictions, catalog: Catalog) -> dict[str, Any]:
    confusion = accuracy.count_confusion(accuracy.average_clips(baseline))
    return {
        **accuracy.measure_accuracy(baseline),
        "per_class": accuracy.measure_classes(confusion, catalog.class_names),
        "anytime": accuracy.measure_anytime(baseline),
    }


def _describe_pairs(
    catalog: Catalog, videos: VideoPredictions, baseline: VideoPredictions | None
) -> list[dict[str, Any]]:
    pairs = []
    for pair in catalog.pairs:
        labels = (catalog.class_names.index(pair[0]), catalog.class_names.index(pair[1]))
        pairs.append(
            {
                "classes": list(pair),
                "model": accuracy.measure_pair(videos, labels),
                "baseline": None if baseline is None else accuracy.measure_pair(baseline, labels),
            }
        )
    return pairs


def _describe_controls(catalog: Catalog, folds: Sequence[FoldResult]) -> dict[str, Any] | None:
    """Accuracies of the same weights on rearranged frames, over all classes and within the catalog's pairs."""
    result = {}
    for name in folds[0].controls:
        joined = join_folds([fold.controls[name] for fold in folds], len(catalog.videos))
        pairs = _describe_pairs(catalog, accuracy.average_clips(joined), None)
        result[name] = {
            "accuracy": accuracy.measure_accuracy(joined),
            "pairs": [{"classes": pair["classes"], "model": pair["model"]} for pair in pairs],
        }
    return result or None


def _describe_calibration(folds: Sequence[FoldResult]) -> dict[str, Any]:
    """How honest the probabilities of test videos are, before the folds' temperatures and after."""
    before = [accuracy.average_clips(fold.model) for fold in folds]
    labels = np.concatenate([videos.label for videos in before])
    found = [(fold, fold.calibration) for fold in folds if isinstance(fold.calibration, Calibration)]
    result: dict[str, Any] = {
        "videos": len(labels),
        "bins": BINS,
        "before": measure_reliability(np.concatenate([videos.probabilities for videos in before]), labels).to_dict(),
        "after": None,
        "called_unknown": None,
        "reason": next((fold.calibration for fold in folds if isinstance(fold.calibration, str)), None),
        "folds": [{"name": fold.name, **calibration.summary} for fold, calibration in found],
    }
    if len(found) == len(folds):
        after = [own.sharpen(videos.probabilities) for (_, own), videos in zip(found, before, strict=True)]
        strange = [own.rate(fold.model) > own.threshold for fold, own in found]
        result["after"] = measure_reliability(np.concatenate(after), labels).to_dict()
        result["called_unknown"] = float(np.concatenate(strange).mean())
    return result


def _describe_early_stop(folds: Sequence[FoldResult], videos: int) -> dict[str, Any] | None:
    """Steps that are looked at, and accuracy, where each fold's clips end early as it says; None where one has none.

    ``steps`` and ``of`` are means over clips: steps that are looked at, and all.
    """
    stops = [fold.calibration.stop if isinstance(fold.calibration, Calibration) else None for fold in folds]
    stopped = [stop_early(fold.model, stop) for fold, stop in zip(folds, stops, strict=True) if stop is not None]
    if len(stopped) < len(folds):
        return None
    joined, whole = join_folds(stopped, videos), join_folds([fold.model for fold in folds], videos)
    return {
        "confidence": [stop.confidence for stop in stops if stop is not None],
        "earliest": [stop.earliest for stop in stops if stop is not None],
        "steps": float(joined.mask.sum(1).mean()),
        "of": float(whole.mask.sum(1).mean()),
        "accuracy": accuracy.measure_accuracy(joined),
    }


def measure_shared(catalog: Catalog, folds: Sequence[FoldResult]) -> dict[str, dict[str, Any]]:
    """Video accuracy on test videos that share no group with training or validation, and on those that do.

    Videos of an unknown group are in neither. The accuracy is None where there are none.
    """
    correct: dict[str, list[bool]] = {"unshared": [], "shared": []}
    for result in folds:
        videos = accuracy.average_clips(result.model)
        for video, right in zip(videos.video.tolist(), videos.correct.tolist(), strict=True):
            group = catalog.videos[video].group
            if group is not None:
                correct["shared" if group in result.groups else "unshared"].append(right)
    return {
        side: {"videos": len(rights), "accuracy": float(np.mean(rights)) if rights else None}
        for side, rights in correct.items()
    }


def _describe_folds(folds: Sequence[FoldResult]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for fold in folds:
        row = {
            "name": fold.name,
            "accuracy": accuracy.measure_accuracy(fold.model),
            "train_videos": fold.train_videos,
            "test_videos": len(np.unique(fold.model.video)),
        }
        if fold.baseline is not None:
            row["baseline"] = accuracy.measure_accuracy(fold.baseline)
        rows.append(row)

    def over(function: Callable[[list[float]], Any]) -> dict[str, dict[str, float]]:
        return {
            who: {kind: float(function([row[who][kind] for row in rows])) for kind in KINDS}
            for who in ("accuracy", "baseline")
            if who in rows[0]
        }

    return {"folds": rows, "mean": over(np.mean), "std": over(lambda values: np.std(values, ddof=1))}


def write_predictions_csv(catalog: Catalog, folds: Sequence[FoldResult]) -> str:
    """The text of ``predictions.csv``: a line for each test video of each fold; ``top5`` is a JSON object."""
    rows: list[list[Any]] = [["fold", "video", "label", "predicted", "correct", "probability", "top5"]]
    names = catalog.class_names
    for fold in folds:
        videos = accuracy.average_clips(fold.model)
        for row, video, label, predicted in zip(
            videos.probabilities, videos.video, videos.label, videos.predicted, strict=True
        ):
            top = np.argsort(-row, kind="stable")[:5]
            rows.append(
                [
                    fold.name,
                    catalog.videos[video].name,
                    names[label],
                    names[predicted],
                    int(label == predicted),
                    f"{row[predicted]:.6f}",
                    json.dumps({names[k]: round(float(row[k]), 6) for k in top}, ensure_ascii=False),
                ]
            )
    return write_table(rows)


def write_confusion_csv(catalog: Catalog, folds: Sequence[FoldResult]) -> str:
    """The text of ``confusion.csv``: videos by class (row) and predicted class (column), over all folds."""
    joined = join_folds([fold.model for fold in folds], len(catalog.videos))
    confusion = accuracy.count_confusion(accuracy.average_clips(joined))
    rows = ([name, *row.tolist()] for name, row in zip(catalog.class_names, confusion, strict=True))
    return write_table([["class", *catalog.class_names], *rows])
