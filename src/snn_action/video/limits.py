"""A video that would take absurd memory or time is refused by its size, before it is decoded (a decompression bomb)."""

from pathlib import Path

from snn_action.core.errors import VideoError
from snn_action.video.settings import LimitSettings

HIGHEST_RATE = 1000  # frames a second: one that a file claims to be higher hides how many frames it has


def check_size(path: Path, width: int, height: int, limits: LimitSettings) -> None:
    """Nothing, where a frame of ``width`` x ``height`` is within the limit.

    Raises:
        VideoError: names the file, its size and the key of the limit.
    """
    if width * height > limits.pixels:
        raise VideoError(
            f"{path}: absurd size: frames of {width}x{height}, {width * height:,} pixels; "
            f"features.limits.pixels allows {limits.pixels:,}",
            "absurd size",
        )


def check_length(path: Path, seconds: float, frames: int, limits: LimitSettings) -> None:
    """Nothing, where a video of ``seconds`` and ``frames`` is within the limit.

    Raises:
        VideoError: names the file, its length and the key of the limit.
    """
    if max(seconds, frames / HIGHEST_RATE) > limits.seconds:
        raise VideoError(
            f"{path}: absurd size: {frames:,} frames over {seconds:,.0f} s; "
            f"features.limits.seconds allows {limits.seconds:,.0f}",
            "absurd size",
        )
