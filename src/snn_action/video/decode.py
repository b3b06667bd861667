"""Frames of a video file or of a folder of JPEG frames, as RGB, decoded only where they are needed.

A file is read twice, which costs little beside decoding: once for the table of its packets, which gives the exact
number of frames and the time of each, and once to decode. Where packets do not surely tell the frames (``timeline``),
or tell others than decode, the file is decoded to its end to count them. The decoder gets no packet of a part without
wanted frames, it goes on at the last key frame before the next wanted one, and it stops after the last. Frames are told
by their time, so that frames which a decoder emits late, out of order or not at all are never taken for others. Where
a container gives no reliable times (AVI with reordered frames), frames are counted from the beginning instead.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, TypeVar

import av
import numpy as np
import numpy.typing as npt
import PIL
from av import library_versions
from av.filter import Graph
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from snn_action.core.errors import VideoError
from snn_action.video.frame_folder import open_frame_folder
from snn_action.video.limits import check_size
from snn_action.video.opening import naming_video
from snn_action.video.orientation import UPRIGHT, read_orientation
from snn_action.video.settings import LimitSettings
from snn_action.video.timeline import Timeline, count_again, decode_packets, open_stream, read_timeline

Frame = npt.NDArray[np.uint8]
Result = TypeVar("Result")

DECODER_VERSION = "2 av {} libavcodec {} libswscale {} pillow {}".format(
    av.__version__,
    *(".".join(map(str, library_versions[name])) for name in ("libavcodec", "libswscale")),
    PIL.__version__,
)


DEFAULT_LIMITS = LimitSettings()


class FrameSource(Protocol):
    """Something that frames are read from; it holds no open file between calls."""

    @property
    def n_frames(self) -> int:
        """Exact number of frames."""

    def read(self, indices: Iterable[int]) -> Iterator[Frame]:
        """Frames ``(H, W, 3)`` uint8 RGB at strictly increasing indices."""


def open_video(path: str | Path, limits: LimitSettings = DEFAULT_LIMITS) -> FrameSource:
    """Look into a video file, or a folder of JPEG frames.

    Raises:
        VideoError: names the file and why it cannot be read, that it is truncated or that its size is absurd.
    """
    path = Path(path)
    with naming_video(path):
        if path.is_dir():
            return open_frame_folder(path, limits)
        return VideoFile(path, read_timeline(path, limits), limits)


def look_at(path: Path, limits: LimitSettings = DEFAULT_LIMITS) -> None:
    """Nothing, where a video can be opened; its frames are not looked at.

    Raises:
        VideoError: as ``open_video``, for what is seen without reading the file to its end.
    """
    with naming_video(path):
        if path.is_dir():
            open_frame_folder(path, limits)
            return
        with open_stream(path, limits):
            pass


def count_frames(path: str | Path) -> int:
    """Exact number of frames of a video, all of which are decoded.

    Raises:
        VideoError: names the file and why it cannot be read, or that it is truncated.
    """

    def look(source: FrameSource) -> int:
        next(iter(source.read([0])))
        if isinstance(source, VideoFile) and not source.timeline.counted:
            source.count_all()
        return source.n_frames

    return use_video(open_video(path), look)


def read_frames(path: str | Path, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Frame:
    """Frames ``(n, H, W, 3)`` uint8 RGB at ``indices``, in the order asked; indices may repeat.

    Raises:
        VideoError: names the file and why it cannot be read, or that it is truncated.
        ValueError: no index, or one that the video does not have.
    """
    wanted = [int(index) for index in indices]

    def read(source: FrameSource) -> Frame:
        if not wanted or min(wanted) < 0 or max(wanted) >= source.n_frames:
            raise ValueError(f"{path}: has frames 0 to {source.n_frames - 1}; asked for {wanted}")
        distinct = sorted(set(wanted))
        frames = dict(zip(distinct, source.read(distinct), strict=True))
        return np.stack([frames[index] for index in wanted])

    return use_video(open_video(path), read)


def use_video(source: FrameSource, use: Callable[[FrameSource], Result]) -> Result:
    """What ``use`` makes of a video; it is asked again where the packets told another number of frames than decode.

    Raises:
        VideoError: the decoder tells now this, now that, or ``use`` raises it.
    """
    try:
        return use(source)
    except MiscountError:
        assert isinstance(source, VideoFile)
        timeline = count_again(source.path, source.timeline, source.limits)
        if timeline.n_frames == source.n_frames:
            raise
        return use(replace(source, timeline=timeline))


class MiscountError(VideoError):
    """Fewer or more frames decode, without an error, than the packets tell."""


@dataclass(frozen=True)
class VideoFile:
    """A video file and its timeline."""

    path: Path
    timeline: Timeline
    limits: LimitSettings = DEFAULT_LIMITS

    @property
    def n_frames(self) -> int:
        """Exact number of frames."""
        return self.timeline.n_frames

    def read(self, indices: Iterable[int]) -> Iterator[Frame]:
        """Frames ``(H, W, 3)`` uint8 RGB at strictly increasing indices.

        Raises:
            VideoError: the file cannot be decoded, or fewer frames decode than it holds.
        """
        if self.timeline.bare and not self.timeline.counted:
            self.count_all()
        left = list(indices)
        size: tuple[int, ...] | None = None
        # where a decoder cannot begin at a key frame after all, what is left is counted from the beginning
        for read in (self._read_by_time, self._read_by_count) if self.timeline.keys else (self._read_by_count,):
            for frame in read(tuple(left)):
                del left[0]
                if size is None:
                    check_size(self.path, frame.shape[1], frame.shape[0], self.limits)
                    size = frame.shape
                if frame.shape != size:
                    sizes = f"from {size[:2]} to {frame.shape[:2]}"
                    raise VideoError(f"{self.path}: the size of its frames changes {sizes}", "damaged")
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
        with open_stream(self.path, self.limits) as (container, stream):
            try:
                for ordinal, packet in enumerate(container.demux(stream)):
                    if ordinal < start and packet.dts is not None:
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
                            yield to_rgb(frame, converter)
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
        target, index, sure = next(wanted), -1, self.timeline.counted
        converter = VideoReformatter()
        with open_stream(self.path, self.limits) as (container, stream):
            try:
                for packet, frames in decode_packets(container, stream):
                    if index >= 0 and not frames and packet.size and not sure:
                        self.count_all()  # a frame that is lost without an error would shift all later ones
                        sure = True
                    for frame in frames:
                        index += 1
                        if index == target:
                            yield to_rgb(frame, converter)
                            following = next(wanted, None)
                            if following is None:
                                return
                            target = following
            except av.FFmpegError as error:
                reason = f"frame {index + 1} cannot be decoded: {error.strerror}"
                raise VideoError(f"{self.path}: {reason}", "damaged") from None
        count = f"{index + 1} of {self.n_frames} frames decode"
        raise MiscountError(f"{self.path}: damaged or truncated: {count}", "truncated")

    def count_all(self) -> None:
        """Nothing, where as many frames decode as the file holds.

        Raises:
            MiscountError: fewer or more do.
            VideoError: one does not decode.
        """
        with open_stream(self.path, self.limits) as (container, stream):
            try:
                decoded = sum(len(frames) for _, frames in decode_packets(container, stream))
            except av.FFmpegError as error:
                raise VideoError(f"{self.path}: cannot be decoded to its end: {error.strerror}", "damaged") from None
        if decoded != self.n_frames:
            count = f"{decoded} of {self.n_frames} frames decode"
            raise MiscountError(f"{self.path}: damaged or truncated: {count}", "truncated")


def to_rgb(frame: Any, converter: VideoReformatter, size: tuple[int, int] | None = None) -> Frame:
    """``(H, W, 3)`` uint8, turned as the file asks for; a converter that is used again spares its making.

    ``size`` is the width and height before turning that it is scaled to; None: its own. One thread: for a frame of this
    size, starting others takes longer than its conversion.
    """
    orientation = read_orientation(frame)
    if frame.interlaced_frame:
        frame = _mark_progressive(frame)
    width, height = size or (None, None)
    reformatted = converter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
    image = np.asarray(reformatted.to_ndarray(), np.uint8)
    return image if orientation is UPRIGHT else orientation.apply(image)


def _mark_progressive(frame: Any) -> Any:
    """The same frame without the mark of interlacing, for which libswscale would share colors within fields only.

    FFmpeg's program does not, and much that is marked is not interlaced.
    """
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    graph.link_nodes(source, graph.add("setfield", "mode=prog"), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()
