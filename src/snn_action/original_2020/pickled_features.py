"""Features that the original 2020 project pickled: ``(videos, T, D)`` each for training and test, no videos needed."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Arrays, Catalog, DatasetSettings, Fold, Video
from snn_action.original_2020.pickles import read_array, read_names
from snn_action.original_2020.translate import LEAK

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

NO_GROUPS = "These pickles do not say which videos belong together, so no group can be held out for validation."


class SeedPicklesSettings(DatasetSettings):
    """The five files."""

    type: Literal["seed_pickles"] = Field("seed_pickles", description="Which dataset this is")
    builds: ClassVar[str] = "snn_action.original_2020.pickled_features:build"
    action_names: Path = Field(description="Pickled list of class names; a label is a place in their sorted order")
    train_data: Path = Field(description="Pickled features (videos, steps, features) to train on")
    test_data: Path = Field(description="Pickled features (videos, steps, features) to test on")
    train_labels: Path = Field(description="Pickled labels (videos, steps, 1) to train on")
    test_labels: Path = Field(description="Pickled labels (videos, steps, 1) to test on")


def build(settings: SeedPicklesSettings, seed: int) -> Catalog:  # noqa: ARG001
    """The catalog, with the features.

    Raises:
        ConfigError: names the file that is missing, broken or refused, of a wrong shape, or holds a wrong value.
    """
    names = read_class_names(settings.action_names)
    train, train_labels = _read_side(settings.train_data, settings.train_labels, settings.action_names, len(names))
    test, test_labels = _read_side(settings.test_data, settings.test_labels, settings.action_names, len(names))
    if train.shape[2] != test.shape[2]:
        raise ConfigError(
            f"{settings.test_data}: {test.shape[2]} features a step, but {settings.train_data} has {train.shape[2]}"
        )
    lengths = np.repeat([train.shape[1], test.shape[1]], [len(train), len(test)])
    features = np.zeros((len(lengths), int(lengths.max()), train.shape[2]), np.float32)
    features[: len(train), : train.shape[1]] = train
    features[len(train) :, : test.shape[1]] = test
    videos = [
        Video(f"{side}/{index:06d}", int(label))
        for side, labels in (("train", train_labels), ("test", test_labels))
        for index, label in enumerate(labels)
    ]
    return Catalog(
        class_names=names,
        videos=tuple(videos),
        folds=(Fold("original", tuple(range(len(train))), tuple(range(len(train), len(videos)))),),
        arrays=Arrays(features, lengths, str(settings.train_data)),
        notes=(NO_GROUPS,),
        leaks=(f"these pickles do not say which network made them. {LEAK}",),
    )


def read_class_names(path: Path) -> tuple[str, ...]:
    """The class of each label: the original's labels are places in the sorted list of its action names.

    Raises:
        ConfigError: the file is missing, refused, or holds no list of at least two names.
    """
    names = tuple(sorted(set(read_names(path))))
    if len(names) < 2:
        raise ConfigError(f"{path}: a recognizer needs at least two classes, found {list(names)}")
    return names


def _read_side(data: Path, labels: Path, names: Path, n_classes: int) -> tuple[Features, Labels]:
    features = _read_features(data)
    steps = read_array(labels)
    if steps.shape != (*features.shape[:2], 1):
        raise ConfigError(
            f"{labels}: labels must have shape {(*features.shape[:2], 1)}, one a video and step of {data}, "
            f"not {steps.shape}"
        )
    if steps.dtype.kind == "f" and not np.array_equal(steps, np.rint(steps)):
        raise ConfigError(f"{labels}: labels must be whole numbers")
    if (changing := np.flatnonzero((steps != steps[:, :1]).any((1, 2)))).size:
        raise ConfigError(f"{labels}: the label of video {changing[0]} changes within the video")
    if (wrong := np.flatnonzero((steps[:, 0, 0] < 0) | (steps[:, 0, 0] >= n_classes))).size:
        raise ConfigError(
            f"{labels}: video {wrong[0]} has label {steps[wrong[0], 0, 0]}, but {names} has {n_classes} names: "
            f"labels are 0 to {n_classes - 1}"
        )
    return features, steps[:, 0, 0].astype(np.int64)


def _read_features(path: Path) -> Features:
    array: npt.NDArray[Any] = read_array(path)
    if array.ndim != 3 or 0 in array.shape:
        raise ConfigError(f"{path}: features must have shape (videos, steps, features), not {array.shape}")
    with np.errstate(over="ignore"):
        features = array.astype(np.float32)
    if (bad := np.flatnonzero(~np.isfinite(features).all((1, 2)))).size:
        raise ConfigError(f"{path}: video {bad[0]} has a feature that is NaN or infinite ({bad.size} videos have)")
    return features
