"""Data that is not a run's own: a trained run is tested on it, or anybody's split is examined without a run."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from snn_action.config import Config, load_config, make_config, override
from snn_action.core import distributed
from snn_action.core.errors import ConfigError
from snn_action.core.progress import stage
from snn_action.core.run_access import open_run
from snn_action.datasets import csv
from snn_action.datasets.catalog import Arrays, Catalog, Fold, Video, digest_features
from snn_action.evaluation import Leakage
from snn_action.evaluation.guard import refuse_leaks
from snn_action.evaluation.leakage import Leak, examine_split, examine_videos, examine_weights
from snn_action.features import (
    describe_backbone,
    extract_features,
    from_arrays,
    load_backbone,
    prepare,
    read_contents,
)
from snn_action.models import build_model
from snn_action.runs.calibration import load_calibration
from snn_action.runs.data import Data
from snn_action.runs.folder import fold_folder, plain_names, write_begin
from snn_action.runs.pipeline import Run, test_fold, write_results
from snn_action.runs.split import Sides, Split, freeze
from snn_action.runs.split_file import read_begun_run
from snn_action.training import load_shared, require_trained, resolve_device

logger = logging.getLogger(__name__)

FOLD = "other data"


def read_other(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration in a JSON file, or one for the videos of a CSV table.

    Raises:
        ConfigError: the file is missing or does not fit.
    """
    if path.suffix.lower() != ".csv":
        return load_config(path, overrides)
    dataset = {"type": "csv", "path": str(path)}
    return make_config(override({"name": "table", "dataset": dataset, "model": {"type": "mean_pool"}}, overrides))


def check_split(path: Path, overrides: Sequence[str] = (), *, progress: bool = False) -> tuple[Catalog, Leakage]:
    """What leaks in the split of a configuration or table: groups and copies on both sides.

    The backbone is not asked what it learned from: nothing is downloaded for this.

    Raises:
        ConfigError: the split cannot be read.
    """
    config = read_other(path, overrides)
    catalog: Catalog = config.dataset.build(config.seed)
    split = examine_split(catalog, None)
    videos, _ = examine_videos(catalog, config, progress)
    checked = [words for words in split.checked if not words.startswith("backbone")]
    return catalog, replace(split, checked=tuple(checked)).join(videos)


def evaluate_on(
    folder: str | Path,
    on: str | Path,
    overrides: Sequence[str] = (),
    *,
    fold: str | None = None,
    progress: bool = False,
) -> Run:
    """Test a trained run on other data: the test videos of a configuration, or the videos of a CSV table.

    Each video is compared with those that the run was trained and validated on, by group, content and looks. What
    overlaps is refused, marked, or with ``evaluation.leakage`` ``drop`` left out of this test. The results are a folder
    of their own in ``<run>/on/``.

    Args:
        folder: Of the run.
        on: Configuration (JSON), or table with the columns ``path`` and ``label``, and ``group`` where known.
        overrides: Put over the run's configuration; nothing that changes what was learned.
        fold: Whose weights, where the run has several folds; None: the first.
        progress: Show bars.

    Raises:
        ConfigError: the run is not trained, classes do not fit, or the data overlaps and is not to be marked.
    """
    folder, on = Path(folder), Path(on)
    with distributed.group(), open_run(folder, f"evaluate --on {on}"):
        config, split = read_begun_run(folder, overrides)
        names = [sides.name for sides in split.folds]
        if fold is not None and fold not in names:
            raise ConfigError(f"{folder}: no fold {fold!r}; it has {', '.join(names)}")
        sides = split.folds[names.index(fold) if fold else 0]
        own = fold_folder(folder, sides.name, names)
        weights = partial(require_trained, own, folder)
        distributed.broadcast_object(lambda: str(weights()))
        other = read_other(on)
        config = config.model_copy(update={"dataset": other.dataset})
        catalog = _read_test_videos(other, on, split)
        data = _load(config, catalog, split, sides, folder, progress)
        model = build_model(config.model, data.features.dim, len(split.class_names), config.seed, data.encoder)
        load_shared(model, weights)
        result = replace(
            test_fold(config, data, data.catalog.folds[0], model, progress),
            train_videos=len(sides.train),
            validation_videos=len(sides.validation),
            groups=frozenset(split.members[name].group for name in (*sides.train, *sides.validation)),
            calibration=distributed.broadcast_object(lambda: load_calibration(config, own)) or "the run has none",
        )
        notes = [f"The weights of run {folder.name}, fold {sides.name}, were tested on {on.name}."]
        notes += data.leakage.notes()
        out = distributed.broadcast_object(lambda: _make_folder(folder, on, config))
        return Run(
            out,
            distributed.broadcast_object(lambda: write_results(config, data, out, [result], model, progress, notes)),
        )


def _make_folder(folder: Path, on: Path, config: Config) -> Path:
    parent = folder / "on"
    parent.mkdir(exist_ok=True)
    (name,) = plain_names([on.stem])
    number = 1
    while (out := parent / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    out.mkdir()
    write_begin(out, config)
    return out


def _read_test_videos(other: Config, on: Path, split: Split) -> Catalog:
    """The videos to test, with the run's classes."""
    if on.suffix.lower() == ".csv":
        names, videos, _ = csv.read_table(on, ("path", "label"))
        arrays = None
    else:
        catalog: Catalog = other.dataset.build(other.seed)
        tested = sorted({index for fold in catalog.folds for index in fold.test})
        names, videos, arrays = catalog.class_names, tuple(catalog.videos[index] for index in tested), catalog.arrays
        if arrays is not None:
            arrays = Arrays(arrays.features[tested], arrays.lengths[tested], arrays.source)
    if (arrays is None) != split.from_videos:
        kinds = ("videos", "features that came with their dataset")
        raise ConfigError(f"{on}: the run was trained on {kinds[not split.from_videos]}, this is not the same kind")
    known = {name: label for label, name in enumerate(split.class_names)}
    foreign = sorted({names[video.label] for video in videos} - known.keys())
    if foreign:
        raise ConfigError(
            f"{on}: classes that the run does not know: {', '.join(foreign)}; it knows {', '.join(split.class_names)}"
        )
    videos = tuple(replace(video, label=known[names[video.label]]) for video in videos)
    return _only_test(split.class_names, videos, arrays)


def _only_test(names: tuple[str, ...], videos: tuple[Video, ...], arrays: Arrays | None) -> Catalog:
    return Catalog(names, videos, (Fold(FOLD, (), tuple(range(len(videos)))),), arrays, test_only=True)


def _load(config: Config, catalog: Catalog, split: Split, sides: Sides, folder: Path, progress: bool) -> Data:
    """Features of the videos that are tested, after they were compared with what was learned from."""
    backbone, provenance = None, None
    if catalog.arrays is None:
        with distributed.rank_zero_first(), stage(f"Loading {config.backbone.name}", progress):
            backbone = load_backbone(config)
        prepare(backbone, config, resolve_device(config.device).main)
        split.check_backbone(describe_backbone(backbone, config))
        provenance = backbone.provenance
        contents = read_contents(catalog, config, progress)
        digests = contents.digests
    else:
        digests = [*digest_features(catalog)]
    left_out, leakage = distributed.broadcast_object(
        lambda: compare_with_learned(config, catalog, digests, split, sides, folder, provenance, progress)
    )
    if left_out:
        kept = [index for index in range(len(catalog.videos)) if index not in left_out]
        if not kept:
            raise ConfigError("all of these videos overlap with what the run was trained on: nothing is left to test")
        catalog = replace(catalog, folds=(Fold(FOLD, (), tuple(kept)),))
    if backbone is None:
        return Data(catalog, _note(catalog, digests, {}), from_arrays(catalog), None, 0.0, {}, "", leakage)
    done = extract_features(catalog, config, backbone, resolve_device(config.device).main, progress, contents)
    catalog = catalog.without(set(done.bad))
    counts = {"videos_extracted": done.n_extracted, "videos_from_store": done.n_reused}
    return Data(catalog, _note(catalog, digests, done.bad), done.features, backbone, done.seconds, counts, "", leakage)


def _note(catalog: Catalog, digests: Sequence[str | OSError], bad: dict[int, str]) -> Split:
    return freeze(catalog, digests, backbone=None, settings={}, bad=bad)


def compare_with_learned(
    config: Config,
    catalog: Catalog,
    digests: Sequence[str | OSError],
    split: Split,
    sides: Sides,
    folder: Path,
    provenance: dict[str, Any] | None,
    progress: bool,
) -> tuple[set[int], Leakage]:
    """Videos of ``catalog`` to leave out, and what overlaps with the videos that the run learned from.

    Raises:
        ConfigError: something overlaps, and ``evaluation.leakage`` is ``refuse``.
    """
    learned = _find_learned(config, split, sides, folder)
    count = len(learned)
    taken = {video.name for video in learned}
    videos = tuple(
        replace(video, name=f"{video.name} ({FOLD})") if video.name in taken else video for video in catalog.videos
    )
    fold = Fold(FOLD, tuple(range(count)), tuple(range(count, count + len(videos))))
    both = Catalog(split.class_names, (*learned, *videos), (fold,), test_only=True)
    found = examine_split(both, provenance)
    groups = {video.group for video in learned} - {None}
    shared = {index for index, video in enumerate(videos) if video.group in groups}
    looked, (pairs,) = examine_videos(both, config, progress)
    same = _find_same_content(split, sides, digests) - {pair.test - count for pair in pairs}
    leaks = list(looked.leaks)
    if same:
        text = f"{len(same)} of {len(videos)} test videos have the content of videos that the run learned from"
        leaks.append(Leak("duplicate", FOLD, text))
    leakage = found.join(replace(looked, leaks=tuple(leaks)))
    if split.start is not None:
        leakage = leakage.join(examine_weights(catalog, digests, split.start))
    policy = config.evaluation.leakage
    if policy == "drop":
        left_out = shared | same | {pair.test - count for pair in pairs}
        rest = tuple(leak for leak in leakage.leaks if leak.kind not in ("group", "duplicate"))
        leakage = replace(leakage, leaks=rest, left_out=len(left_out))
        refuse_leaks(leakage, policy)
        return left_out, leakage
    refuse_leaks(leakage, policy)
    return set(), leakage


def _find_learned(config: Config, split: Split, sides: Sides, folder: Path) -> tuple[Video, ...]:
    """The videos that the fold learned from, with their paths where they are still as they were."""
    names = {*sides.train, *sides.validation}
    labels = {name: label for label, name in enumerate(split.class_names)}
    try:
        own: Catalog = read_begun_run(folder)[0].dataset.build(config.seed)
        videos = split.align(own).videos
    except ConfigError as error:
        logger.warning("the run's own videos cannot be looked at, their groups and contents are compared: %s", error)
        videos = tuple(
            Video(member.name, labels.get(member.label or "", 0), member.group) for member in split.members.values()
        )
    return tuple(video for video in videos if video.name in names)


def _find_same_content(split: Split, sides: Sides, digests: Sequence[str | OSError]) -> set[int]:
    learned = {split.members[name].digest for name in (*sides.train, *sides.validation)} - {None}
    return {index for index, digest in enumerate(digests) if digest in learned}
