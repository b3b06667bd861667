"""Whether a test is clean: nothing that a model or its backbone learned from may stand in the test set.

=============  =========================================================================================================
kind           what is found
=============  =========================================================================================================
``group``      a group (person, scene, source) on both sides of a split
``duplicate``  a test video that is a copy of a training video, as it is or altered
``backbone``   a test video, or another video of its group, that the backbone itself learned from, as far as
               the provenance of its weights names them
``weights``    a test video, or another video of its group, that the weights which training began from learned from
``origin``     a dataset of features that says itself that its network may have seen test videos
=============  =========================================================================================================

How two videos are told to be copies, ``video/copies.py`` says; ``SEEN`` and ``UNSEEN`` say what it finds and what not.
A pair of one group is told as a group's, not here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from snn_action.backbones.origins import describe_overlap
from snn_action.config import Config
from snn_action.core.progress import track
from snn_action.datasets.catalog import Catalog, Fold
from snn_action.datasets.lists import stem
from snn_action.datasets.trained_on import TrainedOn
from snn_action.video.copies import CONTENT, MIRRORED, find_copies
from snn_action.video.perceptual import NO_PATTERN, Fingerprint, fingerprint_videos

CACHE = "perceptual.sqlite"  # in the folder of the feature store
EXAMPLES = 3  # that a message names
SEEN = (
    "Found are copies of the same content and most that were encoded anew, resized, stretched, mirrored, reversed, cut "
    "out in time, played up to twice as fast or slow, cropped by up to a tenth on each side, given bars or a small "
    "logo, or changed in brightness, contrast or color."
)
UNSEEN = (
    "Not found, or in part only, are copies that are rotated, cropped more, shown as a part of another picture or "
    "covered in good part, bad copies of videos in which little moves, short pieces of long videos, and other videos "
    "of the same person, place or moment: for these there are groups."
)
UNKNOWN_WEIGHTS = "training.weights do not say all that they learned from, so a test video may be among it"
_UCF101 = re.compile(r"v_\w+_g\d+_c\d+")


@dataclass(frozen=True)
class Leak:
    """One way in which a fold's test set is not clean."""

    kind: str
    fold: str
    text: str


@dataclass(frozen=True)
class Leakage:
    """What was found, and what was looked at, in words; names of the videos that could not be compared with others.

    ``unknown_weights``: training began from weights that do not say what they had learned from.
    ``dropped`` videos were left out of training, as they share something with a test video; ``left_out`` ones out of a
    test on other data, as they share something with what the run learned from.
    """

    leaks: tuple[Leak, ...]
    checked: tuple[str, ...]
    not_compared: tuple[str, ...] = ()
    dropped: int = 0
    left_out: int = 0
    unknown_weights: bool = False

    @property
    def verdict(self) -> str:
        """``clean``, ``clean as far as compared, N not compared`` or ``not clean``."""
        if self.leaks:
            return "not clean"
        gaps = [f"{len(self.not_compared)} not compared"] if self.not_compared else []
        gaps += ["training.weights of unknown origin"] if self.unknown_weights else []
        return ", ".join(["clean as far as compared", *gaps]) if gaps else "clean"

    def join(self, other: "Leakage") -> "Leakage":
        """Both findings as one."""
        return Leakage(
            self.leaks + other.leaks,
            self.checked + other.checked,
            self.not_compared + other.not_compared,
            self.dropped + other.dropped,
            self.left_out + other.left_out,
            self.unknown_weights or other.unknown_weights,
        )

    def to_dict(self) -> dict[str, Any]:
        """For ``metrics.json``; ``clean`` says that nothing was found, ``verdict`` also whether all was compared."""
        return {
            "clean": not self.leaks,
            "verdict": self.verdict,
            "leaks": [asdict(leak) for leak in self.leaks],
            "checked": list(self.checked),
            "not_compared": list(self.not_compared),
            "dropped": self.dropped,
            "left_out": self.left_out,
        }

    def notes(self) -> list[str]:
        """What a reader of the results must know."""
        several = len({leak.fold for leak in self.leaks}) > 1
        texts = [f"Leakage: {f'split {leak.fold}: ' if several else ''}{leak.text}" for leak in self.leaks]
        if self.not_compared:
            texts.append(
                f"Leakage: {len(self.not_compared)} videos could not be compared with others "
                f"({_name(self.not_compared)}); the test is {self.verdict}"
            )
        if self.unknown_weights:
            texts.append(f"Leakage: {UNKNOWN_WEIGHTS}; the test is {self.verdict}")
        if self.dropped:
            texts.append(
                f"{self.dropped} videos were left out of training, as they share a group with a test video or look "
                "like one."
            )
        if self.left_out:
            texts.append(
                f"{self.left_out} videos were left out of the test, as they share a group or content with a video that "
                "was learned from, or look like one."
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
        said = f"trained on: {origin}; {describe_overlap(str(origin))}"
        checked.append(f"backbone: the videos that it learned from are not named by its weights ({said})")
    elif provenance is not None or catalog.backbone_videos:
        named = len((provenance or {}).get("videos", catalog.backbone_videos))
        checked.append(f"backbone: the {named} videos that it learned from are named")
    else:
        checked.append(
            "backbone: the features came with the dataset, which does not say what their network learned from"
        )
    return Leakage(tuple(leaks), tuple(checked))


def examine_videos(catalog: Catalog, config: Config, progress: bool = False) -> tuple[Leakage, list[list["Pair"]]]:
    """Look at every video, and find test videos that are copies of training videos of another group or of none.

    Also the pairs of copies of each fold.
    """
    paths = [video.path for video in catalog.videos if video.path is not None]
    if len(paths) < len(catalog.videos):
        return Leakage((), ("near-duplicates: not looked for, there are no videos",)), [[] for _ in catalog.folds]
    cache, settings = Path(config.features.store) / CACHE, config.features
    with track("Looking at videos", len(paths), progress) as tick:
        fingerprints = fingerprint_videos(paths, cache, settings.limits, settings.workers, tick)
    found = find_duplicates(catalog, fingerprints, progress)
    leaks = [
        leak for fold, pairs in zip(catalog.folds, found, strict=True) for leak in tell_duplicates(catalog, fold, pairs)
    ]
    named = list(zip((video.name for video in catalog.videos), fingerprints, strict=True))
    plain = [name for name, fingerprint in named if fingerprint.reason == NO_PATTERN]
    failed = [name for name, fingerprint in named if fingerprint.reason not in ("", NO_PATTERN)]
    seen = len(paths) - len(plain) - len(failed)
    checked = [f"near-duplicates: {seen} of {len(paths)} videos compared. {SEEN} {UNSEEN}"]
    if plain:
        checked.append(f"near-duplicates: {len(plain)} videos show no pattern, their content alone was compared: ")
        checked[-1] += ", ".join(plain)
    if failed:
        checked.append(
            f"near-duplicates: {len(failed)} videos could not be read, nothing but their content was compared: "
        )
        checked[-1] += ", ".join(failed)
    return Leakage(tuple(leaks), tuple(checked), (*plain, *failed)), found


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

    ``provenance["videos"]`` names them, with or without folder and suffix, in any case, ``provenance["calibrated_on"]``
    those that its coding's thresholds were chosen on. ``provenance["ucf101"]`` says, of weights that name no videos,
    why test videos of UCF101 are among them.
    """
    own = {stem(video.name).lower(): video.group for video in catalog.videos}
    tested = [catalog.videos[index] for index in fold.test]
    leaks = []
    for key, verb in (("videos", "the backbone learned"), ("calibrated_on", "the backbone's thresholds were chosen")):
        learned = {stem(str(name)).lower() for name in provenance.get(key, ())}
        groups = {own.get(name) for name in learned} - {None}
        seen = [video.name for video in tested if stem(video.name).lower() in learned]
        related = [video.name for video in tested if video.group in groups and stem(video.name).lower() not in learned]
        if seen:
            text = f"{verb} from {len(seen)} of {len(tested)} test videos ({_name(seen)})"
            leaks.append(Leak("backbone", fold.name, text))
        if related:
            text = f"{verb} from others of the groups of {len(related)} of {len(tested)} test videos"
            leaks.append(Leak("backbone", fold.name, f"{text} ({_name(related)})"))
    if "ucf101" in provenance and any(_UCF101.fullmatch(stem(video.name)) for video in tested):
        leaks.append(Leak("backbone", fold.name, str(provenance["ucf101"])))
    return leaks


def examine_weights(catalog: Catalog, digests: Sequence[str | OSError], start: TrainedOn) -> Leakage:
    """What the weights that training begins from had learned from, against the test videos of each fold.

    A video is known again by its content, or by its name and class. Where one is, groups are compared, too: else two
    datasets may have groups of the same name. How videos look is not compared, as those of the weights are not at hand.

    Args:
        catalog: Videos and folds.
        digests: Of each video's content.
        start: What the weights say.
    """
    contents = {video.digest for video in start.videos} - {None}
    names = {(stem(video.name).lower(), video.label) for video in start.videos}
    labels = [catalog.class_names[video.label] for video in catalog.videos]
    seen = {
        index
        for index, (video, label) in enumerate(zip(catalog.videos, labels, strict=True))
        if digests[index] in contents or (stem(video.name).lower(), label) in names
    }
    groups = {(video.group, video.label) for video in start.videos if video.group is not None} if seen else set()
    leaks = []
    for fold in catalog.folds:
        known = [catalog.videos[i].name for i in fold.test if i in seen]
        related = [
            catalog.videos[i].name
            for i in fold.test
            if i not in seen and (catalog.videos[i].group, labels[i]) in groups
        ]
        for what, found in (("", known), ("others of the groups of ", related)):
            if found:
                text = f"training.weights learned from {what}{len(found)} of {len(fold.test)} test videos"
                leaks.append(Leak("weights", fold.name, f"{text} ({_name(found)})"))
    said = f"training.weights: the {len(start.videos)} videos that they learned from are named, and compared by "
    said += "content, name and group, not by looks"
    return Leakage(tuple(leaks), (said if start.complete else UNKNOWN_WEIGHTS,), unknown_weights=not start.complete)


class Pair(NamedTuple):
    """Indices of a video that was learned from and of a test video that is a copy of it, and how that is known."""

    learned: int
    test: int
    how: str


def find_duplicates(catalog: Catalog, fingerprints: Sequence[Fingerprint], progress: bool = False) -> list[list[Pair]]:
    """For each fold the pairs of copies on both sides of it; those of one group are left out."""
    sides = [(frozenset(fold.learned), frozenset(fold.test)) for fold in catalog.folds]
    learned, test = (sorted(set[int]().union(*side)) for side in zip(*sides, strict=True)) if sides else ([], [])

    def skip(left: int, right: int) -> bool:
        one, other = learned[left], test[right]
        group = catalog.videos[one].group
        alike = group is not None and group == catalog.videos[other].group
        return alike or not any(one in trained and other in tested for trained, tested in sides)

    sought = [[fingerprints[i] for i in side] for side in (learned, test)]
    with track("Looking for copies", len(test), progress) as tick:
        copies = find_copies(sought[0], sought[1], skip, tick)
    pairs = [Pair(learned[copy.left], test[copy.right], copy.how) for copy in copies]
    return [[pair for pair in pairs if pair.learned in trained and pair.test in tested] for trained, tested in sides]


def tell_duplicates(catalog: Catalog, fold: Fold, pairs: Sequence[Pair]) -> list[Leak]:
    """A leak where there are such pairs."""
    if not pairs:
        return []
    known = {CONTENT: " (the same content)", MIRRORED: " (mirrored)"}
    examples = _name(
        [
            f"{catalog.videos[other].name} like {catalog.videos[one].name}{known.get(how, '')}"
            for one, other, how in pairs
        ]
    )
    count = len({pair.test for pair in pairs})
    text = f"{count} of {len(fold.test)} test videos look like training videos ({examples})"
    return [Leak("duplicate", fold.name, text)]


def _name(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
