"""The table of a video file's frames: how many there are, when each is shown, where decoding may begin.

It is read from the packets, which costs little, where these surely give one frame each (``bitstream``) at times that
hold. Where that is not sure, the frames are counted by decoding them all: what a header or an index says does not
matter.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.format import Flags
from av.stream import Disposition

from snn_action.core.errors import VideoError
from snn_action.video.bitstream import frame_counter
from snn_action.video.container import Reach, check_whole
from snn_action.video.limits import check_length, check_size
from snn_action.video.opening import naming_video, open_file
from snn_action.video.settings import LimitSettings


@dataclass(frozen=True)
class Timeline:
    """What is known of a file's frames.

    Attributes:
        n_frames: Number of frames that are shown.
        times: Presentation time of each frame; None where the container gives none that hold.
        keys: Ordinal and time of each packet with a key frame, both increasing; none where decoding begins at the
            first packet.
        declared: Number of frames that the header declares; None where it declares none.
        bare: Whether the stream has no container, so that nothing vouches for its number of frames.
        counted: Whether all frames were decoded to count them.
        seconds: From the first packet to the last, without jumps of the clock.
    """

    n_frames: int
    times: tuple[int, ...] | None
    keys: tuple[tuple[int, int], ...]
    declared: int | None = None
    bare: bool = False
    counted: bool = False
    seconds: float = 0.0

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
    """The container and the video stream that FFmpeg takes, one decoding thread, no frame larger than the limit."""
    with naming_video(path), open_file(path) as container:
        covers = Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not streams or container.format.name == "tty":  # FFmpeg would draw a text file as a terminal's screen
            raise VideoError(f"{path}: holds no video stream", "no video stream")
        stream = _choose(path, streams)
        if stream.codec_context is None:
            raise VideoError(f"{path}: its video is of a kind that cannot be decoded", "unreadable")
        check_size(path, stream.codec_context.width, stream.codec_context.height, limits)
        # a frame may be larger than the container says; decoders count their padding, too
        stream.codec_context.options = {"max_pixels": str(4 * limits.pixels + _PADDING)}
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream


def decode_packets(container: Any, stream: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Each packet and the frames that the decoder gives for it, as FFmpeg's own program decodes a stream.

    A stream that was cut from a longer one may begin with packets that lean on what was cut off. They may fail to
    decode until a key frame comes.

    Raises:
        av.FFmpegError: a packet cannot be read or decoded.
    """
    begun = False
    for packet in container.demux(stream):
        if not packet.size and packet.dts is not None:
            continue  # an empty packet would be taken for the end
        begun |= packet.is_keyframe
        try:
            yield packet, packet.decode()
        except av.FFmpegError:
            if begun or not packet.size:
                raise


def read_timeline(path: Path, limits: LimitSettings) -> Timeline:
    """Read the table of packets of a video file, or decode it where that does not tell its frames.

    Raises:
        VideoError: the file is no video, holds no frames, is truncated, damaged or of absurd size.
    """
    table, reach = _Table(), Reach()
    with open_stream(path, limits) as (container, stream):
        context = stream.codec_context
        count = frame_counter(context.name, context.codec.intra_only, context.extradata)
        reach.unit = float(stream.time_base or 0)
        reach.may_jump = bool(container.format.flags & _MAY_JUMP)
        try:
            for ordinal, packet in enumerate(container.demux(stream)):
                if not packet.size and packet.dts is None:
                    continue  # the end
                reach.add(packet)
                table.add(ordinal, packet, count(bytes(packet)) if packet.size else None)
        except av.FFmpegError as error:
            reason = f"damaged after {len(table.shown)} frames: {error.strerror}"
            raise VideoError(f"{path}: {reason}", "damaged") from None
        check_length(path, reach.seconds, reach.packets, limits)
        check_whole(path, container, stream, reach)
        known: dict[str, Any] = {
            "declared": int(stream.frames) or None,
            "bare": bool(container.format.flags & _BARE),
            "seconds": reach.seconds,
        }
        guessed = container.format.name == "avi" and not table.in_order  # AVI stores no times, only an order
    if not reach.packets:
        raise VideoError(f"{path}: its video stream holds no frames", "no frames")
    if not table.is_sure:
        return _count(path, limits, guessed, known)
    times = table.find_times()
    if guessed or times is None:
        return Timeline(len(table.shown), None, (), **known)
    return Timeline(len(times), times, tuple(table.keys), **known)


@dataclass
class _Table:
    """What the packets say: the times of those that are shown, and those that begin with a key frame."""

    shown: list[int | None] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)
    in_order: bool = True
    is_sure: bool = True
    _last: int | None = None

    def add(self, ordinal: int, packet: Any, frames: int | None) -> None:
        """One more packet, which gives so many frames; None: nobody knows."""
        sure = frames is not None and not packet.is_corrupt and not packet.is_discard
        sure &= bool(self.keys) or packet.is_keyframe
        if packet.dts is not None and self._last is not None:
            sure &= packet.dts > self._last  # else the clock jumped, and times do not tell the order
        self.is_sure &= sure
        self._last = packet.dts
        self.in_order &= packet.pts == packet.dts
        if packet.is_keyframe:
            self.keys.append((ordinal, packet.pts))
        if frames:
            self.shown.append(packet.pts)

    def find_times(self) -> tuple[int, ...] | None:
        """Times in increasing order; None where they do not hold."""
        times = sorted({time for time in self.shown if time is not None})
        starts = [time for _, time in self.keys]
        if len(times) < len(self.shown) or None in starts or any(a >= b for a, b in pairwise(starts)):
            return None
        return tuple(times)


def _count(path: Path, limits: LimitSettings, guessed: bool, known: dict[str, Any]) -> Timeline:
    """The timeline of a file whose frames are counted by decoding them."""
    times: list[int | None] = []
    with open_stream(path, limits) as (container, stream):
        try:
            for _, frames in decode_packets(container, stream):
                times += [frame.pts for frame in frames]
        except av.FFmpegError as error:
            reason = f"frame {len(times)} cannot be decoded: {error.strerror}"
            raise VideoError(f"{path}: {reason}", "damaged") from None
    if not times:
        raise VideoError(f"{path}: its video stream holds no frames that decode", "no frames")
    hold = not guessed and None not in times and all(a < b for a, b in pairwise(times))  # type: ignore[operator]
    return Timeline(len(times), tuple(times) if hold else None, (), counted=True, **known)  # type: ignore[arg-type]


def count_again(path: Path, timeline: Timeline, limits: LimitSettings) -> Timeline:
    """The timeline of a file whose packets told another number of frames than decode.

    Raises:
        VideoError: a packet cannot be decoded.
    """
    known = {"declared": timeline.declared, "bare": timeline.bare, "seconds": timeline.seconds}
    return _count(path, limits, timeline.times is None, known)


def _choose(path: Path, streams: list[Any]) -> Any:
    """The stream that FFmpeg's program takes: one that has packets, then a default one, then the largest."""
    if len(streams) == 1:
        return streams[0]
    filled: set[int] = set()
    with open_file(path) as container:
        try:
            for number, packet in enumerate(container.demux(video=[stream.index for stream in streams])):
                filled.add(packet.stream_index)
                if len(filled) == len(streams) or number == _PROBED:
                    break
        except av.FFmpegError:
            pass  # found when it is read

    def score(stream: Any) -> int:
        default = bool(stream.disposition & Disposition.default)
        area = (stream.codec_context.width * stream.codec_context.height) if stream.codec_context else 0
        return area + 5_000_000 * default + 100_000_000 * (stream.index in filled)

    return max(streams, key=score)


_PADDING = 2**20
_PROBED = 1000  # packets
_BARE, _MAY_JUMP = Flags.no_timestamps.value, Flags.ts_discont.value
