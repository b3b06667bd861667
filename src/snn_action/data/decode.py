"""Frames of a video file or of a folder of JPEG frames, as RGB, decoded only where they are needed.

A file is read twice, which costs little beside decoding: once for the table of its packets, which gives the exact
number of frames and the time of each, and once to decode. The decoder gets no packet of a part without wanted
frames, it goes on at the last key frame before the next wanted one, and it stops after the last. Frames are told by
their time, so that frames which a decoder emits late, out of order or not at all are never taken for others. Where
a container gives no reliable times (AVI with reordered frames), frames are counted from the beginning instead.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt
import PIL
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from snn_action.data.container import Reach, check_whole
from snn_action.data.frame_folder import open_frame_folder
from snn_action.errors import WorkError

Frame = npt.NDArray[np.uint8]

DECODER_VERSION = "1 av {} libavcodec {} libswscale {} pillow {}".format(
    av.__version__,
    *(".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libswscale")),
    PIL.__version__,
)


class FrameSource(Protocol):
    """Something that frames are read from; it holds no open file between calls."""

    @property
    def n_frames(self) -> int:
        """Exact number of frames."""

    def read(self, indices: Iterable[int]) -> Iterator[Frame]:
        """Frames ``(H, W, 3)`` uint8 RGB at strictly increasing indices."""


def open_video(path: str | Path) -> FrameSource:
    """Look into a video file, or a folder of JPEG frames.

    Raises:
        WorkError: names the file and why it cannot be read, or that it is truncated.
    """
    path = Path(path)
    if path.is_dir():
        return open_frame_folder(path)
    if not path.is_file():
        raise WorkError(f"{path}: no such video")
    if path.stat().st_size == 0:
        raise WorkError(f"{path}: the file is empty (0 bytes)")
    return VideoFile(path, _scan(path))


def count_frames(path: str | Path) -> int:
    """Exact number of frames of a video, of which the first is proved to decode.

    Raises:
        WorkError: names the file and why it cannot be read, or that it is truncated.
    """
    source = open_video(path)
    next(iter(source.read([0])))
    return source.n_frames


def read_frames(path: str | Path, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Frame:
    """Frames ``(n, H, W, 3)`` uint8 RGB at ``indices``, in the order asked; indices may repeat.

    Raises:
        WorkError: names the file and why it cannot be read, or that it is truncated.
        ValueError: no index, or one that the video does not have.
    """
    wanted = [int(index) for index in indices]
    source = open_video(path)
    if not wanted or min(wanted) < 0 or max(wanted) >= source.n_frames:
        raise ValueError(f"{path}: has frames 0 to {source.n_frames - 1}; asked for {wanted}")
    distinct = sorted(set(wanted))
    frames = dict(zip(distinct, source.read(distinct), strict=True))
    return np.stack([frames[index] for index in wanted])


@dataclass(frozen=True)
class Timeline:
    """What a file's packets say of its frames.

    Attributes:
        n_frames: Number of frames that are shown.
        times: Presentation time of each frame; None where the container gives none that hold.
        keys: Ordinal and time of each packet with a key frame, both increasing.
    """

    n_frames: int
    times: tuple[int, ...] | None
    keys: tuple[tuple[int, int], ...]

    @cached_property
    def index(self) -> dict[int, int]:
        """Index of the frame at each time."""
        return {time: index for index, time in enumerate(self.times or ())}

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """For each frame, the packet at which decoding may begin: the last key frame not after it."""
        positions = np.searchsorted([time for _, time in self.keys], self.times or (), side="right")
        return tuple(self.keys[max(0, position - 1)][0] for position in positions)


@dataclass(frozen=True)
class VideoFile:
    """A video file and its timeline."""

    path: Path
    timeline: Timeline

    @property
    def n_frames(self) -> int:
        """Exact number of frames."""
        return self.timeline.n_frames

    def read(self, indices: Iterable[int]) -> Iterator[Frame]:
        """Frames ``(H, W, 3)`` uint8 RGB at strictly increasing indices.

        Raises:
            WorkError: the file cannot be decoded, or fewer frames decode than it holds.
        """
        left = list(indices)
        size: tuple[int, ...] | None = None
        # where a decoder cannot begin at a key frame after all, what is left is counted from the beginning
        for read in (self._read_by_time, self._read_by_count) if self.timeline.times else (self._read_by_count,):
            for frame in read(tuple(left)):
                del left[0]
                size = size or frame.shape
                if frame.shape != size:
                    raise WorkError(f"{self.path}: the size of its frames changes from {size[:2]} to {frame.shape[:2]}")
                yield frame
            if not left:
                return

    def _read_by_time(self, indices: tuple[int, ...]) -> Iterator[Frame]:
        """As ``read``, beginning at key frames; ends early where that does not give a frame."""
        timeline, wanted = self.timeline, iter(indices)
        target = next(wanted)
        start = timeline.starts[target]
        converter = VideoReformatter()
        key = None  # the frame at which decoding went on, until it is seen
        with _open(self.path) as (container, stream):
            try:
                for ordinal, packet in enumerate(container.demux(stream)):
                    if ordinal < start and packet.size:
                        continue
                    if ordinal == start and ordinal:
                        stream.codec_context.flush_buffers()
                        key = timeline.index.get(packet.pts, -1)
                    for frame in packet.decode():
                        index = timeline.index.get(frame.pts, -1)
                        if key is not None:
                            if index < key:
                                continue  # it leans on what was left out
                            if index > key or frame.pict_type != PictureType.I:
                                return  # no frame that stands alone: a refresh in parts
                            key = None
                        if index > target:
                            return
                        if index == target:
                            yield _to_rgb(frame, converter)
                            following = next(wanted, None)
                            if following is None:
                                return
                            target = following
                    if timeline.starts[target] > ordinal + 1:
                        start = timeline.starts[target]
            except av.FFmpegError:
                return

    def _read_by_count(self, indices: tuple[int, ...]) -> Iterator[Frame]:
        """As ``read``, counting frames from the beginning."""
        wanted = iter(indices)
        target, index = next(wanted), -1
        converter = VideoReformatter()
        with _open(self.path) as (container, stream):
            try:
                for packet in container.demux(stream):
                    for frame in packet.decode():
                        index += 1
                        if index == target:
                            yield _to_rgb(frame, converter)
                            following = next(wanted, None)
                            if following is None:
                                return
                            target = following
            except av.FFmpegError as error:
                raise WorkError(f"{self.path}: frame {index + 1} cannot be decoded: {error.strerror}") from None
        raise WorkError(f"{self.path}: damaged or truncated: {index + 1} of {self.n_frames} frames decode")


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream, one decoding thread."""
    try:
        # the protocol is named so that a colon in the name is not taken for one
        container = av.open(f"file:{path}")
    except (av.FFmpegError, ValueError, UnicodeError) as error:
        raise WorkError(f"{path}: cannot be read as a video: {getattr(error, 'strerror', error)}") from None
    with container:
        covers = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not streams or container.format.name == "tty":  # FFmpeg would draw a text file as a terminal's screen
            raise WorkError(f"{path}: holds no video stream")
        streams[0].thread_type = "NONE"
        streams[0].codec_context.thread_count = 1
        yield container, streams[0]


def _scan(path: Path) -> Timeline:
    """Read the table of packets.

    Raises:
        WorkError: the file is no video, holds no frames or is truncated.
    """
    keys: list[tuple[int, int | None]] = []
    shown: list[int | None] = []
    in_order, reach = True, Reach()
    with _open(path) as (container, stream):
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
            raise WorkError(f"{path}: damaged after {len(shown)} frames: {error.strerror}") from None
        check_whole(path, container, stream, reach)
        guessed = container.format.name == "avi" and not in_order  # AVI stores no times, only an order
    if not shown:
        raise WorkError(f"{path}: its video stream holds no frames")
    return _order(shown, keys, guessed)


def _order(shown: list[int | None], keys: list[tuple[int, int | None]], guessed: bool) -> Timeline:
    times = sorted({time for time in shown if time is not None})
    starts = [(ordinal, time) for ordinal, time in keys if time is not None]
    increasing = all(a[1] < b[1] for a, b in pairwise(starts))
    if guessed or len(times) < len(shown) or not starts or len(starts) < len(keys) or not increasing:
        return Timeline(len(shown), None, ())
    # frames before the first key frame were cut off from what they lean on: decoders do not show them
    times = [time for time in times if time >= starts[0][1]]
    return Timeline(len(times), tuple(times), tuple(starts)) if times else Timeline(len(shown), None, ())


def _to_rgb(frame: Any, converter: VideoReformatter) -> Frame:
    """``(H, W, 3)`` uint8, turned as the file asks for; a converter that is used again spares its making.

    One thread: for a frame of this size, starting others takes longer than its conversion.
    """
    image = np.asarray(converter.reformat(frame, format="rgb24", threads=1).to_ndarray(), np.uint8)
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


# VP8 keeps frames that are only referred to in packets of their own; bit 4 of the first byte says "show"
_HIDDEN: dict[str, Callable[[Any], bool]] = {
    name: lambda packet: not bytes(packet)[0] >> 4 & 1 for name in ("vp8", "libvpx")
}
