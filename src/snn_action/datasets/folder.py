"""Videos of your own: ``path`` holds one folder a class with video files or with one folder of frames a video.

How they are split, one of:

===============================  ==========================================================================
``train_list`` and ``test_list``  text files that name videos, one a line, as ``<class>/<name>``
``test_groups``                  these groups test
``folds``                        every group tests once, in so many folds
``test_share``                   seeded share of each class, the default (0.25)
===============================  ==========================================================================

``group_pattern`` is a regular expression that is searched in ``<class>/<name>``; its first group is the name of the
video's group (person, scene, source). A random split never cuts a group, unless ``cut_groups`` is set: then the test is
not clean, and is run only where ``evaluation.leakage`` is ``mark``. Without a pattern each video is a group.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from snn_action.core.errors import ConfigError
from snn_action.core.settings import suggest
from snn_action.datasets.catalog import Catalog, Fold, PathSettings, Video
from snn_action.datasets.lists import (
    check_folder,
    check_found,
    check_labels,
    choose_folds,
    class_folders,
    deal_folds,
    draw_share,
    find_videos,
    fold_by_name,
    read_lines,
)
from snn_action.datasets.names import NameIndex, check_single, plain_name


class FolderSettings(PathSettings):
    """One folder a class."""

    type: Literal["folder"] = Field("folder", description="Which dataset this is")
    builds: ClassVar[str] = "snn_action.datasets.folder:build"
    train_list: Path | None = Field(None, description="Text file that names the training videos")
    test_list: Path | None = Field(None, description="Text file that names the test videos")
    group_pattern: str | None = Field(None, description="Regular expression; its first group names a video's group")
    test_groups: tuple[str, ...] | None = Field(None, min_length=1, description="Groups that test")
    folds: int | None = Field(None, ge=2, le=10**6, description="Number of folds, each of whole groups")
    test_share: float | None = Field(None, gt=0, lt=1, description="Share of each class that tests; null: 0.25")
    cut_groups: bool = Field(False, description="Let 'folds' and 'test_share' cut groups: such a test is not clean")
    split: int | Literal["all"] = Field("all", description="Number of the fold to run, or 'all'")

    @field_validator("group_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if not groups:
                raise ValueError("the pattern has no (group) that names the video's group")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.train_list is None) != (self.test_list is None):
            raise ValueError("train_list and test_list belong together")
        ways = ("train_list", "test_groups", "folds", "test_share")
        if len(given := [way for way in ways if getattr(self, way) is not None]) > 1:
            raise ValueError(f"{' and '.join(given)} are different ways to split; choose one")
        if self.test_groups is not None and self.group_pattern is None:
            raise ValueError("test_groups needs group_pattern, which says what a video's group is")
        if self.cut_groups and (self.group_pattern is None or self.train_list is not None or self.test_groups):
            raise ValueError("cut_groups is for random splits where group_pattern says what a video's group is")
        return self


def build(settings: FolderSettings, seed: int) -> Catalog:
    """Find all videos and split them; the seed draws ``folds`` and ``test_share``.

    Raises:
        ConfigError: the folder or a class is empty, the pattern misses a video, a list or group does not fit.
    """
    root = check_folder(settings.path)
    names = tuple(folder.name for folder in class_folders(root))
    videos = []
    for label, name in enumerate(names):
        found = find_videos(root / name)
        if not found:
            raise ConfigError(f"{root / name}: holds no video; fill this class folder or remove it")
        for path in found:
            place = f"{plain_name(name)}/{plain_name(path.name)}"
            videos.append(Video(place, label, _group(place, settings.group_pattern), path))
    if not videos:
        raise ConfigError(f"{root}: holds no class folders; a class is a folder of videos")
    names = tuple(map(plain_name, names))
    check_labels(videos, names, root)
    folds = choose_folds(_split(settings, videos, seed), settings.split)
    tested = {videos[i].label for fold in folds for i in fold.test}
    untested = ", ".join(name for label, name in enumerate(names) if label not in tested)
    notes = [f"Never tested by this split: {untested}"] if untested else []
    return Catalog(names, tuple(videos), folds, notes=(*notes, *_note_groups(settings)))


def _group(place: str, pattern: str | None) -> str:
    if pattern is None:
        return place
    match = re.search(pattern, place)
    if not match or not match[1]:
        raise ConfigError(f"dataset.group_pattern: {pattern!r} finds no group in {place!r}")
    return match[1]


def _split(settings: FolderSettings, videos: list[Video], seed: int) -> list[Fold]:
    if settings.train_list and settings.test_list:
        train = _read_list(settings.train_list, videos, settings.path)
        test = _read_list(settings.test_list, videos, settings.path)
        if both := set(train) & set(test):
            raise ConfigError(f"{settings.test_list}: {videos[min(both)].name} is in {settings.train_list}, too")
        return [Fold("1", train, test)]
    if settings.test_groups:
        groups = sorted({str(video.group) for video in videos})
        tested = [plain_name(group) for group in settings.test_groups]
        for group in tested:
            if group not in groups:
                raise ConfigError(f"dataset.test_groups: no video is of group {group!r}; {suggest(group, groups)}")
        sides = ["test" if video.group in tested else "train" for video in videos]
        return [Fold("1", fold.train, fold.test) for fold in fold_by_name(sides, "dataset.test_groups")]
    if settings.cut_groups:
        videos = [replace(video, group=None) for video in videos]
    if settings.folds:
        return deal_folds(videos, settings.folds, seed)
    return [draw_share(videos, settings.test_share or 0.25, seed)]


def _note_groups(settings: FolderSettings) -> list[str]:
    """What a random split knew of groups."""
    if settings.test_list or settings.test_groups:
        return []
    if settings.cut_groups:
        return ["The random split cuts groups, as dataset.cut_groups asks: the test is not clean."]
    if settings.group_pattern is None:
        return [
            "The random split takes each video for a group of its own, as dataset.group_pattern is not set: videos of "
            "one person or scene may stand on both sides."
        ]
    return []


def _read_list(path: Path, videos: list[Video], root: Path) -> tuple[int, ...]:
    """Indices of the videos that a list names, a suffix may be left out."""
    known = NameIndex((video.name, index) for index, video in enumerate(videos))
    shown = {index: video.path for index, video in enumerate(videos)}
    entries = [text for _, text in read_lines(path)]
    found = [check_single(known.find(entry), entry, path, shown) for entry in entries]
    missing = [entry for entry, index in zip(entries, found, strict=True) if index is None]
    check_found(missing, len(entries), path, root, "a line is <class>/<name of the video>")
    return tuple(sorted({index for index in found if index is not None}))
