"""Whether a test is clean: nothing that a model or its backbone learned from may stand in the test set.

=============  ==============================================================================================
kind           what is found
=============  ==============================================================================================
``group``      a group (person, scene, source) on both sides of a split
``duplicate``  a test video that looks like a training video: another encoding, size or name of the same film
``backbone``   a test video, or another video of its group, that the backbone itself learned from, as far as
               the provenance of its weights names them
``origin``     a dataset of features that says itself that its network may have seen test videos
=============  ==============================================================================================

Two videos look alike where their perceptual hashes (``data/perceptual.py``) differ by at most a tenth of their
contrast (root mean square over all cells, against the smaller standard deviation), but no less than ``NOISE`` grey
levels, which any codec makes, and no more than ``NEAR``. A video whose contrast is below ``PLAIN`` looks like any other
such video and is not compared. A part cut out of a video, a mirror image or a strong change of colours is not found:
for that there are groups.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.config import Config
from snn_action.data.catalog import Catalog, Fold
from snn_action.data.lists import stem
from snn_action.data.perceptual import SIDE, Hash, hash_videos
from snn_action.progress import track

NOISE, SHARE, NEAR, PLAIN = 1.5, 0.1, 3.5, 5.0
CACHE = "perceptual.sqlite"  # in the folder of the feature store
EXAMPLES = 3  # that a message names
_BLOCK = 4  # cells of a coarse cell's side
_ROWS = 512  # training videos that are compared at once
_UCF101 = re.compile(r"v_\w+_g\d+_c\d+")


@dataclass(frozen=True)
class Leak:
    """One way in which a fold's test set is not clean."""

    kind: str
    fold: str
    text: str


@dataclass(frozen=True)
class Leakage:
    """What was found, and what was looked at, in words; ``dropped`` videos were left out of training for it."""

    leaks: tuple[Leak, ...]
    checked: tuple[str, ...]
    dropped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        return {
            "clean": not self.leaks,
            "leaks": [asdict(leak) for leak in self.leaks],
            "checked": list(self.checked),
            "dropped": self.dropped,
        }

    def notes(self) -> list[str]:
        """What a reader of the results must know."""
        several = len({leak.fold for leak in self.leaks}) > 1
        texts = [f"Leakage: {f'split {leak.fold}: ' if several else ''}{leak.text}" for leak in self.leaks]
        if self.dropped:
            texts.append(
                f"{self.dropped} videos were left out of training, as they share a group with a test video or look "
                "like one."
            )
        return list(dict.fromkeys(texts))


def examine_split(catalog: Catalog, provenance: Mapping[str, Any] | None) -> Leakage:
    """What can be found without looking at videos: groups, the backbone's own training videos, the features' origin.

    Args:
        catalog: Videos and folds.
        provenance: Of the backbone's weights (``Backbone.provenance``); None where features came with the dataset.
    """
    leaks: list[Leak] = []
    for fold in catalog.folds:
        leaks += find_common_groups(catalog, fold)
        leaks += find_learned_videos(catalog, fold, {"videos": catalog.backbone_videos, **(provenance or {})})
        leaks += [Leak("origin", fold.name, text) for text in catalog.leaks]
    used = {index for fold in catalog.folds for index in (*fold.learned, *fold.test)}
    known = sum(catalog.videos[index].group is not None for index in used)
    checked = [f"groups: known of {known} of {len(used)} videos"]
    if provenance is not None and "videos" not in provenance:
        origin = provenance.get("trained_on", "unknown")
        checked.append(f"backbone: the videos that it learned from are not named by its weights (trained on: {origin})")
    elif provenance is not None or catalog.backbone_videos:
        named = len((provenance or {}).get("videos", catalog.backbone_videos))
        checked.append(f"backbone: the {named} videos that it learned from are named")
    else:
        checked.append(
            "backbone: the features came with the dataset, which does not say what their network learned from"
        )
    return Leakage(tuple(leaks), tuple(checked))


def examine_videos(catalog: Catalog, config: Config, progress: bool = False) -> tuple[Leakage, list[set[int]]]:
    """Look at every video, and find test videos that look like training videos of another group or of none.

    Also those training and validation videos of each fold that a test video looks like.
    """
    paths = [video.path for video in catalog.videos if video.path is not None]
    if len(paths) < len(catalog.videos):
        return Leakage((), ("near-duplicates: not looked for, there are no videos",)), [set() for _ in catalog.folds]
    cache, settings = Path(config.features.store) / CACHE, config.features
    with track("Comparing videos", len(paths), progress) as tick:
        hashes = hash_videos(paths, cache, settings.limits, settings.workers, tick)
    found = [find_duplicates(catalog, fold, hashes) for fold in catalog.folds]
    leaks = [
        leak for fold, pairs in zip(catalog.folds, found, strict=True) for leak in tell_duplicates(catalog, fold, pairs)
    ]
    compared = sum(hash_ is not None and _contrast(hash_) >= PLAIN for hash_ in hashes)
    checked = (f"near-duplicates: {compared} of {len(paths)} videos compared",)
    return Leakage(tuple(leaks), checked), [{learned for learned, _ in pairs} for pairs in found]


def find_group_mates(catalog: Catalog, fold: Fold) -> set[int]:
    """Training and validation videos of a fold whose group also tests."""
    tested = {catalog.videos[index].group for index in fold.test} - {None}
    return {index for index in fold.learned if catalog.videos[index].group in tested}


def find_common_groups(catalog: Catalog, fold: Fold) -> list[Leak]:
    """A leak where groups stand on both sides of a fold."""
    both = sorted({str(catalog.videos[index].group) for index in find_group_mates(catalog, fold)})
    if not both:
        return []
    tested = sum(catalog.videos[index].group in both for index in fold.test)
    return [
        Leak(
            "group",
            fold.name,
            f"{len(both)} groups stand in training and in test ({_name(both)}), {tested} of {len(fold.test)} test "
            "videos; videos of one group belong on one side",
        )
    ]


def find_learned_videos(catalog: Catalog, fold: Fold, provenance: Mapping[str, Any]) -> list[Leak]:
    """A leak where the backbone learned from test videos, or from others of their groups.

    ``provenance["videos"]`` names them, with or without folder and suffix, in any case. ``provenance["ucf101"]`` says,
    of weights that name no videos, why test videos of UCF101 are among them.
    """
    learned = {stem(str(name)).lower() for name in provenance.get("videos", ())}
    own = {stem(video.name).lower(): video.group for video in catalog.videos}
    groups = {own.get(name) for name in learned} - {None}
    tested = [catalog.videos[index] for index in fold.test]
    seen = [video.name for video in tested if stem(video.name).lower() in learned]
    related = [video.name for video in tested if video.group in groups and stem(video.name).lower() not in learned]
    leaks = []
    if seen:
        text = f"the backbone learned from {len(seen)} of {len(tested)} test videos ({_name(seen)})"
        leaks.append(Leak("backbone", fold.name, text))
    if related:
        text = f"the backbone learned from others of the groups of {len(related)} of {len(tested)} test videos"
        leaks.append(Leak("backbone", fold.name, f"{text} ({_name(related)})"))
    if "ucf101" in provenance and any(_UCF101.fullmatch(stem(video.name)) for video in tested):
        leaks.append(Leak("backbone", fold.name, str(provenance["ucf101"])))
    return leaks


def find_duplicates(catalog: Catalog, fold: Fold, hashes: Sequence[Hash | None]) -> list[tuple[int, int]]:
    """Pairs of a video that was learned from and a test video that looks like it; not those of one group."""
    learned, test = ([i for i in side if hashes[i] is not None] for side in (fold.learned, fold.test))
    pairs = [
        (learned[a], test[b])
        for a, b in compare([hashes[i] for i in learned], [hashes[i] for i in test])  # type: ignore[misc]
    ]
    group = [video.group for video in catalog.videos]
    return [(one, other) for one, other in pairs if group[one] is None or group[one] != group[other]]


def tell_duplicates(catalog: Catalog, fold: Fold, pairs: Sequence[tuple[int, int]]) -> list[Leak]:
    """A leak where there are such pairs."""
    if not pairs:
        return []
    tested = len({other for _, other in pairs})
    names = _name([f"{catalog.videos[other].name} like {catalog.videos[one].name}" for one, other in pairs])
    text = f"{tested} of {len(fold.test)} test videos look like training videos ({names})"
    return [Leak("duplicate", fold.name, text)]


def compare(left: Sequence[Hash], right: Sequence[Hash]) -> Iterator[tuple[int, int]]:
    """Places of those of ``left`` and ``right`` that look alike.

    Means over blocks of cells are compared first, by one matrix product: their distance is never larger than that of
    the cells, so no pair is missed.
    """
    if not left or not right:
        return
    a, b = (np.stack(list(side)).astype(np.float32) for side in (left, right))
    coarse_a, coarse_b = (_coarsen(side) for side in (a, b))
    contrast = [np.array([_contrast(hash_) for hash_ in side]) for side in (a, b)]
    square_b = (coarse_b**2).sum(1)
    limit = NEAR**2 * coarse_b.shape[1] * 1.01 + 1.0  # rounding
    for start in range(0, len(a), _ROWS):
        rows = coarse_a[start : start + _ROWS]
        squares = (rows**2).sum(1)[:, None] + square_b - 2 * rows @ coarse_b.T
        for row, column in zip(*np.nonzero(squares <= limit), strict=True):
            i, j = start + int(row), int(column)
            least = min(contrast[0][i], contrast[1][j])
            distance = float(np.sqrt(((a[i] - b[j]) ** 2).mean()))
            if least >= PLAIN and distance <= min(NEAR, max(NOISE, SHARE * least)):
                yield i, j


def _coarsen(hashes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over blocks, less a constant that keeps the squares small, ``(V, D)``."""
    side = SIDE // _BLOCK
    blocks = hashes.reshape(*hashes.shape[:2], side, _BLOCK, side, _BLOCK).mean((3, 5)) - 128
    return np.asarray(blocks.reshape(len(hashes), -1), np.float32)


def _contrast(hash_: npt.NDArray[Any]) -> float:
    return float(hash_.std())


def _name(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
