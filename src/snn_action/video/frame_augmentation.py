"""Frames that are changed before a backbone sees them: cut, mirrored, in other colors, blurred.

A video is changed in one way from its first frame to its last, and in all its streams: what moves stays what moves.
"""

import hashlib
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from snn_action.video.settings import FrameAugmentSettings

FRAME_AUGMENT_VERSION = 1  # raise it when the same draw would give other frames
GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
MIDDLE = 127.5


@dataclass(frozen=True)
class FrameDraw:
    """How the frames of a video are changed.

    crop:   the part of the frame from (left, top), width and height as shares of the frame's
    flip:   left and right are exchanged
    color:  y = brightness * (127.5 + contrast * (x - 127.5)),  then  gray(y) + saturation * (y - gray(y))
    blur:   a Gaussian of deviation ``blur`` times the shorter side
    """

    left: float
    top: float
    width: float
    height: float
    flip: bool
    brightness: float
    contrast: float
    saturation: float
    blur: float

    @property
    def key(self) -> list[float | bool]:
        """What determines the frames, for the feature store."""
        return [FRAME_AUGMENT_VERSION, *astuple(self)]

    def apply(self, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The changed frame: ``(H, W, 3)`` uint8 in, a part of it ``(h, w, 3)`` uint8 out."""
        high, wide = frame.shape[:2]
        h, w = max(1, round(self.height * high)), max(1, round(self.width * wide))
        top, left = min(round(self.top * high), high - h), min(round(self.left * wide), wide - w)
        image = frame[top : top + h, left : left + w]
        if self.flip:
            image = image[:, ::-1]
        if (self.brightness, self.contrast, self.saturation) != (1.0, 1.0, 1.0):
            values = self.brightness * (MIDDLE + self.contrast * (image.astype(np.float32) - MIDDLE))
            gray = (values @ GRAY)[..., None]
            image = np.clip(np.rint(gray + self.saturation * (values - gray)), 0, 255).astype(np.uint8)
        image = np.ascontiguousarray(image)
        if self.blur:
            blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(self.blur * min(h, w)))
            image = np.array(blurred, np.uint8)
        return image


def draw_frames(settings: FrameAugmentSettings, seed: int, version: int, name: str, sided: bool) -> FrameDraw:
    """How a version of a video is changed; fixed by seed, version and name on every machine.

    Args:
        settings: What is changed, and by how much.
        seed: Of the draw.
        version: Its number, from 1.
        name: Of the video.
        sided: Left and right matter in this video: it is never mirrored.
    """

    def draw(what: str) -> float:
        digest = hashlib.sha256(f"{seed} {version} {what} {name}".encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    def vary(what: str, by: float) -> float:
        return float(1 + by * (2 * draw(what) - 1))

    width, height = (1 - settings.crop * draw(side) for side in ("width", "height"))
    return FrameDraw(
        left=draw("left") * (1 - width),
        top=draw("top") * (1 - height),
        width=width,
        height=height,
        flip=settings.flip and not sided and draw("flip") < 0.5,
        brightness=vary("brightness", settings.color),
        contrast=vary("contrast", settings.color),
        saturation=vary("saturation", settings.color),
        blur=settings.blur * draw("blur"),
    )
