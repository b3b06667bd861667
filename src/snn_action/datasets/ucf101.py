"""UCF101 (Soomro, Zamir, Shah 2012): 13,320 videos of 101 actions, three official splits.

``path`` holds one folder a class with AVI files or with one folder of JPEG frames a video (which may also lie
directly in ``path``). ``lists`` holds ``classInd.txt`` (``1 ApplyEyeMakeup``), ``trainlist0<k>.txt``
(``Archery/v_Archery_g08_c01.avi 3``) and ``testlist0<k>.txt`` (the same without the number). Videos are found by
name without regard to case: the class folder ``HandstandPushups`` holds ``v_HandStandPushups_...``.

A group (``gXX``) is a set of clips cut from one longer video of its class, so it is named ``<Class>_gXX``.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from snn_action.core.errors import ConfigError
from snn_action.core.settings import suggest
from snn_action.datasets.catalog import Catalog, Fold, PathSettings, Video
from snn_action.datasets.lists import (
    check_folder,
    check_found,
    check_labels,
    class_folders,
    find_beside,
    find_videos,
    prefer_file,
    read_lines,
)
from snn_action.datasets.names import NameIndex, check_single

Split = Literal[1, 2, 3, "all"]

_ENTRY = re.compile(r"([^/\\]+)[/\\]([^/\\\s]*_g(\d+)_c\d+)(?:\.\w+)?")


class UCF101Settings(PathSettings):
    """UCF101 or videos laid out as it is."""

    type: Literal["ucf101"] = Field("ucf101", description="Which dataset this is")
    builds: ClassVar[str] = "snn_action.datasets.ucf101:build"
    lists: Path | None = Field(
        None, description="Folder of the official lists; null: ucfTrainTestlist in or beside path"
    )
    split: Split = Field(1, description="Official split, or 'all' for one fold each")
    classes: tuple[str, ...] | None = Field(None, description="Only these classes; null: all")


def build(settings: UCF101Settings, seed: int) -> Catalog:  # noqa: ARG001 - the official lists need no seed
    """Read the official lists and find their videos."""
    lists = settings.lists or find_beside(settings.path, "ucfTrainTestlist")
    return replace(read_ucf_catalog(settings.path, lists, settings.split, settings.classes), official=True)


def read_ucf_catalog(root: Path, lists: Path, split: Split, classes: Sequence[str] | None = None) -> Catalog:
    """The catalog of videos in UCF101's layout; ``"all"`` takes every split that has a train list.

    Raises:
        ConfigError: a folder or list is missing, a line does not fit, or an entry has no file.
    """
    check_folder(root)
    check_folder(lists, "dataset.lists")
    class_names = _read_classes(lists / "classInd.txt", classes)
    numbers = [split] if split != "all" else [k for k in (1, 2, 3) if (lists / f"trainlist{k:02}.txt").exists()]
    if not numbers:
        raise ConfigError(f"{lists}: holds no trainlist01.txt; set dataset.lists to the folder of the official lists")
    found = _index(root)
    videos: dict[str, Video] = {}
    missing: dict[str, None] = {}
    sides: dict[tuple[int, str], list[str]] = {}
    for number in numbers:
        for side in ("train", "test"):
            names = sides[number, side] = []
            for name, video in _read_list(lists / f"{side}list{number:02}.txt", class_names):
                if video is None:
                    continue
                path = check_single(_in_class(found.find(_last(name)), video.name), name, lists)
                if path is None:
                    missing[name] = None
                videos.setdefault(name, Video(name, video.label, video.group, path))
                names.append(name)
        if both := sorted(set(sides[number, "train"]) & set(sides[number, "test"])):
            raise ConfigError(f"{lists}: split {number}: {len(both)} videos train and test: {both[0]}")
    way_out = "fix dataset.path, or set dataset.classes to the classes that are there"
    check_labels(list(videos.values()), [name for name, label in class_names.items() if label is not None], lists)
    check_found(list(missing), len(videos), lists, root, way_out)
    order = {name: index for index, name in enumerate(sorted(videos))}

    def place(number: int, side: str) -> tuple[int, ...]:
        return tuple(sorted({order[name] for name in sides[number, side]}))

    folds = [Fold(str(k), place(k, "train"), place(k, "test")) for k in numbers]
    chosen = tuple(name for name, label in class_names.items() if label is not None)
    return Catalog(chosen, tuple(videos[name] for name in order), tuple(folds))


def _read_classes(path: Path, classes: Sequence[str] | None) -> dict[str, int | None]:
    """Class names in the file's order, each with its label, None where it is not among ``classes``."""
    names: list[str] = []
    for line, text in read_lines(path):
        number, _, name = text.partition(" ")
        if not name.strip() or number != str(len(names) + 1):
            raise ConfigError(f"{path}, line {line}: expected '{len(names) + 1} <class name>', found {text!r}")
        names.append(name.strip())
    for name in classes or ():
        if name not in names:
            raise ConfigError(f"dataset.classes: {path} has no class {name!r}; {suggest(name, names)}")
    kept = [name for name in names if classes is None or name in classes]
    labels = {name: label for label, name in enumerate(kept)}
    return {name: labels.get(name) for name in names}


def _read_list(path: Path, class_names: dict[str, int | None]) -> list[tuple[str, Video | None]]:
    """Entries of one list, with a video (yet without path) where the class is wanted."""
    positions = {name: position for position, name in enumerate(class_names, start=1)}
    entries: list[tuple[str, Video | None]] = []
    for line, text in read_lines(path):
        name, _, number = text.partition(" ")
        match = _ENTRY.fullmatch(name)
        if not match:
            raise ConfigError(f"{path}, line {line}: expected '<Class>/v_<Class>_gXX_cYY.avi', found {text!r}")
        action, group = match[1], f"{match[1]}_g{match[3]}"
        if action not in positions:
            raise ConfigError(f"{path}, line {line}: class {action!r} is not in classInd.txt")
        if number.strip() not in ("", str(positions[action])):
            raise ConfigError(f"{path}, line {line}: class {action!r} is {positions[action]}, not {number.strip()!r}")
        label = class_names[action]
        entries.append((name, None if label is None else Video(name, label, group)))
    return entries


def _index(root: Path) -> NameIndex[Path]:
    """Every video below ``root`` by its name, whatever its case."""
    places = [root, *(folder for folder in class_folders(root) if not folder.name.startswith("v_"))]
    found = [video for place in places for video in find_videos(place)]
    return NameIndex(((video.name, video) for video in found), fold_case=True)


def _last(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _in_class(found: list[Path], name: str) -> list[Path]:
    """Those in the class folder that a list names, if there are any; a video file comes before a folder of frames."""
    action = name.replace("\\", "/").partition("/")[0].casefold()
    return prefer_file([path for path in found if path.parent.name.casefold() == action] or found)
