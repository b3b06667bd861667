"""Frames that are in memory already, as a source of frames like a file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.video.decode import Frame


@dataclass(frozen=True)
class FrameArray:
    """Frames ``(T, H, W, 3)`` uint8 RGB."""

    frames: Frame

    @property
    def n_frames(self) -> int:
        """T."""
        return len(self.frames)

    def read(self, indices: Iterable[int]) -> Iterator[Frame]:
        """Frames ``(H, W, 3)`` at ``indices``."""
        return (self.frames[index] for index in indices)


def read_array(frames: Any) -> FrameArray:
    """Check frames (T, H, W, 3) uint8 RGB: an array, a tensor on any device, or a sequence of images of one size.

    Raises:
        ConfigError: they have another shape or type, or there are none.
    """
    try:
        array = frames.detach().cpu().numpy() if isinstance(frames, Tensor) else np.asarray(frames)
    except (TypeError, ValueError):  # images of several sizes
        array = np.empty(0, object)
    if array.dtype != np.uint8:
        raise ConfigError(f"frames must be uint8 RGB values from 0 to 255 of one size, not {array.dtype}")
    if array.ndim != 4 or array.shape[3] != 3 or 0 in array.shape:
        raise ConfigError(f"frames must be (T, height, width, 3), not {array.shape}")
    return FrameArray(array)
