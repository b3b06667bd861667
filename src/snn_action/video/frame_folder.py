"""Videos that were cut into frames: a folder of ``frame000001.jpg``, ``frame000002.jpg``, ..."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from snn_action.core.errors import VideoError
from snn_action.core.files import open_regular
from snn_action.core.reading import naming
from snn_action.video.limits import check_size
from snn_action.video.settings import LimitSettings

_FRAME = re.compile(r"frame(\d+)\.jpe?g", re.IGNORECASE)


def is_frame_folder(path: Path) -> bool:
    """Whether a folder holds at least one ``frame<number>.jpg``."""
    with os.scandir(path) as entries:
        return any(_FRAME.fullmatch(entry.name) for entry in entries)


@dataclass(frozen=True)
class FrameFolder:
    """The frames of one video, in the order of their numbers."""

    path: Path
    files: tuple[Path, ...]
    limits: LimitSettings

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.files)

    def read(self, indices: Iterable[int]) -> Iterator[npt.NDArray[np.uint8]]:
        """Frames ``(H, W, 3)`` at increasing indices.

        Raises:
            VideoError: a file is no JPEG image, of absurd size, or of another than the first one.
        """
        size = None
        for index in indices:
            file = self.files[index]
            with (
                naming(file, "cannot be decoded", _damaged),
                open_regular(file) as opened,
                Image.open(opened, formats=("JPEG",)) as image,
            ):
                check_size(file, image.width, image.height, self.limits)
                frame = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            size = size or frame.shape
            if frame.shape != size:
                raise VideoError(
                    f"{file}: {frame.shape[1]}x{frame.shape[0]}, but earlier frames are {size[1]}x{size[0]}",
                    "damaged",
                )
            yield frame


def _damaged(message: str) -> VideoError:
    return VideoError(message, "damaged")


def open_frame_folder(path: Path, limits: LimitSettings) -> FrameFolder:
    """List a folder's frames; numbers begin at 0 or 1 and have no gap.

    Raises:
        VideoError: the folder cannot be read or holds no frames, or a number is missing or there twice.
    """
    numbered: dict[int, Path] = {}
    try:
        files = [*path.iterdir()]
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}", "unreadable") from None
    for file in files:
        if match := _FRAME.fullmatch(file.name):
            number = int(match[1])
            if number in numbered:
                names = f"{numbered[number].name} and {file.name}"
                raise VideoError(f"{path}: frame {number} is there twice: {names}", "gap")
            numbered[number] = file
    if not numbered:
        raise VideoError(f"{path}: holds no frames (frame000001.jpg, frame000002.jpg, ...)", "no frames")
    numbers = sorted(numbered)
    expected = range(min(numbers[0], 1), numbers[-1] + 1)
    if len(numbers) < len(expected):
        missing = next(number for number in expected if number not in numbered)
        there = f"{len(numbers)} of {len(expected)} frames are there"
        raise VideoError(f"{path}: frame {missing} is missing, {there}", "gap")
    return FrameFolder(path, tuple(numbered[number] for number in numbers), limits)
