"""A video with what is said of it: the top classes, the bar of their course, and the spikes of hidden units beneath.

Each frame keeps its time and stands upright. A frame waits for the first step after it, so a few are held, in the size
in which they are shown. The strips beneath show the last seconds; they are drawn once for each step.
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
from PIL import Image, ImageDraw, ImageFont

from snn_action.core.errors import ConfigError, WorkError, printable
from snn_action.core.files import read_umask
from snn_action.video.live import USUAL_RATE, LiveFrame

SUFFIXES = (".mp4", ".mkv", ".mov")
LONGEST = 10.0  # seconds that the strips show
_NARROWEST, _WIDEST, _HIGHEST = 480, 1280, 960  # pixels
_ROW, _COURSE, _UNITS, _MARGIN, _LABEL = 26, 44, 96, 12, 18
_SHOWN = 3  # classes
_UNITS_SHOWN = 48
_CLOCK = 90_000  # ticks a second
_BACKGROUND, _PALE, _TEXT, _FAINT = (17, 20, 26), (38, 43, 52), (236, 239, 244), (150, 158, 172)
# Okabe and Ito's colors, which people who see few colors tell apart, lightened for a dark ground
_COLORS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 190, 140),
    (240, 228, 66),
    (213, 110, 60),
    (204, 140, 190),
    (90, 140, 220),
)

Picture = npt.NDArray[np.uint8]


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
        self._strips = _Strips([printable(name) for name in class_names])
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
        self, frame: int, time: float, evidence: npt.NDArray[Any], spikes: npt.NDArray[Any] | None = None
    ) -> None:
        """What is said from that frame on: evidence (K,) and, where there are any, spikes (N,) of hidden units.

        Raises:
            WorkError: the video cannot be written.
        """
        self._write_before(frame)
        self._strips.add(time, evidence, spikes)

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
    scale = min(max(1.0, _NARROWEST / width), _HIGHEST / height)
    scale = min(scale, _WIDEST / width)
    size = max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
    if size == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


class _Strips:
    """What stands under the video."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._font, self._small = ImageFont.load_default(15), ImageFont.load_default(11)
        self._drawn: Picture | None = None
        self._course: Picture | None = None
        self._raster: Picture | None = None
        self._now: npt.NDArray[Any] | None = None
        self._pending: tuple[float, npt.NDArray[Any], npt.NDArray[Any] | None] | None = None
        self._units = 0
        self._runs: deque[tuple[int, int]] = deque()  # column since the beginning, and class, where a class begins
        self._last = 0  # columns since the beginning

    def add(self, time: float, evidence: npt.NDArray[Any], spikes: npt.NDArray[Any] | None) -> None:
        """A further step."""
        self._pending = (time, evidence, spikes)
        self._now = evidence
        self._drawn = None
        if self._course is not None:
            self._move(*self._pending)

    def put_under(self, picture: Picture) -> Picture:
        """The whole picture of a frame."""
        width = max(_NARROWEST, picture.shape[1])
        if self._course is None:
            self._course = np.full((_COURSE, width - 2 * _MARGIN, 3), _PALE, np.uint8)
            if self._pending is not None:
                self._move(*self._pending)
        if self._drawn is None:
            self._drawn = self._draw(width)
        if picture.shape[1] < width:
            wide = np.full((picture.shape[0], width, 3), _BACKGROUND, np.uint8)
            left = (width - picture.shape[1]) // 2
            wide[:, left : left + picture.shape[1]] = picture
            picture = wide
        return np.concatenate([picture, self._drawn])

    def _move(self, time: float, evidence: npt.NDArray[Any], spikes: npt.NDArray[Any] | None) -> None:
        assert self._course is not None
        width = self._course.shape[1]
        if spikes is not None and self._raster is None:
            self._units = len(spikes)
            self._raster = np.full((_UNITS, width, 3), _PALE, np.uint8)
        column = int(time * width / LONGEST)
        new = max(1, min(width, column - self._last))
        self._last += new if column <= self._last else column - self._last
        self._course = np.roll(self._course, -new, 1)
        best = int(np.argmax(evidence))
        if not self._runs or self._runs[-1][1] != best:
            self._runs.append((self._last - new, best))
        while len(self._runs) > 1 and self._runs[1][0] <= self._last - width:
            self._runs.popleft()
        high = round(float(evidence[best]) * _COURSE)
        self._course[:, -new:] = _PALE
        if high:
            self._course[-high:, -new:] = _COLORS[best % len(_COLORS)]
        if self._raster is not None and spikes is not None:
            self._raster = np.roll(self._raster, -new, 1)
            self._raster[:, -new:] = _PALE
            shown = spikes[np.linspace(0, len(spikes) - 1, min(_UNITS_SHOWN, len(spikes))).round().astype(int)]
            lines = np.linspace(0, _UNITS - 2, len(shown)).astype(int)[np.asarray(shown) > 0]
            wide = max(1, min(3, new - 1))
            for line in lines:
                self._raster[line : line + 2, -new : width - new + wide] = _TEXT

    def _draw(self, width: int) -> Picture:
        """Classes, course and raster, one under the other."""
        assert self._course is not None
        height = _MARGIN + _SHOWN * _ROW + _LABEL + _COURSE + _MARGIN
        height += _LABEL + _UNITS + _MARGIN if self._raster is not None else 0
        height += height % 2
        image = Image.new("RGB", (width, height), _BACKGROUND)
        draw = ImageDraw.Draw(image)
        self._draw_classes(draw, width)
        top = _MARGIN + _SHOWN * _ROW
        self._label(draw, width, top, "most likely class, as high as its evidence")
        image.paste(Image.fromarray(self._course), (_MARGIN, top + _LABEL))
        self._name_runs(draw, top + _LABEL + _COURSE - 16)
        if self._raster is not None:
            top += _LABEL + _COURSE + _MARGIN // 2
            shown = min(_UNITS_SHOWN, self._units)
            self._label(draw, width, top, f"spikes of {shown} of {self._units} hidden units")
            image.paste(Image.fromarray(self._raster), (_MARGIN, top + _LABEL))
        return np.asarray(image)

    def _name_runs(self, draw: Any, top: int) -> None:
        """The name of each class within its part of the course, where there is room."""
        assert self._course is not None
        first = self._last - self._course.shape[1]
        ends = [*(column for column, _ in self._runs), self._last][1:]
        for (column, k), end in zip(self._runs, ends, strict=True):
            begin = max(column - first, 0)
            if draw.textlength(self._names[k], self._small) + 6 <= end - first - begin:
                draw.text((_MARGIN + begin + 3, top), self._names[k], _BACKGROUND, self._small)

    def _label(self, draw: Any, width: int, top: int, text: str) -> None:
        draw.text((_MARGIN, top + 3), text, _FAINT, self._small)
        draw.text((width - _MARGIN, top + 3), f"last {LONGEST:.0f} s", _FAINT, self._small, anchor="ra")

    def _draw_classes(self, draw: Any, width: int) -> None:
        if self._now is None:
            return
        evidence = self._now
        names_end = _MARGIN + 20 + min(width // 3, 220)
        bar_end = width - _MARGIN - 52
        for place, k in enumerate(np.argsort(-evidence, kind="stable")[:_SHOWN]):
            top = _MARGIN + place * _ROW
            color, share = _COLORS[int(k) % len(_COLORS)], float(evidence[k])
            draw.rectangle((_MARGIN, top + 5, _MARGIN + 11, top + 16), color)
            draw.text((_MARGIN + 20, top + 1), self._shorten(draw, self._names[k], names_end), _TEXT, self._font)
            draw.rectangle((names_end + 8, top + 5, bar_end, top + 16), _PALE)
            if (end := names_end + 8 + round(share * (bar_end - names_end - 8))) > names_end + 8:
                draw.rectangle((names_end + 8, top + 5, end, top + 16), color)
            draw.text((width - _MARGIN, top + 1), f"{100 * share:.0f} %", _TEXT, self._font, anchor="ra")

    def _shorten(self, draw: Any, name: str, end: int) -> str:
        room = end - _MARGIN - 20
        if draw.textlength(name, self._font) <= room:
            return name
        while name and draw.textlength(name + "…", self._font) > room:
            name = name[:-1]
        return name + "…"
