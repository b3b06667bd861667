"""Videos decoded ahead by worker processes, in order, while the network works on earlier ones."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from snn_action.config import ClipSettings, Stream
from snn_action.data.catalog import Video
from snn_action.data.clips import VideoClips, read_video
from snn_action.errors import WorkError


@dataclass(frozen=True)
class Job:
    """A video to decode, and the keys of those of its streams that the store lacks."""

    video: Video
    path: Path
    keys: dict[Stream, str]


class _Videos(Dataset[VideoClips | str]):
    """The decoded videos of jobs, or why one cannot be decoded."""

    def __init__(self, jobs: Sequence[Job], clip: ClipSettings, size: int, seed: int) -> None:
        self._jobs = jobs
        self._clip = clip
        self._size = size
        self._seed = seed

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: int) -> VideoClips | str:
        job = self._jobs[index]
        clip = self._clip.model_copy(update={"streams": tuple(job.keys)})
        try:
            return read_video(job.path, clip, self._size, self._seed, job.video.name)
        except WorkError as error:
            return str(error)
        except Exception as error:  # one video must never end the extraction of all others
            return f"{job.path}: {type(error).__name__}: {error}"


def decode_ahead(
    jobs: Sequence[Job], clip: ClipSettings, size: int, seed: int, workers: int
) -> Iterator[VideoClips | str]:
    """Each job's decoded video in order, or why it cannot be decoded.

    Raises:
        WorkError: a worker process died.
    """
    workers = min(workers, len(jobs))
    loader = DataLoader(
        _Videos(jobs, clip, size, seed),
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_step_back,
    )
    return _receive(jobs, iter(loader), workers)  # the workers start here, before the caller starts threads


def _receive(jobs: Sequence[Job], decoded: Iterator[VideoClips | str], workers: int) -> Iterator[VideoClips | str]:
    for job in jobs:
        try:
            yield next(decoded)
        except RuntimeError as error:
            if not workers:
                raise
            raise WorkError(
                f"a decoding process ended ({error}), at {job.path} or soon after. All complete shards are kept. "
                "features.workers=0 decodes in the main process"
            ) from None


def _as_it_is(item: Any) -> Any:
    return item


def _step_back(_: int) -> None:
    """Let the network go first: its threads wait for one another, so a moment taken from one is taken from all."""
    os.nice(19)
