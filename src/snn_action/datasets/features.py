"""Features that were extracted elsewhere: an ``.npz`` file, no video needed.

=================  ==============  ===========================================================================
``features``       (V, T, D)       float16 or float32 (float64 is read as float32)
``labels``         (V,)            integers from 0
``class_names``    (K,)            text
``video_ids``      (V,)            text, each once
``split``          (V,)            ``train`` or ``test``, or the name or number of the fold that tests the video
``lengths``        (V,) optional   real time steps of each video, 1 to T; without it all T are real
``groups``         (V,) optional   text; without it those of names like UCF101's ``v_<Class>_gXX_cYY``
``backbone_videos``  (N,) optional  text: videos that the network behind the features learned from
=================  ==============  ===========================================================================
"""

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from snn_action.core.errors import ConfigError
from snn_action.core.reading import naming, reading
from snn_action.datasets.catalog import Arrays, Catalog, PathSettings, Video
from snn_action.datasets.lists import choose_folds, fold_by_name
from snn_action.datasets.names import plain_name

_Array = npt.NDArray[Any]
_NEEDED = ("features", "labels", "class_names", "video_ids", "split")
_OPTIONAL = ("lengths", "groups", "backbone_videos")
_NONE = np.array([], np.str_)
_UCF_NAME = re.compile(r"(?:.*/)?v_(\w+_g\d+)_c\d+(?:\.\w+)?")


class FeaturesSettings(PathSettings):
    """A file of features."""

    type: Literal["features"] = Field("features", description="Which dataset this is")
    builds: ClassVar[str] = "snn_action.datasets.features:build"
    split: int | str = Field("all", description="The fold to run, or 'all'")


def build(settings: FeaturesSettings, seed: int) -> Catalog:  # noqa: ARG001 - the file says what tests
    """Read and check the file.

    Raises:
        ConfigError: names the file and the array that is missing or does not fit.
    """
    source = settings.path
    arrays = _load(source)
    features = _check_shape(source, arrays["features"])
    number, steps, _ = features.shape
    for name, array in arrays.items():
        if name not in ("features", "class_names", "backbone_videos"):
            _check_column(source, name, array, number)
    class_names = [plain_name(str(name)) for name in _check_text(source, "class_names", arrays["class_names"])]
    labels = _check_range(source, "labels", arrays["labels"], 0, len(class_names) - 1)
    lengths = _check_range(source, "lengths", arrays.get("lengths", np.full(number, steps)), 1, steps)
    features = _check_finite(source, features, lengths)
    ids = [plain_name(str(name)) for name in _check_text(source, "video_ids", arrays["video_ids"])]
    for name, values in (("class_names", class_names), ("video_ids", ids)):
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise ConfigError(f"{source}: {name} holds {twice!r} twice")
    groups = _read_groups(ids, arrays.get("groups"))
    videos = tuple(map(Video, ids, labels.tolist(), groups))
    folds = choose_folds(fold_by_name(arrays["split"].tolist(), str(source)), settings.split)
    learned = tuple(
        plain_name(str(name)) for name in _check_text(source, "backbone_videos", arrays.get("backbone_videos", _NONE))
    )
    return Catalog(tuple(class_names), videos, folds, Arrays(features, lengths, str(source)), backbone_videos=learned)


def _load(source: Path) -> dict[str, _Array]:
    with (
        reading(source, "not an .npz file of arrays; pickles are not read", way_out="; set dataset.path"),
        source.open("rb") as handle,
    ):
        file = np.load(handle, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ConfigError(f"{source}: one bare array; expected an .npz of {', '.join(_NEEDED)}")
        if absent := [name for name in _NEEDED if name not in file.files]:
            raise ConfigError(f"{source}: no array {', '.join(absent)}; it holds {', '.join(file.files)}")
        return {name: _read(source, file, name) for name in (*_NEEDED, *_OPTIONAL) if name in file.files}


def _read(source: Path, file: Any, name: str) -> _Array:
    with naming(source, f"{name} is damaged, or holds Python objects, which are not read; store plain arrays"):
        array: _Array = file[name]
    return array


def _check_shape(source: Path, features: _Array) -> npt.NDArray[np.floating[Any]]:
    if features.ndim != 3 or 0 in features.shape:
        raise ConfigError(f"{source}: features have shape {features.shape}, expected (videos, time steps, dimensions)")
    if features.dtype.kind != "f":
        raise ConfigError(f"{source}: features are {features.dtype}, expected float16 or float32")
    with np.errstate(over="ignore"):  # found below
        return features if features.dtype in (np.float16, np.float32) else features.astype(np.float32)


def _check_finite(
    source: Path, features: npt.NDArray[np.floating[Any]], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.floating[Any]]:
    """The features, finite on real steps. Padding is no data: what is not finite there becomes 0."""
    padded = []
    for index, (video, length) in enumerate(zip(features, lengths.tolist(), strict=True)):
        if not np.isfinite(video[:length]).all():
            raise ConfigError(
                f"{source}: features hold NaN or infinity, first in video {index} of {len(features)}; "
                "extract them again"
            )
        if not np.isfinite(video[length:]).all():
            padded.append(index)
    if padded:
        features = features.copy()
        for index in padded:
            features[index, lengths[index] :] = 0
    return features


def _check_column(source: Path, name: str, array: _Array, number: int) -> None:
    if array.shape != (number,):
        raise ConfigError(f"{source}: {name} has shape {array.shape}, expected ({number},): one for each video")


def _check_text(source: Path, name: str, array: _Array) -> _Array:
    if array.ndim != 1 or array.dtype.kind != "U":
        raise ConfigError(f"{source}: {name} is {array.dtype} of shape {array.shape}, expected one row of text")
    return array


def _check_range(source: Path, name: str, array: _Array, low: int, high: int) -> npt.NDArray[np.int64]:
    if array.dtype.kind not in "iu":
        raise ConfigError(f"{source}: {name} are {array.dtype}, expected integers")
    if array.min() < low or array.max() > high:
        raise ConfigError(f"{source}: {name} go from {array.min()} to {array.max()}, expected {low} to {high}")
    return array.astype(np.int64)


def _read_groups(ids: list[str], groups: _Array | None) -> list[str | None]:
    if groups is not None:
        return [str(group) for group in groups]
    matches = [_UCF_NAME.fullmatch(name) for name in ids]
    return [match[1] if match else None for match in matches]
