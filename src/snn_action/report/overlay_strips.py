"""What stands under a video: the top classes, the course of the last seconds, and the spikes of hidden units."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

LONGEST = 10.0  # seconds that the strips show
NARROWEST, WIDEST = 480, 1280  # pixels
_ROW, _COURSE, _UNITS, _MARGIN, _LABEL = 26, 44, 96, 12, 18
_SHOWN = 3  # classes
_UNITS_SHOWN = 48
_UNKNOWN = -1  # in the place of a class
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


class Strips:
    """What stands under the video.

    Args:
        names: Of the K classes, printable.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._font, self._small = ImageFont.load_default(15), ImageFont.load_default(11)
        self._drawn: Picture | None = None
        self._course: Picture | None = None
        self._raster: Picture | None = None
        self._now: npt.NDArray[Any] | None = None
        self._is_unknown: bool | None = None
        self._pending: tuple[float, npt.NDArray[Any], npt.NDArray[Any] | None] | None = None
        self._units = 0
        # column since the beginning, and class (_UNKNOWN: none), where a class begins
        self._runs: deque[tuple[int, int]] = deque()
        self._last = 0  # columns since the beginning

    def add(
        self, time: float, evidence: npt.NDArray[Any], spikes: npt.NDArray[Any] | None, is_unknown: bool | None
    ) -> None:
        """A further step, as ``Overlay.add_step`` has it."""
        self._is_unknown = is_unknown
        self._pending = (time, evidence, spikes)
        self._now = evidence
        self._drawn = None
        if self._course is not None:
            self._move(*self._pending)

    def put_under(self, picture: Picture) -> Picture:
        """The whole picture of a frame."""
        width = max(NARROWEST, picture.shape[1])
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

    @property
    def _has_verdict(self) -> int:
        """Rows that say whether the action is known."""
        return int(self._is_unknown is not None)

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
        shown = _UNKNOWN if self._is_unknown else best
        if not self._runs or self._runs[-1][1] != shown:
            self._runs.append((self._last - new, shown))
        while len(self._runs) > 1 and self._runs[1][0] <= self._last - width:
            self._runs.popleft()
        high = round(float(evidence[best]) * _COURSE)
        self._course[:, -new:] = _PALE
        if high:
            self._course[-high:, -new:] = _FAINT if self._is_unknown else _COLORS[best % len(_COLORS)]
        if self._raster is not None and spikes is not None:
            self._raster = np.roll(self._raster, -new, 1)
            self._raster[:, -new:] = _PALE
            some = spikes[np.linspace(0, len(spikes) - 1, min(_UNITS_SHOWN, len(spikes))).round().astype(int)]
            lines = np.linspace(0, _UNITS - 2, len(some)).astype(int)[np.asarray(some) > 0]
            wide = max(1, min(3, new - 1))
            for line in lines:
                self._raster[line : line + 2, -new : width - new + wide] = _TEXT

    def _draw(self, width: int) -> Picture:
        """Classes, course and raster, one under the other."""
        assert self._course is not None
        top = _MARGIN + (_SHOWN + self._has_verdict) * _ROW
        height = top + _LABEL + _COURSE + _MARGIN
        height += _LABEL + _UNITS + _MARGIN if self._raster is not None else 0
        height += height % 2
        image = Image.new("RGB", (width, height), _BACKGROUND)
        draw = ImageDraw.Draw(image)
        self._draw_classes(draw, width)
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
            name = "unknown" if k == _UNKNOWN else self._names[k]
            if draw.textlength(name, self._small) + 6 <= end - first - begin:
                draw.text((_MARGIN + begin + 3, top), name, _BACKGROUND, self._small)

    def _label(self, draw: Any, width: int, top: int, text: str) -> None:
        draw.text((_MARGIN, top + 3), text, _FAINT, self._small)
        draw.text((width - _MARGIN, top + 3), f"last {LONGEST:.0f} s", _FAINT, self._small, anchor="ra")

    def _draw_classes(self, draw: Any, width: int) -> None:
        if self._now is None:
            return
        evidence = self._now
        if self._is_unknown is not None:
            words = ("known action, most likely:", "unknown action, nearest:")[self._is_unknown]
            draw.text((_MARGIN, _MARGIN + 1), words, _TEXT if self._is_unknown else _FAINT, self._font)
        names_end = _MARGIN + 20 + min(width // 3, 220)
        bar_end = width - _MARGIN - 52
        for place, k in enumerate(np.argsort(-evidence, kind="stable")[:_SHOWN]):
            top = _MARGIN + (place + self._has_verdict) * _ROW
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
