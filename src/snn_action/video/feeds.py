"""Opens what frames come from, each in its way: a file, a folder of frames, an address, a camera, standard input."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from snn_action.core.errors import VideoError
from snn_action.video.decode import DEFAULT_LIMITS, Frame, to_rgb
from snn_action.video.frame_folder import open_frame_folder
from snn_action.video.limits import check_size
from snn_action.video.settings import LimitSettings
from snn_action.video.sources import Source
from snn_action.video.timeline import decode_packets, open_stream

# what an address may use: no local file, whatever a playlist there says
_PROTOCOLS = "crypto,data,hls,http,httpproxy,https,rtmp,rtmps,rtmpt,rtp,rtsp,sctp,srt,srtp,tcp,tls,udp"


Decoded = Iterator[tuple[float | None, Callable[[], Frame]]]  # time, where it is known, and what makes the image


@dataclass(frozen=True)
class LiveSettings:
    """How a source is read.

    Attributes:
        timeout: Seconds without a frame after which the source is given up.
        frame_size: Width and height of raw frames on standard input.
        fps: Frames a second where the source does not tell; of raw frames and of a folder of frames always.
        limits: What a source may ask for.
    """

    timeout: float = 10.0
    frame_size: tuple[int, int] | None = None
    fps: float | None = None
    limits: LimitSettings = DEFAULT_LIMITS


def say_timeout(source: Source, what: str, settings: LiveSettings) -> str:
    """Text of the error of a source that was waited for too long."""
    return f"{source.label}: {what} within {settings.timeout:g} s (--timeout)"


def find_duration(path: Path, limits: LimitSettings) -> float | None:
    """Seconds that a video file says it lasts; None where it does not say, or cannot be opened."""
    try:
        with open_stream(path, limits) as (container, _):
            return container.duration / av.time_base if container.duration else None
    except VideoError:
        return None


@contextmanager
def open_feed(source: Source, settings: LiveSettings) -> Iterator[tuple[float | None, Decoded]]:
    """The rate of a source, and its frames."""
    if source.kind == "stdin":
        assert settings.frame_size is not None
        yield settings.fps, _read_raw(sys.stdin.fileno(), *settings.frame_size, settings.limits)
    elif source.kind == "frames":
        folder = open_frame_folder(Path(source.name), settings.limits)
        images = folder.read(range(folder.n_frames))
        yield settings.fps, ((None, lambda image=image: image) for image in images)  # type: ignore[misc]
    elif source.kind == "file":
        with open_stream(Path(source.name), settings.limits) as (container, stream):
            packets = decode_packets(container, stream)
            yield _find_rate(stream) or settings.fps, _decode(source, (frames for _, frames in packets), settings)
    else:
        with _open_live(source, settings) as (container, stream):
            yield _find_rate(stream) or settings.fps, _decode(source, _decode_what_comes(container, stream), settings)


def _find_rate(stream: Any) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and 0 < rate <= 1000 else None


def _decode(source: Source, groups: Iterator[list[Any]], settings: LiveSettings) -> Decoded:
    """Each frame's time, and what makes its image, in the size of the first one."""
    converter, size, done = VideoReformatter(), None, 0
    try:
        for frames in groups:
            for frame in frames:
                size = size or (frame.width, frame.height)
                yield frame.time, lambda frame=frame, size=size: to_rgb(frame, converter, size)  # type: ignore[misc]
                done += 1
    except av.error.ExitError:  # FFmpeg's word for a call that took too long
        raise VideoError(say_timeout(source, "no frame came", settings), "timeout") from None
    except av.FFmpegError as error:
        what = "the stream broke off" if source.is_live else "cannot be decoded further"
        raise VideoError(f"{source.label}: {what} after {done} frames: {error.strerror}", "damaged") from None


def _decode_what_comes(container: Any, stream: Any) -> Iterator[list[Any]]:
    """Frames of a live source; packets that were damaged on their way are passed over."""
    for packet in container.demux(stream):
        try:
            yield packet.decode()
        except av.error.InvalidDataError:
            continue


@contextmanager
def _open_live(source: Source, settings: LiveSettings) -> Iterator[tuple[Any, Any]]:
    if source.format is not None and source.format not in av.formats_available:
        raise VideoError(
            f"{source.label}: this FFmpeg (in PyAV {av.__version__}) was built without {source.format}; let another "
            f"one send raw frames: ffmpeg -f {source.format} -i {source.name} -f rawvideo -pix_fmt rgb24 -s 640x480 - "
            "| snn-action predict RUN - --frame-size 640x480",
            "unreadable",
        )
    options = {"protocol_whitelist": _PROTOCOLS, "rtsp_flags": "prefer_tcp"} if source.kind == "network" else {}
    try:
        seconds = settings.timeout + 1  # who waits for frames speaks first: FFmpeg's own errors do not say why
        container: Any = av.open(source.name, format=source.format, options=options, timeout=(seconds, seconds))
    except av.error.ExitError:
        raise VideoError(say_timeout(source, "it did not answer", settings), "timeout") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{source.label}: cannot be reached or read: {reason}", "unreadable") from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{source.label}: holds no video stream", "no video stream")
        stream = container.streams.video[0]
        context = stream.codec_context
        check_size(Path(source.label), context.width, context.height, settings.limits)
        context.options = {"max_pixels": str(4 * settings.limits.pixels + 2**20)}
        stream.thread_type = "NONE"
        yield container, stream


def _read_raw(handle: int, width: int, height: int, limits: LimitSettings) -> Decoded:
    """Raw RGB frames from an open file; read without a lock, so that a thread that waits for it keeps nobody."""
    check_size(Path("standard input"), width, height, limits)
    size = width * height * 3
    for done in count():
        frame = bytearray(size)
        got = 0
        while got < size:
            part = os.read(handle, min(size - got, 2**20))
            if not part:
                break
            frame[got : got + len(part)] = part
            got += len(part)
        if got == 0:
            return
        if got < size:
            raise VideoError(
                f"standard input ended within frame {done}: {got} of {size} bytes; is --frame-size {width}x{height} "
                "what is sent, as RGB of 8 bits?",
                "truncated",
            )
        image = np.frombuffer(frame, np.uint8).reshape(height, width, 3)
        yield None, lambda image=image: image  # type: ignore[misc]
