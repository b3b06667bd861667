"""Videos decoded ahead by worker processes, in order, while the network works on earlier ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import tee
from pathlib import Path

from torch import Tensor

from snn_action.core.errors import VideoError, WorkError
from snn_action.datasets.catalog import Video
from snn_action.video.clips import VideoClips, read_part, read_video
from snn_action.video.content import digest_content, state_of
from snn_action.video.decode import DEFAULT_LIMITS, FrameSource
from snn_action.video.frame_augmentation import FrameDraw
from snn_action.video.opening import naming_video
from snn_action.video.sampling import Indices
from snn_action.video.settings import ClipSettings, LimitSettings, Stream
from snn_action.video.workers import Failure, map_apart

_REPLACED = "changed or replaced while it was extracted: start again when it is complete"


@dataclass(frozen=True)
class Job:
    """A video to decode, and the keys of those of its streams that the store lacks.

    ``content`` is the digest that the keys are made of, ``state`` what the file was (``state_of``) before it was taken.
    ``draw`` says how its frames are changed; None: they are not.
    """

    video: Video
    path: Path
    keys: dict[Stream, str]
    content: str
    state: str
    draw: FrameDraw | None = None


def decode_ahead(
    jobs: Iterable[Job],
    clip: ClipSettings,
    size: int,
    seed: int,
    workers: int,
    limits: LimitSettings = DEFAULT_LIMITS,
) -> Iterator[tuple[Job, VideoClips | str]]:
    """Each job in order, with its decoded video, or why it cannot be decoded. Jobs are asked for as workers need them.

    A crash or a hang of a worker's decoder costs the one video. Without workers there is no such protection.
    """
    decode = partial(_decode, clip=clip, size=size, seed=seed, limits=limits)
    if not workers:
        return ((job, decode(job)) for job in jobs)
    given, returned = tee(jobs)
    # the workers start here, before the caller starts threads
    return _name(returned, map_apart(decode, given, workers, limits.timeout))


def _decode(job: Job, clip: ClipSettings, size: int, seed: int, limits: LimitSettings) -> VideoClips | str:
    clip = clip.model_copy(update={"streams": tuple(job.keys)})
    try:
        place = _follow_links(job.path)
        before = state_of(place)
        if before != job.state and digest_content(place) != job.content:
            return f"{job.path}: {_REPLACED}"
        clips = read_video(place, clip, size, seed, job.video.name, limits, job.draw)
        return clips if state_of(place) == before else f"{job.path}: {_REPLACED}"
    except WorkError as error:
        return str(error)
    except Exception as error:  # one video must never end the extraction of all others
        return f"{job.path}: {type(error).__name__}: {error}"


def _follow_links(path: Path) -> Path:
    """The place of a video, without links: one that is turned elsewhere meanwhile, and back, then changes nothing."""
    place = path.resolve()
    return path if place == path.absolute() else place


def decode_parts(
    path: Path, clips: VideoClips, clip: ClipSettings, size: int, workers: int, limits: LimitSettings = DEFAULT_LIMITS
) -> Iterator[dict[Stream, Tensor]]:
    """Images of each part of a video, of which ``clips`` has the first; the others are decoded ahead by one worker.

    Raises:
        VideoError: a part cannot be decoded, or the file is not what it was.
    """
    yield clips.streams
    if clips.source is None:
        return
    clip = clip.model_copy(update={"streams": tuple(clips.streams)})
    decode = partial(
        _decode_part, path=path, state=clips.state, source=clips.source, clip=clip, size=size, draw=clips.draw
    )
    parts = clips.further_parts()
    for part in map_apart(decode, parts, 1, limits.timeout) if workers else map(decode, parts):
        if not isinstance(part, dict):
            reason = part if isinstance(part, str) else f"{path}: {part.reason}"
            raise VideoError(reason, "unreadable")
        yield part


def _decode_part(
    indices: Indices, path: Path, state: str, source: FrameSource, clip: ClipSettings, size: int, draw: FrameDraw | None
) -> dict[Stream, Tensor] | str:
    try:
        with naming_video(path):
            images = read_part(source, indices, clip, size, draw)
            return images if str(state_of(path)) == state else f"{path}: {_REPLACED}"
    except WorkError as error:
        return str(error)


def _name(jobs: Iterable[Job], decoded: Iterator[VideoClips | str | Failure]) -> Iterator[tuple[Job, VideoClips | str]]:
    for job, clips in zip(jobs, decoded, strict=True):
        yield job, f"{job.path}: {clips.reason}" if isinstance(clips, Failure) else clips
