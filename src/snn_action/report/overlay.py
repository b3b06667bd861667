"""A video with what is said of it: the top classes, the bar of their course, and the spikes of hidden units beneath.

Each frame keeps its time and stands upright. A frame waits for the first step after it, so a few are held, in the size
in which they are shown. What stands beneath it is drawn once for each step (``overlay_strips``).
"""

import os
import tempfile
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from snn_action.core.errors import ConfigError, WorkError, printable
from snn_action.core.files import read_umask
from snn_action.report.overlay_strips import NARROWEST, WIDEST, Picture, Strips
from snn_action.video.live import USUAL_RATE, LiveFrame

SUFFIXES = (".mp4", ".mkv", ".mov")
_HIGHEST = 960  # pixels
_CLOCK = 90_000  # ticks a second


def check_overlay_file(path: Path, sources: int, *, force: bool = False) -> None:
    """Nothing, where the overlay of so many sources can be written there.

    Raises:
        ConfigError: its suffix is none of ours, it is there already, its folder is missing or cannot be written, or
            there are several sources.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--overlay {path}: name a file that ends in {', '.join(SUFFIXES)}")
    if sources > 1:
        raise ConfigError(f"--overlay {path}: is of one source, here are {sources}")
    check_output(path, "--overlay", force=force)


def check_output(path: Path, option: str, *, force: bool) -> None:
    """Nothing, where a new file may be written there.

    Raises:
        ConfigError: names the option and what is in the way.
    """
    if path.is_dir():
        raise ConfigError(f"{option} {path}: is a folder")
    if os.path.lexists(path) and not force:
        raise ConfigError(f"{option} {path}: is there already; --force replaces it")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{option} {path}: the folder {folder} cannot be written")


class Overlay:
    """Writes the video; ``add_frame`` for every frame, ``add_step`` for every step, ``finish`` at the end.

    Args:
        path: Of the video; it is there when it is finished, until then its content is beside it.
        class_names: Names of the K classes.
    """

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self.path = path
        self.rate: float | None = None
        self._strips = Strips([printable(name) for name in class_names])
        self._held: deque[tuple[int, float, Picture]] = deque()
        self._aside: Path | None = None
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def add_frame(self, frame: LiveFrame) -> None:
        """The next frame; it is written when the first step after it has come."""
        if frame.image is not None:
            self._held.append((frame.index, frame.time, _fit(frame.image)))

    def add_step(
        self,
        frame: int,
        time: float,
        evidence: npt.NDArray[Any],
        spikes: npt.NDArray[Any] | None = None,
        is_unknown: bool | None = None,
    ) -> None:
        """What is said from that frame on.

        Args:
            frame: Its number.
            time: Its time in seconds.
            evidence: Of each class (K,).
            spikes: Of hidden units (N,), where there are any.
            is_unknown: Whether it is none of the known actions; None, always: that is not shown.

        Raises:
            WorkError: the video cannot be written.
        """
        self._write_before(frame)
        self._strips.add(time, evidence, spikes, is_unknown)

    def finish(self) -> None:
        """Write what is held, and put the video in its place; of no frame there is none.

        Raises:
            WorkError: the video cannot be written.
        """
        self._write_before(None)
        if self._container is None:
            return
        try:
            for packet in self._stream.encode(None):
                self._container.mux(packet)
            self._container.close()
            assert self._aside is not None
            self._aside.replace(self.path)
        except (av.FFmpegError, OSError) as error:
            raise self._explain(error) from None
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave nothing behind of a video that is not finished."""
        self._held.clear()
        if self._aside is not None:
            self._aside.unlink(missing_ok=True)
        self._container, self._aside = None, None

    def _write_before(self, frame: int | None) -> None:
        try:
            while self._held and (frame is None or self._held[0][0] < frame):
                _, time, picture = self._held.popleft()
                self._write(time, picture)
        except (av.FFmpegError, OSError) as error:
            self.abandon()
            raise self._explain(error) from None

    def _write(self, time: float, picture: Picture) -> None:
        whole = self._strips.put_under(picture)
        if self._container is None:
            self._open(whole)
        shown = av.VideoFrame.from_ndarray(whole, format="rgb24")
        shown.pts = self._last = max(self._last + 1, round(time * _CLOCK))
        shown.time_base = Fraction(1, _CLOCK)
        for packet in self._stream.encode(shown):
            self._container.mux(packet)

    def _open(self, picture: Picture) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".tmp")
        os.close(handle)
        self._aside = Path(name)
        self._aside.chmod(0o666 & ~read_umask())  # mkstemp makes files private
        form = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}[self.path.suffix.lower()]
        self._container = av.open(name, "w", format=form)
        rate = Fraction(self.rate or USUAL_RATE).limit_denominator(1001)
        codec, options = ("libx264", {"preset": "veryfast", "crf": "21"}) if _has_x264() else ("mpeg4", {"qmin": "3"})
        self._stream = self._container.add_stream(codec, rate=rate, options=options)
        self._stream.height, self._stream.width = picture.shape[:2]
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)

    def _explain(self, error: Exception) -> WorkError:
        return WorkError(f"--overlay {self.path}: cannot be written: {getattr(error, 'strerror', None) or error}")


def _has_x264() -> bool:
    return "libx264" in av.codecs_available


def _fit(image: Picture) -> Picture:
    """The frame in the size in which it is shown: even sides, wide enough for text, no larger than needed."""
    height, width = image.shape[:2]
    scale = min(max(1.0, NARROWEST / width), _HIGHEST / height)
    scale = min(scale, WIDEST / width)
    size = max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
    if size == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
