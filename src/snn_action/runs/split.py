"""What a run trains, validates and tests on: decided once, before training, and compared with the data later.

A video is known by its name and its content, never by its place in a folder or list: what is added to the data later
changes nothing, and what is gone or changed stops the work with a message that says what. ``split_file`` writes and
reads the file of it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from snn_action.core.errors import ConfigError, WorkError
from snn_action.datasets.catalog import Arrays, Catalog, Fold, Video
from snn_action.datasets.trained_on import Member, TrainedOn

logger = logging.getLogger(__name__)

EXAMPLES = 3  # that a message names


@dataclass(frozen=True)
class Sides:
    """One fold: names of the videos of each side.

    As ``catalog.Fold``: ``train`` does not hold the ``validation`` videos, and ``dropped`` were left out of training.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    baseline: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """What a run decided.

    Attributes:
        class_names: In the order of the model's outputs.
        members: Every video of any side, by name.
        folds: In the order in which they are run.
        from_videos: Features are made from videos, not given with the dataset.
        backbone: Name, ``digest`` of the weights and preprocessing of the backbone; None where there is none.
        settings: Keys of the configuration that decide what is learned and tested (``run_folder.learned_settings``).
        bad: Videos that could not be read when the run began, and why.
        start: What ``training.weights`` had learned from; None where the run begins from drawn weights.
    """

    class_names: tuple[str, ...]
    members: Mapping[str, Member]
    folds: tuple[Sides, ...]
    from_videos: bool
    backbone: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    bad: Mapping[str, str] = field(default_factory=dict)
    start: TrainedOn | None = None

    def find_learned(self, fold: str) -> TrainedOn:
        """What a fold's weights learn from: its training and validation videos, and what they begin from."""
        (sides,) = (sides for sides in self.folds if sides.name == fold)
        own = [self.members[name] for name in (*sides.train, *sides.validation)]
        return (self.start or TrainedOn(())).and_further(own)

    def align(self, catalog: Catalog) -> Catalog:
        """Today's catalog with this run's videos, classes and folds, in this run's order.

        Videos that came to the dataset later are left out.

        Raises:
            ConfigError: a class or video is gone, a class is new, or a video is of another class now.
        """
        self._check_classes(catalog.class_names)
        place = {video.name: index for index, video in enumerate(catalog.videos)}
        if gone := [name for name in self.members if name not in place]:
            raise ConfigError(
                f"{len(gone)} of the {len(self.members)} videos of this run are gone: {_some(gone)}; put them back, "
                "set dataset.path to where they are now, or begin a new run"
            )
        order = [place[name] for name in self.members]
        today = [catalog.videos[index] for index in order]
        moved = [
            f"{video.name} ({member.label}, now {catalog.class_names[video.label]})"
            for video, member in zip(today, self.members.values(), strict=True)
            if member.label not in (None, catalog.class_names[video.label])
        ]
        if moved:
            raise ConfigError(f"{len(moved)} videos of this run are of another class now: {_some(moved)}")
        if added := len(catalog.videos) - len(order) - len(self.bad.keys() & place.keys()):
            logger.info("%d videos of the dataset are not of this run and are left out", added)
        labels = {name: label for label, name in enumerate(self.class_names)}
        videos = tuple(
            Video(
                video.name,
                labels[catalog.class_names[video.label]],
                video.group if member.label is None else member.group,
                video.path,
            )
            for video, member in zip(today, self.members.values(), strict=True)
        )
        arrays = catalog.arrays
        if arrays is not None:
            arrays = Arrays(arrays.features[order], arrays.lengths[order], arrays.source)
        return replace(catalog, class_names=self.class_names, videos=videos, folds=self._make_folds(), arrays=arrays)

    def _check_classes(self, today: Sequence[str]) -> None:
        gone = [name for name in self.class_names if name not in today]
        new = [name for name in today if name not in self.class_names]
        if gone or new:
            parts = [f"{what}: {_some(names)}" for what, names in (("gone", gone), ("new", new)) if names]
            raise ConfigError(
                f"the classes of the dataset are not those of this run ({'; '.join(parts)}); "
                "put them back as they were, or begin a new run"
            )

    def _make_folds(self) -> tuple[Fold, ...]:
        place = {name: index for index, name in enumerate(self.members)}

        def find(names: Sequence[str]) -> tuple[int, ...]:
            return tuple(place[name] for name in names)

        return tuple(
            Fold(fold.name, find(fold.train), find(fold.test), find(fold.validation), find(fold.baseline), fold.dropped)
            for fold in self.folds
        )

    def check_contents(self, catalog: Catalog, digests: Sequence[str | OSError]) -> None:
        """Nothing, where every video of the aligned catalog has the content that it had when the run began.

        Raises:
            ConfigError: names the videos whose content is another.
            WorkError: a video cannot be read any more.
        """
        changed = []
        for video, digest in zip(catalog.videos, digests, strict=True):
            if isinstance(digest, OSError):
                raise WorkError(f"{video.path or video.name}: cannot be read any more: {digest.strerror or digest}")
            if self.members[video.name].digest not in (None, digest):
                changed.append(video.name)
        if changed:
            what = "videos" if self.from_videos else "features"
            raise ConfigError(
                f"the content of {len(changed)} {what} is not that which this run began with: {_some(changed)}; "
                "put the old ones back, or begin a new run"
            )

    def check_backbone(self, backbone: Mapping[str, Any]) -> None:
        """Nothing, where the backbone has this run's weights and gets the same images.

        Raises:
            ConfigError: names what differs; of weights their digests.
        """
        for key, now in backbone.items():
            then = (self.backbone or {}).get(key, now)
            if then != now and key == "digest":
                raise ConfigError(
                    f"backbone.weights: other weights of {backbone['name']} than this run was trained with: "
                    f"digest {str(now)[:16]}, not {str(then)[:16]}; name the file of those weights by "
                    "-o backbone.weights=FILE"
                )
            if then != now:
                raise ConfigError(f"backbone: {key} is {now!r}, but this run was trained with {then!r}")


def freeze(
    catalog: Catalog,
    digests: Sequence[str | OSError],
    *,
    backbone: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    bad: Mapping[int, str],
    start: TrainedOn | None = None,
) -> Split:
    """The decision that a run writes down.

    Args:
        catalog: Its folds hold their validation videos already (``catalog.draw_validation``) and no bad ones.
        digests: Of each video's content.
        backbone: See ``Split``.
        settings: See ``Split``.
        bad: Why a video is left out, by its index in the catalog.
        start: See ``Split``.
    """
    names = [video.name for video in catalog.videos]

    def pick(indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(names[index] for index in indices)

    used = sorted({index for fold in catalog.folds for index in (*fold.train, *fold.validation, *fold.test)})
    members = {
        names[index]: Member(
            names[index],
            catalog.class_names[catalog.videos[index].label],
            catalog.videos[index].group,
            None if isinstance(digests[index], OSError) else str(digests[index]),
        )
        for index in used
    }
    folds = tuple(
        Sides(fold.name, pick(fold.train), pick(fold.validation), pick(fold.test), pick(fold.baseline), fold.dropped)
        for fold in catalog.folds
    )
    reasons = {names[index]: reason for index, reason in sorted(bad.items())}
    return Split(catalog.class_names, members, folds, catalog.arrays is None, backbone, dict(settings), reasons, start)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
