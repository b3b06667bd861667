"""The original 2020 project's frames: ``train/`` and ``test/``, in each one folder of JPEG frames a video.

A folder is named as UCF101's videos are, ``v_<Class>_g<group>_c<clip>``, its frames ``frame000001.jpg`` and up.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from snn_action.core.errors import ConfigError
from snn_action.core.settings import Settings, suggest
from snn_action.datasets.catalog import Catalog, Fold, PathSettings, Video
from snn_action.features.feature_set import FeatureSet
from snn_action.original_2020.pickled_features import read_class_names
from snn_action.original_2020.pickles import write_pickles

logger = logging.getLogger(__name__)

SIDES = ("train", "test")
_NAME = re.compile(r"v_(?P<action>.+)_(?P<group>g\d+)_c\d+")


class PicklePaths(Settings):
    """Where features and labels are pickled after extraction, as the original did; existing files are replaced."""

    train_data: Path = Field(description="File for the features (videos, steps, features) of training videos")
    test_data: Path = Field(description="File for the features (videos, steps, features) of test videos")
    train_labels: Path = Field(description="File for the labels (videos, steps, 1) of training videos")
    test_labels: Path = Field(description="File for the labels (videos, steps, 1) of test videos")


class SeedFramesSettings(PathSettings):
    """The frames, the names of the classes, and where the features go."""

    type: Literal["seed_frames"] = Field("seed_frames", description="Which dataset this is")
    builds: ClassVar[str] = "snn_action.original_2020.frames:build"
    action_names: Path = Field(description="Pickled list of class names")
    pickles: PicklePaths | None = Field(None, description="Also write the features there, as the original did")

    def without_outputs(self) -> Self:
        """The same without ``pickles``."""
        if self.pickles is not None:
            logger.info("dataset.pickles is left out here; write them with: snn-action extract -c CONFIG")
        return self.model_copy(update={"pickles": None})

    def keep_features(self, catalog: Catalog, features: FeatureSet) -> None:
        """Write features (videos, T, D) and labels (videos, T, 1) of both sides as the original did, if asked for.

        Its own code can read them. Short videos are padded with zeros.

        Raises:
            WorkError: a file cannot be written.
        """
        if (paths := self.pickles) is None:
            return
        (fold,) = catalog.folds

        def keep(videos: Sequence[int], data: Path, labels: Path) -> None:
            clips = features.clips_of(videos)
            values, _ = features.read(clips)
            write_pickles(data, labels, values.numpy(), features.label[clips])

        keep(fold.train, paths.train_data, paths.train_labels)
        keep(fold.test, paths.test_data, paths.test_labels)


def build(settings: SeedFramesSettings, seed: int) -> Catalog:  # noqa: ARG001
    """The catalog of frame folders.

    Raises:
        ConfigError: a folder is missing, empty or misnamed, or its class is not among the action names.
    """
    names = read_class_names(settings.action_names)
    labels = {name.casefold(): label for label, name in enumerate(names)}
    if len(labels) < len(names):
        raise ConfigError(f"{settings.action_names}: two names differ in upper and lower case only")
    videos = [
        _read_video(folder, side, labels, names) for side in SIDES for folder in _list_folders(settings.path / side)
    ]
    n_train = sum(video.name.startswith("train/") for video in videos)
    return Catalog(
        class_names=names,
        videos=tuple(videos),
        folds=(Fold("original", tuple(range(n_train)), tuple(range(n_train, len(videos)))),),
    )


def _list_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise ConfigError(
            f"{path}: no such folder; the original's data_path holds train/ and test/, with a folder of frames a video"
        )
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        raise ConfigError(f"{path}: no folder in it; it holds one folder of frame000001.jpg, ... a video")
    return folders


def _read_video(folder: Path, side: str, labels: Mapping[str, int], names: tuple[str, ...]) -> Video:
    match = _NAME.fullmatch(folder.name)
    if match is None:
        raise ConfigError(f"{folder}: a folder of frames is named v_<Class>_g<group>_c<clip>")
    action = match["action"]
    label = labels.get(action.casefold())  # UCF101 spells HandstandPushups and v_HandStandPushups
    if label is None:
        raise ConfigError(f"{folder}: class {action!r} is not among the action names; {suggest(action, list(names))}")
    return Video(f"{side}/{folder.name}", label, f"{names[label]}_{match['group']}", folder)
