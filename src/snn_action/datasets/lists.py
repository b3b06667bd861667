"""What the datasets share: finding videos in folders, reading lists, and making folds of groups."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from snn_action.core.errors import ConfigError, printable
from snn_action.core.reading import read_text, reading
from snn_action.core.settings import suggest
from snn_action.datasets.catalog import Fold, Video
from snn_action.datasets.names import plain_name
from snn_action.video.frame_folder import is_frame_folder
from snn_action.video.suffixes import choose_videos
from snn_action.video.suffixes import stem as stem


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
    with reading(path, "not a list of names, text in UTF-8"):
        text = read_text(path)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise ConfigError(f"{path}: this list is empty")
    return lines


def find_videos(folder: Path) -> list[Path]:
    """Video files and folders of JPEG frames directly in ``folder``, sorted by name.

    A link that leads nowhere, or to itself, is one, too, and so are a pipe or a device with the name of a video, and a
    folder that cannot be looked into: they are named when they are read.

    Raises:
        ConfigError: the folder cannot be read.
    """
    files, others = [], []
    for entry in _list_entries(folder):
        if entry.name.startswith("."):
            continue
        try:
            is_folder = entry.is_dir()
            holds_frames = is_folder and is_frame_folder(Path(entry.path))
        except OSError:  # a link to itself, or no permission
            others.append(Path(entry.path))
            continue
        if holds_frames:
            others.append(Path(entry.path))
        elif not is_folder:
            files.append(Path(entry.path))
    return sorted([*choose_videos(files), *others])


def _list_entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None


def prefer_file(found: list[Path]) -> list[Path]:
    """Without folders of frames, where there is a video file too."""
    return ([path for path in found if not path.is_dir()] or found) if len(found) > 1 else found


def check_labels(videos: Sequence[Video], names: Sequence[str], source: Path | str) -> None:
    """Nothing, where no file stands for videos of two classes, under whatever name or link.

    Raises:
        ConfigError: names the two videos and their classes.
    """
    first: dict[tuple[int, int], Video] = {}
    for video in videos:
        try:
            status = os.stat(video.path)  # type: ignore[arg-type]  # noqa: PTH116 - 13,000 videos
        except (OSError, TypeError):
            continue  # found when it is read
        other = first.setdefault((status.st_dev, status.st_ino), video)
        if other.label != video.label:
            raise ConfigError(
                f"{source}: {other.name} ({names[other.label]}) and {video.name} ({names[video.label]}) are one file; "
                "a video has one label"
            )


def class_folders(root: Path) -> list[Path]:
    """Folders in ``root``, sorted by name, without hidden ones.

    Raises:
        ConfigError: ``root`` cannot be read.
    """
    return sorted(
        Path(entry.path) for entry in _list_entries(root) if _is_folder(entry) and not entry.name.startswith(".")
    )


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def check_found(missing: Sequence[str], total: int, source: Path | str, root: Path, way_out: str) -> None:
    """Nothing, where no list entry lacks its file.

    Raises:
        ConfigError: names the first entries without a file, their number and ``way_out``.
    """
    if missing:
        first = ", ".join(map(printable, missing[:3])) + (", ..." if len(missing) > 3 else "")
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


def fold_by_name(values: Sequence[object], source: str) -> list[Fold]:
    """Folds from a column: words for training and test make one fold, other names one fold each that they test.

    Words may be spelled in any way (``Train``, ``TESTING``, ``b"test"``). What might be meant in two ways is refused:
    trained on a user's test videos, a recognizer would look good.

    Raises:
        ConfigError: words and names stand side by side, or a word for validation or for something else, or truth
            values; or there is one name only. The message says what was found, and how often.
    """
    words = [_read_word(value) for value in values]
    found = Counter(words)
    told = ", ".join(f"{word!r} {count} times" for word, count in found.most_common(8))
    told += ", ..." if len(found) > 8 else ""
    sides = {word: side for word in found if (side := _SIDES.get(_squeeze(word)))}
    if sides.keys() == found.keys() and set(sides.values()) <= {"train", "test"}:
        return [_fold("test", [sides[word] for word in words], "test")]
    if "validation" in sides.values():
        raise ConfigError(
            f"{source}: split holds {told}: videos for validation are drawn from the groups of the training videos "
            "(training.validation_share); call these 'train', or leave them out"
        )
    if mixed := sorted(sides):
        others = ", ".join(sorted(found.keys() - sides.keys())[:3])
        raise ConfigError(
            f"{source}: split holds {mixed[0]!r} beside names of folds ({others}); use one kind. Found: {told}"
        )
    if odd := [word for word in found if not _is_fold_name(word)] or ([*found] if set(found) == {"0", "1"} else []):
        raise ConfigError(
            f"{source}: split holds {odd[0]!r}, which does not plainly name a fold; write 'train' and 'test', or "
            f"the name or number of the fold that tests the video, from 1. Found: {told}"
        )
    if len({_squeeze(word) for word in found}) < len(found):
        raise ConfigError(f"{source}: split spells one fold in two ways; use one. Found: {told}")
    if len(found) < 2:
        raise ConfigError(f"{source}: split holds one fold only ({words[0]!r}); nothing is left to train on")
    return leave_one_out(words)


def leave_one_out(names: Sequence[str]) -> list[Fold]:
    """A fold for each name, which it tests."""
    return [_fold(name, names, name) for name in sorted(set(names), key=_natural)]


def _read_word(value: object) -> str:
    """A value of a column as text: bytes are decoded, and a whole number has no point."""
    text = plain_name(value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)).strip()
    if match := re.fullmatch(r"b(['\"])(.*)\1", text):  # bytes that were printed
        text = match[2].strip()
    return re.sub(r"^(\d+)\.0+$", r"\1", text)


def _squeeze(word: str) -> str:
    """Without case, and without what stands between its letters and numbers."""
    return re.sub(r"[\W_]+", "", word).casefold()


def _is_fold_name(word: str) -> bool:
    """Whether a word, none for a side, plainly names a fold: no part of it is a word for a side or a truth value."""
    squeezed = _squeeze(word)
    parts = re.split(r"[\W\d_]+", word.casefold())
    sides = any(part in _SIDES or part in _OTHERS for part in parts if part)
    return (
        bool(squeezed) and not sides and not re.match(r"train|test|valid|holdout", squeezed) and squeezed not in _OTHERS
    )


_SPELLINGS = {
    "train": "train training trains trn tr trainset trainingset trainsplit trainingsplit learn learning",
    "test": "test testing tests tst te testset testingset testsplit testingsplit",
    "validation": "val valid validation validate vld valset validationset dev devset development",
}
_SIDES = {word: side for side, words in _SPELLINGS.items() for word in words.split()}
# neither a side nor a fold: truth values, nothing, and parts that nobody but the user knows the meaning of
_WORDS = """
true false yes no none nan null na nil unused unknown ignore ignored skip eval evaluation holdout heldout query gallery
probe seen unseen infer inference predict public private source target
"""
_OTHERS = frozenset(_WORDS.split())


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
