"""The table of a video file's packets: how many frames it holds, when each is shown, where decoding may begin."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.format import Flags

from snn_action.config import LimitSettings
from snn_action.data.container import Reach, check_whole
from snn_action.data.limits import check_length, check_size
from snn_action.errors import VideoError


@dataclass(frozen=True)
class Timeline:
    """What a file's packets say of its frames.

    Attributes:
        n_frames: Number of frames that are shown.
        times: Presentation time of each frame; None where the container gives none that hold.
        keys: Ordinal and time of each packet with a key frame, both increasing.
        declared: Number of frames that the header declares; None where it declares none.
        bare: Whether the stream has no container, so that nothing vouches for its number of frames.
    """

    n_frames: int
    times: tuple[int, ...] | None
    keys: tuple[tuple[int, int], ...]
    declared: int | None = None
    bare: bool = False

    @cached_property
    def index(self) -> dict[int, int]:
        """Index of the frame at each time."""
        return {time: index for index, time in enumerate(self.times or ())}

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """For each frame, the packet at which decoding may begin: the last key frame not after it."""
        positions = np.searchsorted([time for _, time in self.keys], self.times or (), side="right")
        return tuple(self.keys[max(0, position - 1)][0] for position in positions)


@contextmanager
def open_stream(path: Path, limits: LimitSettings) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream, one decoding thread, no frame larger than the limit."""
    try:
        # the protocol is named so that a colon in the name is not taken for one
        container = av.open(f"file:{path}")
    except (av.FFmpegError, ValueError, UnicodeError) as error:
        reason = getattr(error, "strerror", error)
        raise VideoError(f"{path}: cannot be read as a video: {reason}", "unreadable") from None
    with container:
        covers = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not streams or container.format.name == "tty":  # FFmpeg would draw a text file as a terminal's screen
            raise VideoError(f"{path}: holds no video stream", "no video stream")
        if streams[0].codec_context is None:
            raise VideoError(f"{path}: its video is of a kind that cannot be decoded", "unreadable")
        check_size(path, streams[0].codec_context.width, streams[0].codec_context.height, limits)
        # a frame may be larger than the container says; decoders count their padding, too
        streams[0].codec_context.options = {"max_pixels": str(4 * limits.pixels + _PADDING)}
        streams[0].thread_type = "NONE"
        streams[0].codec_context.thread_count = 1
        yield container, streams[0]


def read_timeline(path: Path, limits: LimitSettings) -> Timeline:
    """Read the table of packets of a video file.

    Raises:
        VideoError: the file is no video, holds no frames, is truncated or of absurd size.
    """
    keys: list[tuple[int, int | None]] = []
    shown: list[int | None] = []
    in_order, reach = True, Reach()
    with open_stream(path, limits) as (container, stream):
        is_hidden = _HIDDEN.get(stream.codec_context.name, lambda _: False)
        try:
            for ordinal, packet in enumerate(container.demux(stream)):
                if not packet.size:
                    continue
                reach.add(packet)
                in_order &= packet.pts == packet.dts
                if packet.is_keyframe:
                    keys.append((ordinal, packet.pts))
                if not packet.is_discard and not is_hidden(packet):
                    shown.append(packet.pts)
        except av.FFmpegError as error:
            reason = f"damaged after {len(shown)} frames: {error.strerror}"
            raise VideoError(f"{path}: {reason}", "damaged") from None
        check_length(path, reach.span * float(stream.time_base or 0), len(shown), limits)
        check_whole(path, container, stream, reach)
        declared, bare = int(stream.frames) or None, bool(container.format.flags & _BARE)
        guessed = container.format.name == "avi" and not in_order  # AVI stores no times, only an order
    if not shown:
        raise VideoError(f"{path}: its video stream holds no frames", "no frames")
    return replace(_order(shown, keys, guessed), declared=declared, bare=bare)


def _order(shown: list[int | None], keys: list[tuple[int, int | None]], guessed: bool) -> Timeline:
    times = sorted({time for time in shown if time is not None})
    starts = [(ordinal, time) for ordinal, time in keys if time is not None]
    increasing = all(a[1] < b[1] for a, b in pairwise(starts))
    if guessed or len(times) < len(shown) or not starts or len(starts) < len(keys) or not increasing:
        return Timeline(len(shown), None, ())
    # frames before the first key frame were cut off from what they lean on: decoders do not show them
    times = [time for time in times if time >= starts[0][1]]
    return Timeline(len(times), tuple(times), tuple(starts)) if times else Timeline(len(shown), None, ())


_PADDING = 2**20
_BARE = Flags.no_timestamps.value
# VP8 keeps frames that are only referred to in packets of their own; bit 4 of the first byte says "show"
_HIDDEN: dict[str, Callable[[Any], bool]] = {
    name: lambda packet: not bytes(packet)[0] >> 4 & 1 for name in ("vp8", "libvpx")
}
