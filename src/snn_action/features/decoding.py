"""Videos decoded ahead by worker processes, in order, while the network works on earlier ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from snn_action.config import ClipSettings, LimitSettings, Stream
from snn_action.data.catalog import Video
from snn_action.data.clips import VideoClips, read_video
from snn_action.data.decode import DEFAULT_LIMITS
from snn_action.data.workers import Failure, map_apart
from snn_action.errors import WorkError


@dataclass(frozen=True)
class Job:
    """A video to decode, and the keys of those of its streams that the store lacks."""

    video: Video
    path: Path
    keys: dict[Stream, str]


def decode_ahead(
    jobs: Sequence[Job],
    clip: ClipSettings,
    size: int,
    seed: int,
    workers: int,
    limits: LimitSettings = DEFAULT_LIMITS,
) -> Iterator[VideoClips | str]:
    """Each job's decoded video in order, or why it cannot be decoded.

    A crash or a hang of a worker's decoder costs the one video. Without workers there is no such protection.
    """
    decode = partial(_decode, clip=clip, size=size, seed=seed, limits=limits)
    if not workers:
        return map(decode, jobs)
    # the workers start here, before the caller starts threads
    return _name(jobs, map_apart(decode, jobs, workers, limits.timeout))


def _decode(job: Job, clip: ClipSettings, size: int, seed: int, limits: LimitSettings) -> VideoClips | str:
    clip = clip.model_copy(update={"streams": tuple(job.keys)})
    try:
        return read_video(job.path, clip, size, seed, job.video.name, limits)
    except WorkError as error:
        return str(error)
    except Exception as error:  # one video must never end the extraction of all others
        return f"{job.path}: {type(error).__name__}: {error}"


def _name(jobs: Sequence[Job], decoded: Iterator[VideoClips | str | Failure]) -> Iterator[VideoClips | str]:
    for job, clips in zip(jobs, decoded, strict=True):
        yield f"{job.path}: {clips.reason}" if isinstance(clips, Failure) else clips
