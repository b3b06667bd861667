"""The clips of one video, decoded and resized once, whatever the number of clips that hold a frame.

Of a long video the images are read in parts, so that its length does not decide how much memory it takes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snn_action.video.content import state_of
from snn_action.video.decode import DEFAULT_LIMITS, Frame, FrameSource, VideoFile, open_video, use_video
from snn_action.video.frame_augmentation import FrameDraw
from snn_action.video.opening import naming_video
from snn_action.video.sampling import Indices, sample_clips
from snn_action.video.settings import ClipSettings, LimitSettings, Stream
from snn_action.video.transforms import difference_image, resize

RESIZED_TOGETHER = 8  # frames: each call costs as much again as one small frame
PART = 2**26  # bytes of the images of a part


@dataclass(frozen=True)
class VideoClips:
    """The clips of one video.

    Attributes:
        n_frames: Frames of the video.
        indices: Every frame that a clip holds, once, increasing (U,).
        clips: For each clip, positions in ``indices`` (n,), n <= ``clip.frames``.
        streams: For each stream, images of the first part of these frames (P, 3, S, S) uint8, channels last in memory.
        source: What the further parts are read from (``read_part``); None where there is one part only.
        state: What the file was (``state_of``) when the first of several parts was read.
        draw: How the frames are changed; None: they are not.
    """

    n_frames: int
    indices: Indices
    clips: tuple[Indices, ...]
    streams: dict[Stream, Tensor]
    source: FrameSource | None = None
    state: str = ""
    draw: FrameDraw | None = None

    def further_parts(self) -> list[Indices]:
        """Frames of each further part."""
        first = len(next(iter(self.streams.values())))
        return [self.indices[begin : begin + first] for begin in range(first, len(self.indices), first)]


def read_video(
    path: str | Path,
    clip: ClipSettings,
    size: int,
    seed: int,
    name: str,
    limits: LimitSettings = DEFAULT_LIMITS,
    draw: FrameDraw | None = None,
) -> VideoClips:
    """Sample the clips of a video, decode the frames they need and resize them; of many frames the first part.

    A difference image is made of decoded frames, before resizing: frame ``t + span`` minus frame ``t - span``,
    indices held at the ends. At most ``2 span + 1`` decoded frames are kept at a time, and a few that are resized
    together.

    Args:
        path: Video file or folder of JPEG frames.
        clip: How clips are cut, and their streams.
        size: Side S of the images.
        seed: Of the ``random`` sampling.
        name: Name of the video, of the ``random`` sampling.
        limits: What the video may ask for.
        draw: How its frames are changed; None: they are not.

    Raises:
        WorkError: names the file and why it cannot be read.
    """
    with naming_video(Path(path)):
        state = state_of(Path(path))
        clips = use_video(open_video(path, limits), lambda source: read_source(source, clip, size, seed, name, draw))
        return replace(clips, state=str(state)) if clips.source else clips


def read_source(
    source: FrameSource, clip: ClipSettings, size: int, seed: int, name: str, draw: FrameDraw | None = None
) -> VideoClips:
    """``read_video`` of frames that are read from ``source``."""
    clips = sample_clips(source.n_frames, clip, seed, name)
    indices = np.unique(np.concatenate(clips))
    together = max(RESIZED_TOGETHER, PART // (3 * size * size * len(clip.streams)))
    is_long = len(indices) > together
    if is_long and isinstance(source, VideoFile) and not source.timeline.counted:
        source.count_all()  # parts must agree on the number of frames, of which packets may tell another
    streams = read_part(source, indices[:together], clip, size, draw)
    positions = tuple(np.searchsorted(indices, chosen) for chosen in clips)
    return VideoClips(source.n_frames, indices, positions, streams, source if is_long else None, draw=draw)


def read_part(
    source: FrameSource, indices: Indices, clip: ClipSettings, size: int, draw: FrameDraw | None = None
) -> dict[Stream, Tensor]:
    """For each stream, images (P, 3, S, S) of the frames at ``indices``, changed as ``draw`` says.

    Raises:
        VideoError: names the file and why it cannot be read.
    """
    streams: dict[Stream, Tensor] = {
        stream: torch.empty((len(indices), 3, size, size), dtype=torch.uint8, memory_format=torch.channels_last)
        for stream in clip.streams
    }
    views = _view(source, indices.tolist(), clip, draw)
    done = 0
    while together := list(islice(views, RESIZED_TOGETHER)):
        for stream, images in streams.items():
            images[done : done + len(together)] = resize(np.stack([view[stream] for view in together]), size)
        done += len(together)
    return streams


def _view(
    source: FrameSource, wanted: Sequence[int], clip: ClipSettings, draw: FrameDraw | None
) -> Iterator[dict[Stream, Frame]]:
    """For each wanted index, what each stream shows of it."""
    span, last = clip.difference_span, source.n_frames - 1
    around = {index: (max(0, index - span), min(last, index + span)) for index in wanted}
    needed = set(wanted) if "rgb" in clip.streams else set()
    if "difference" in clip.streams:
        needed.update(*around.values())
    coming = sorted(needed)
    decoded = zip(coming, source.read(coming), strict=True)
    frames: dict[int, Frame] = {}
    for index in wanted:
        earlier, later = around[index]
        for known in [known for known in frames if known < earlier]:
            del frames[known]
        while not (needed & {index, later} <= frames.keys()):
            known, frame = next(decoded)
            frames[known] = frame if draw is None else draw.apply(frame)
        views: dict[Stream, Frame] = {}
        for stream in clip.streams:
            views[stream] = frames[index] if stream == "rgb" else difference_image(frames[later], frames[earlier])
        yield views
