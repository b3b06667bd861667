"""Features of all clips of a catalog, wherever they lie: read in batches, padded and masked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_action.datasets.catalog import Catalog

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StreamRows:
    """One stream: clip ``c`` is rows ``offset[c] : offset[c] + length[c]`` of ``shards[shard[c]]`` (rows, D)."""

    shards: tuple[Tensor, ...]
    shard: Indices
    offset: Indices

    @cached_property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """The shards as NumPy sees them, whose slices cost a fraction of a tensor's."""
        return tuple(shard.numpy() for shard in self.shards)

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: without ``arrays``, which would be copied."""
        return {key: value for key, value in self.__dict__.items() if key != "arrays"}

    def cut(self, clips: Indices, lengths: Indices) -> list[npt.NDArray[Any]]:
        """The rows of some clips, of these lengths, where they lie."""
        arrays = self.arrays
        places = zip(self.shard[clips].tolist(), self.offset[clips].tolist(), lengths.tolist(), strict=True)
        return [arrays[shard][start : start + length] for shard, start, length in places]

    @property
    def dim(self) -> int:
        """Features of one time step."""
        return int(self.shards[0].shape[1])


@dataclass(frozen=True)
class FeatureSet:
    """Clips and their features; streams are joined along the feature axis.

    Attributes:
        video: Index of each clip's video in the catalog (C,).
        label: Class of each clip (C,).
        length: Real time steps of each clip (C,).
        streams: Where the rows of each stream lie (memory-mapped or in memory).
        versions: The same clips with other rows, for training alone (``training.augment``): those of all frames of
            their videos, or of augmented frames; clips that nobody trains on have none.

    Raises:
        IndexError: a clip's rows are not in its shard.
    """

    video: Indices
    label: Indices
    length: Indices
    streams: tuple[StreamRows, ...]
    versions: tuple["FeatureSet", ...] = ()

    def __post_init__(self) -> None:
        for stream in self.streams:
            rows = np.array([len(shard) for shard in stream.shards])
            wrong = (stream.offset < 0) | (stream.offset + self.length > rows[stream.shard])
            if wrong.any():
                raise IndexError(f"clip {int(wrong.argmax())} begins or ends outside its shard")

    def __len__(self) -> int:
        return len(self.video)

    @property
    def dim(self) -> int:
        """Features of one time step, over all streams."""
        return sum(stream.dim for stream in self.streams)

    @property
    def steps(self) -> int:
        """Time steps of the longest clip."""
        return int(self.length.max())

    def clips_of(self, videos: Iterable[int]) -> list[int]:
        """Clips of the named videos, in the order of clips."""
        wanted = np.fromiter(videos, dtype=np.int64)
        return [int(clip) for clip in np.flatnonzero(np.isin(self.video, wanted))]

    def take_stream(self, place: int) -> "FeatureSet":
        """The same clips with one of their streams."""
        versions = tuple(version.take_stream(place) for version in self.versions)
        return replace(self, streams=(self.streams[place],), versions=versions)

    def read(self, clips: Sequence[int] | Indices) -> tuple[Tensor, Tensor]:
        """Features ``(B, T, D)`` float32, zero where padded, and mask ``(B, T)``, T the longest of these clips."""
        chosen = np.asarray(clips, np.int64)
        lengths = self.length[chosen]
        mask = np.arange(lengths.max()) < lengths[:, None]
        features = (np.empty if bool(mask.all()) else np.zeros)((*mask.shape, self.dim), np.float32)
        left = 0
        for stream in self.streams:
            right = left + stream.dim
            cut = stream.cut(chosen, lengths)
            for clip, length, piece in zip(features[:, :, left:right], lengths.tolist(), cut, strict=True):
                clip[:length] = piece
            left = right
        return torch.from_numpy(features), torch.from_numpy(mask)


def from_arrays(catalog: Catalog) -> FeatureSet:
    """The features that a catalog brings along (``catalog.arrays``), one clip a video.

    Raises:
        ValueError: the catalog brings none.
    """
    if catalog.arrays is None:
        raise ValueError("this catalog is made of videos: extract their features")
    videos, steps, dim = catalog.arrays.features.shape
    rows = torch.from_numpy(np.ascontiguousarray(catalog.arrays.features)).reshape(videos * steps, dim)
    every = np.arange(videos)
    stream = StreamRows((rows,), np.zeros(videos, np.int64), every * steps)
    labels = np.array([video.label for video in catalog.videos])
    return FeatureSet(every, labels, catalog.arrays.lengths.astype(np.int64), (stream,))
