"""HMDB51 (Kuehne et al. 2011): 6,766 videos of 51 actions, three official splits.

``path`` holds one folder a class with AVI files or with one folder of JPEG frames a video. ``lists`` holds
``<class>_test_split<k>.txt`` with lines ``<name>.avi 1`` (training), ``2`` (test) or ``0`` (unused).

Names are ``<source>_<action>_<visible>_<camera>_<people>_<view>_<quality>_<number>.avi``. Videos cut from one
source share its name, whatever their action, so a video's group is what stands before ``_<action>_``; the whole
name where the action is not in it.
"""

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Catalog, Fold, PathSettings, Video
from snn_action.datasets.lists import (
    check_folder,
    check_found,
    check_labels,
    find_beside,
    find_videos,
    prefer_file,
    read_lines,
)
from snn_action.datasets.names import NameIndex, check_single, plain_name
from snn_action.video.suffixes import stem

_LIST = re.compile(r"(.+)_test_split([123])\.txt")
_SIDES = {"1": "train", "2": "test", "0": "unused"}


class HMDB51Settings(PathSettings):
    """HMDB51 or videos laid out as it is."""

    type: Literal["hmdb51"] = Field("hmdb51", description="Which dataset this is")
    builds: ClassVar[str] = "snn_action.datasets.hmdb51:build"
    lists: Path | None = Field(
        None, description="Folder of the official lists; null: testTrainMulti_7030_splits in or beside path"
    )
    split: Literal[1, 2, 3, "all"] = Field(1, description="Official split, or 'all' for one fold each")


def build(settings: HMDB51Settings, seed: int) -> Catalog:  # noqa: ARG001 - the official lists need no seed
    """Read the official lists and find their videos.

    Raises:
        ConfigError: a folder or list is missing, a line does not fit, or an entry has no file.
    """
    root = check_folder(settings.path)
    lists = settings.lists or find_beside(root, "testTrainMulti_7030_splits")
    check_folder(lists, "dataset.lists")
    numbers = (1, 2, 3) if settings.split == "all" else (settings.split,)
    classes = sorted({match[1] for path in lists.iterdir() if (match := _LIST.fullmatch(path.name))})
    if not classes:
        raise ConfigError(f"{lists}: holds no <class>_test_split<k>.txt; set dataset.lists to the official lists")
    videos: dict[str, Video] = {}
    sides: dict[tuple[int, str], list[str]] = {(k, side): [] for k in numbers for side in _SIDES.values()}
    missing: dict[str, None] = {}
    for label, action in enumerate(classes):
        folder = root / action
        there = NameIndex((video.name, video) for video in (find_videos(folder) if folder.is_dir() else ()))
        for number in numbers:
            for file, side in _read_list(lists / f"{action}_test_split{number}.txt"):
                name = f"{action}/{plain_name(file)}"
                sides[number, side].append(name)
                if side == "unused":
                    continue
                path = check_single(prefer_file(there.find(file)), name, lists)
                if path is None:
                    missing[name] = None
                videos.setdefault(name, Video(name, label, _group(stem(file), action), path))
    check_labels(list(videos.values()), classes, lists)
    check_found(list(missing), len(videos), lists, root, "fix dataset.path or the lists")
    order = {name: index for index, name in enumerate(sorted(videos))}

    def place(number: int, side: str) -> tuple[int, ...]:
        return tuple(sorted({order[name] for name in sides[number, side]}))

    folds = [Fold(str(k), place(k, "train"), place(k, "test")) for k in numbers]
    return Catalog(tuple(classes), tuple(videos[name] for name in order), tuple(folds), official=True)


def _read_list(path: Path) -> list[tuple[str, str]]:
    entries: dict[str, str] = {}
    for line, text in read_lines(path):
        file, _, side = text.rpartition(" ")
        if side not in _SIDES or not file:
            raise ConfigError(f"{path}, line {line}: expected '<name>.avi' and 0, 1 or 2, found {text!r}")
        if file.strip() in entries:
            raise ConfigError(f"{path}, line {line}: {file.strip()!r} stands in this list twice")
        entries[file.strip()] = _SIDES[side]
    return list(entries.items())


def _group(name: str, action: str) -> str:
    source, _, _ = name.rpartition(f"_{action}_")
    return source or name
