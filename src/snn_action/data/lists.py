"""What the datasets share: finding videos in folders, reading lists, and making folds of groups."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from snn_action.data.catalog import Fold, Video
from snn_action.data.frame_folder import is_frame_folder
from snn_action.errors import ConfigError
from snn_action.registry import suggest

_SUFFIXES = "3gp avi flv gif m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv"
VIDEO_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())


def check_folder(path: Path, key: str = "dataset.path") -> Path:
    """The path, if it is a folder that can be read.

    Raises:
        ConfigError: it is missing or not a folder; the message names ``key``.
    """
    if not path.is_dir():
        reason = "is not a folder" if path.exists() else "no such folder"
        raise ConfigError(f"{path}: {reason}; set {key} to the folder of the dataset")
    return path


def find_beside(root: Path, name: str) -> Path:
    """The folder ``name`` in ``root``, or beside it, or the first where neither is there."""
    return next((place for place in (root / name, root.parent / name) if place.is_dir()), root / name)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Lines of a text file that are not empty, stripped, with their numbers from 1.

    Raises:
        ConfigError: the file is missing or is not text, or it holds no line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this list: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: this list is not text in UTF-8") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise ConfigError(f"{path}: this list is empty")
    return lines


def stem(name: str) -> str:
    """The last part of a path without its video suffix; other dots stay, as some names hold them."""
    name = name.replace("\\", "/").rpartition("/")[2]
    head, dot, tail = name.rpartition(".")
    return head if dot + tail.lower() in VIDEO_SUFFIXES else name


def find_videos(folder: Path) -> list[Path]:
    """Video files and folders of JPEG frames directly in ``folder``, sorted by name."""
    with os.scandir(folder) as entries:
        found = [
            Path(entry.path)
            for entry in entries
            if not entry.name.startswith(".")
            and (
                is_frame_folder(Path(entry.path))
                if entry.is_dir()
                else os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122 - 13,000 entries
            )
        ]
    return sorted(found)


def class_folders(root: Path) -> list[Path]:
    """Folders in ``root``, sorted by name, without hidden ones."""
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def check_found(missing: Sequence[str], total: int, source: Path | str, root: Path, way_out: str) -> None:
    """Nothing, where no list entry lacks its file.

    Raises:
        ConfigError: names the first entries without a file, their number and ``way_out``.
    """
    if missing:
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ConfigError(f"{source}: {len(missing)} of {total} videos are not below {root}: {first}; {way_out}")


def choose_folds(folds: Sequence[Fold], split: int | str) -> tuple[Fold, ...]:
    """All folds for ``"all"``, or the one of that name.

    Raises:
        ConfigError: no fold has that name.
    """
    if split == "all":
        return tuple(folds)
    chosen = tuple(fold for fold in folds if fold.name == str(split))
    if not chosen:
        names = [*(fold.name for fold in folds), "all"]
        raise ConfigError(f"dataset.split: no split {split!r}; {suggest(str(split), names)}")
    return chosen


def fold_by_name(values: Sequence[str], source: str) -> list[Fold]:
    """Folds from a column: ``train`` and ``test`` make one fold, other names one fold each that they test.

    Raises:
        ConfigError: ``train`` or ``test`` stand beside names of folds, or there is one name only.
    """
    names = set(values)
    if names <= {"train", "test"}:
        return [_fold("test", values, "test")]
    if mixed := names & {"train", "test"}:
        others = ", ".join(sorted(names - {"train", "test"})[:3])
        raise ConfigError(f"{source}: split holds {sorted(mixed)[0]!r} beside names of folds ({others}); use one kind")
    if len(names) < 2:
        raise ConfigError(f"{source}: split holds one fold only ({names.pop()!r}); nothing is left to train on")
    return [_fold(name, values, name) for name in sorted(names, key=_natural)]


def draw_share(videos: Sequence[Video], share: float, seed: int) -> Fold:
    """One fold that tests about ``share`` of each class, drawn group by group in a seeded order.

    A group goes to the test side while a class of it is short of its share, unless that would leave a class
    without training videos.
    """
    left, tested = Counter(video.label for video in videos), Counter[int]()
    wanted = {label: max(1, round(share * count)) for label, count in left.items()}
    test: set[int] = set()
    for members in _shuffled_groups(videos, seed):
        sizes = Counter(videos[i].label for i in members)
        short = any(tested[label] + size <= wanted[label] or not tested[label] for label, size in sizes.items())
        if short and all(left[label] > size for label, size in sizes.items()):
            test |= set(members)
            left -= sizes
            tested += sizes
    return _fold("1", [str(i in test) for i in range(len(videos))], "True")


def deal_folds(videos: Sequence[Video], number: int, seed: int) -> list[Fold]:
    """``number`` folds that test every video once; groups stay whole and classes are spread evenly.

    Raises:
        ConfigError: there are fewer groups than folds.
    """
    groups = _shuffled_groups(videos, seed)
    if len(groups) < number:
        raise ConfigError(f"dataset.folds: {number} folds of {len(groups)} groups; a group is never cut")
    of_class = [Counter[int]() for _ in range(number)]
    where = [0] * len(videos)
    for members in sorted(groups, key=len, reverse=True):
        sizes = Counter(videos[i].label for i in members)

        def load(fold: int, sizes: Mapping[int, int] = sizes) -> tuple[int, int]:
            return sum(of_class[fold][label] for label in sizes), sum(of_class[fold].values())

        fold = min(range(number), key=load)
        of_class[fold] += sizes
        for i in members:
            where[i] = fold
    return [_fold(str(k + 1), [str(fold) for fold in where], str(k)) for k in range(number)]


def _shuffled_groups(videos: Sequence[Video], seed: int) -> list[list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, video in enumerate(videos):
        members[video.group if video.group is not None else video.name].append(index)
    names = sorted(members)
    return [members[names[k]] for k in np.random.default_rng(seed).permutation(len(names))]


def _fold(name: str, values: Sequence[str], test: str) -> Fold:
    train = tuple(i for i, value in enumerate(values) if value != test)
    return Fold(name, train, tuple(i for i, value in enumerate(values) if value == test))


def _natural(name: str) -> tuple[bool, int, str]:
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
