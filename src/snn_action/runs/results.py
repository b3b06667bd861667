"""What ``metrics.json`` and the report say of a run beyond its predictions: work, notes, the clips that are shown."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from snn_action.config import Config
from snn_action.datasets.catalog import Catalog, Fold
from snn_action.evaluation import (
    FoldResult,
    Operations,
    count_backbone,
    record_spikes,
)
from snn_action.evaluation.energy.account import Account
from snn_action.evaluation.energy.count import AS_THEY_ARE, count_head, count_heads
from snn_action.evaluation.energy.layers import Layer, average_layers
from snn_action.evaluation.energy.summary import describe_account
from snn_action.models import TemporalModel, build_model
from snn_action.report.examples import Shown, choose_videos, say_left_out
from snn_action.runs.data import Data
from snn_action.runs.folder import fold_folder
from snn_action.training import find_best, read_lines, see_clip, write_lines

COUNTED = 8  # test clips, of whose changes the mean is counted


def describe_work(
    config: Config, data: Data, folder: Path, model: TemporalModel, spikes: dict[str, Any] | None
) -> dict[str, Any]:
    """The part of ``metrics.json`` that predictions do not give: operations, seconds, what was left out, notes."""
    clips = find_typical_clips(data)
    clip, _ = data.features.read(clips[:1])
    heads = _count_model(model.cpu(), data, clips, spikes, config.training.weight_bits)
    backbone = None if data.backbone is None else count_backbone(data.backbone, data.catalog, config, clip.shape[1])
    steps = clip.shape[1]
    account = Account(
        steps,
        heads,
        None if backbone is None else tuple(backbone),
        _count_baseline(see_clip(model, clip), len(data.catalog.class_names)),
    )
    operations = {
        "model": Operations.of(heads[AS_THEY_ARE]).to_dict(),
        "backbone": None if backbone is None else Operations.of(backbone).to_dict(),
    }
    folders = [fold_folder(folder, name, data.fold_names) for name in data.fold_names]
    lines = [line for one in folders for line in read_lines(one)]
    if len(folders) > 1:
        write_lines(folder, lines)
    trained = [line.get("seconds", 0.0) for line in lines]
    return {
        "operations": operations,
        "energy": describe_account(account, config.model.model_dump(mode="json")),
        "seconds": {"extract": data.seconds, **data.extraction, "train": sum(trained)},
        "best_epoch": find_best(lines) if len(folders) == 1 else None,
        "initial": next((line["test"] for line in lines if line["epoch"] < 0 and "test" in line), None),
        "bad_videos": [{"video": name, "reason": reason} for name, reason in data.split.bad.items()],
        "notes": [*data.leakage.notes(), *data.catalog.notes, *note_training(config, data.catalog, model)],
    }


def _count_baseline(clip: Tensor, classes: int) -> tuple[Layer, ...]:
    """Layers of the baseline on a clip (1, T, D); fitted, none of its weights is zero."""
    baseline = build_model({"type": "mean_pool"}, clip.shape[2], classes)
    baseline.weight.fill_(1.0)  # type: ignore[operator]
    return tuple(count_head(baseline, clip, None))


def _count_model(
    model: TemporalModel, data: Data, clips: list[int], spikes: dict[str, Any] | None, bits: int | None
) -> dict[int, tuple[Layer, ...]]:
    """``count_heads`` on the first of ``clips``; on all, and their mean, where what is sent depends on what moves."""

    def count(clip: int) -> dict[int, tuple[Layer, ...]]:
        return count_heads(model, data.features.read([clip])[0], spikes, bits)

    first = count(clips[0])
    if not any(layer.by_changes for layer in first[AS_THEY_ARE]):
        return first
    counted = [first, *map(count, clips[1:])]
    return {width: tuple(average_layers([one[width] for one in counted])) for width in first}


def find_typical_clips(data: Data) -> list[int]:
    """Up to ``COUNTED`` test clips, evenly spread, of the length that is nearest to the mean of all."""
    tested = np.array(sorted({clip for fold in data.catalog.folds for clip in data.features.clips_of(fold.test)}))
    lengths = data.features.length[tested]
    alike: list[int] = tested[lengths == lengths[np.abs(lengths - lengths.mean()).argmin()]].tolist()
    return alike[:: max(1, len(alike) // COUNTED)][:COUNTED]


def note_training(config: Config, catalog: Catalog, model: TemporalModel) -> list[str]:
    """What a reader must know of how the tested weights came about."""
    bits = config.training.weight_bits
    if config.training.skip:
        how = "as they are" if bits is None else f"with matrices rounded to {bits} bits"
        return [f"Nothing was trained: the weights in {config.training.weights} were tested {how}."]
    rounded = [] if bits is None else [f"The model was trained, and tested, with matrices rounded to {bits} bits."]
    return [*rounded, *_note_groups(config, catalog, model)]


def _note_groups(config: Config, catalog: Catalog, model: TemporalModel) -> list[str]:
    if not model.trained_by_gradient:
        return []
    if any(video.group is None for video in catalog.videos):
        return ["Groups are unknown: there was no validation, and the last epoch counts."]
    if config.training.validation_share == 0:
        return ["All training groups were trained on, without validation: the last epoch counts."]
    return []


def choose_shown(
    config: Config, data: Data, result: FoldResult, fold: Fold, model: TemporalModel
) -> tuple[list[Shown], list[str]]:
    """The clips that the report shows, and words for those that cannot be.

    It is the first clip of some test videos of a fold, as its model saw them.
    """
    shown, left_out = [], []
    for video in choose_videos(data.catalog, fold.test, config.report.clips):
        clip = int((result.model.video == video).argmax())
        probabilities = result.model.probabilities[clip][result.model.mask[clip]]
        try:
            spikes = record_spikes(model, data.features, data.features.clips_of([video])[0])
        except Exception as error:  # the results are there: no picture ends the run
            left_out.append(say_left_out(f"the clip of {data.catalog.videos[video].name}", error))
            continue
        shown.append(Shown(video, probabilities, spikes))
    return shown, left_out
