"""What a run trains, validates and tests on: decided once, before training, and read by all that comes after.

The file ``splits.json`` of a run names its classes in order and, for each video, its class, its group and a digest of
its content; for each fold the videos of each side; for the backbone the digest of its weights and what images it gets.
A video is known by its name and its content, never by its place in a folder or list: what is added to the data later
changes nothing, and what is gone or changed stops the work with a message that says what.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from snn_action.config import Config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.files import write_atomic
from snn_action.core.registry import OLD_NAMES
from snn_action.datasets.catalog import Arrays, Catalog, Fold, Video
from snn_action.datasets.trained_on import Member, TrainedOn, parse_trained_on
from snn_action.runs.folder import find_changes, learned_settings, read_run_config

logger = logging.getLogger(__name__)

FILE = "splits.json"
VERSION = 2  # the first version had the names of videos and nothing else of them
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

    def to_json(self) -> str:
        """The text of ``splits.json``."""
        content = {
            "version": VERSION,
            "class_names": self.class_names,
            "from_videos": self.from_videos,
            "backbone": self.backbone,
            "settings": self.settings,
            "bad_videos": self.bad,
            "start": None if self.start is None else self.start.to_content(),
            "folds": [asdict(fold) for fold in self.folds],
            "videos": {
                name: {"label": member.label, "group": member.group, "digest": member.digest}
                for name, member in self.members.items()
            },
        }
        return json.dumps(content, indent=1) + "\n"

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


def write_split(folder: Path, split: Split) -> None:
    """Write ``splits.json`` into a run's folder."""
    write_atomic(folder / FILE, split.to_json())


def read_split(folder: Path) -> Split:
    """What a run decided; also one of the first version, which has names only.

    Raises:
        ConfigError: the run has not begun to train, or its file is broken or of a newer version.
    """
    path = folder / FILE
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: no regular file; restore it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(version := content.get("version", 1), int) and version > VERSION:
            raise ConfigError(f"{path}: written by a newer version of snn-action; update it")
        return _parse(content)
    except FileNotFoundError:
        if any(folder.rglob("*.ckpt")):
            raise ConfigError(f"{path}: missing, so nobody knows what this run was trained on; restore it") from None
        raise ConfigError(
            f"{folder}: this run has not begun to train; continue it with: snn-action run --resume {folder}"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path}: broken ({type(error).__name__}: {error}); begin a new run") from None


def read_begun_run(folder: Path, overrides: Sequence[str] = ()) -> tuple[Config, Split]:
    """The configuration of a run that has begun to train, with overrides put over it, and what the run decided.

    Raises:
        ConfigError: the folder is not that of such a run, or what is learned or tested would not be the same as when
            the run began: by an override, or as its ``config.json`` was changed since.
    """
    config, split = read_run_config(folder, overrides), read_split(folder)
    then = split.settings or learned_settings(read_run_config(folder))
    if changes := find_changes(then, learned_settings(config)):
        raise ConfigError(
            f"{folder}: this changes what the run has learned or is tested on: {'; '.join(changes)}. A run keeps "
            "both: leave that out, or begin a new run"
        )
    return config, split


def _read_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides what is learned, with today's name of a model that an earlier version named otherwise."""
    name = settings.get("model.type")
    today = OLD_NAMES["model"].get(name, name) if isinstance(name, str) else name
    return {**settings, **({"model.type": today} if "model.type" in settings else {})}


def _parse(content: Mapping[str, Any]) -> Split:
    folds = tuple(
        Sides(
            name=str(fold["name"]),
            train=_texts(fold["train"]),
            validation=_texts(fold["validation"]),
            test=_texts(fold["test"]),
            baseline=_texts(fold.get("baseline", fold["validation"])),
            dropped=_texts(fold.get("dropped", ())),
        )
        for fold in content["folds"]
    )
    named = dict.fromkeys(name for fold in folds for name in (*fold.train, *fold.validation, *fold.test))
    known = content.get("videos", {})
    order = [name for name in known if name in named] if known else named  # that of the catalog, where it is known
    members = {name: Member(name, **known.get(name, {})) for name in order}
    unknown = [name for fold in folds for name in fold.baseline if name not in members]
    if not folds or unknown or len(members) < len(named):
        raise ValueError("its folds and videos do not fit together")
    return Split(
        _texts(content["class_names"]),
        members,
        folds,
        bool(content["from_videos"]),
        content.get("backbone"),
        _read_settings(content.get("settings", {})),
        dict(content.get("bad_videos", {})),
        None if content.get("start") is None else parse_trained_on(content["start"]),
    )


def _texts(names: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in names)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
