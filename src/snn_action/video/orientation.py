"""How a frame asks to be shown: turned by quarters and mirrored, as FFmpeg's program does it.

The display matrix ``[a b u; c d v; x y w]`` takes a point ``(p, q)`` of the frame to ``(a p + c q, b p + d q)``
(``libavutil/display.h``); ``p`` goes right and ``q`` down. It holds the eight orientations of a photograph, and may
hold any other angle, which is not done.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_TOLERANCE = 1.0  # degrees, as in FFmpeg


@dataclass(frozen=True)
class Orientation:
    """What is to be done with an image ``(H, W, 3)``: first transpose it, then reverse its rows, then its columns.

    Attributes:
        transposed, rows, columns: Whether to do each of these.
        degrees: The turn that the file asks for, counterclockwise.
        mirrored: Whether it asks for a mirror image, ``a d - b c < 0``.
        is_done: False for an angle that is no quarter turn, for which nothing is done.
    """

    transposed: bool = False
    rows: bool = False
    columns: bool = False
    degrees: float = 0.0
    mirrored: bool = False
    is_done: bool = True

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image as it is to be shown."""
        if self.transposed:
            image = image.swapaxes(0, 1)
        return np.ascontiguousarray(image[:: -1 if self.rows else 1, :: -1 if self.columns else 1])


UPRIGHT = Orientation()


def read_orientation(frame: Any) -> Orientation:
    """The orientation that a decoded frame asks for."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = (np.frombuffer(bytes(data), np.int32)[:5] / 65536).tolist()
            return _orient(a, b, c, d)
    return UPRIGHT


def _orient(a: float, b: float, c: float, d: float) -> Orientation:
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not across or not down:
        return UPRIGHT
    turn = math.degrees(math.atan2(b / down, a / across))
    known = {"degrees": round(-turn, 1) + 0.0, "mirrored": a * d - b * c < 0}
    if abs(turn - 90 * round(turn / 90)) >= _TOLERANCE:
        return Orientation(is_done=False, **known)  # type: ignore[arg-type]
    if round(turn / 90) % 2:  # rows become columns
        return Orientation(True, rows=b < 0, columns=c < 0, **known)  # type: ignore[arg-type]
    return Orientation(False, rows=d < 0, columns=a < 0, **known)  # type: ignore[arg-type]
