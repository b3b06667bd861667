"""Videos that were cut into frames: a folder of ``frame000001.jpg``, ``frame000002.jpg``, ..."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from snn_action.errors import WorkError

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

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.files)

    def read(self, indices: Iterable[int]) -> Iterator[npt.NDArray[np.uint8]]:
        """Frames ``(H, W, 3)`` at increasing indices.

        Raises:
            WorkError: a file is no JPEG image, or its size differs from the first one's.
        """
        size = None
        for index in indices:
            file = self.files[index]
            try:
                with Image.open(file, formats=("JPEG",)) as image:
                    frame = np.asarray(image.convert("RGB"))
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise WorkError(f"{file}: cannot be decoded: {error}") from None
            size = size or frame.shape
            if frame.shape != size:
                raise WorkError(
                    f"{file}: {frame.shape[1]}x{frame.shape[0]}, but earlier frames are {size[1]}x{size[0]}"
                )
            yield frame


def open_frame_folder(path: Path) -> FrameFolder:
    """List a folder's frames; numbers begin at 0 or 1 and have no gap.

    Raises:
        WorkError: the folder holds no frames, or a number is missing or there twice.
    """
    numbered: dict[int, Path] = {}
    for file in path.iterdir():
        if match := _FRAME.fullmatch(file.name):
            number = int(match[1])
            if number in numbered:
                raise WorkError(f"{path}: frame {number} is there twice: {numbered[number].name} and {file.name}")
            numbered[number] = file
    if not numbered:
        raise WorkError(f"{path}: holds no frames (frame000001.jpg, frame000002.jpg, ...)")
    numbers = sorted(numbered)
    expected = range(min(numbers[0], 1), numbers[-1] + 1)
    if len(numbers) < len(expected):
        missing = next(number for number in expected if number not in numbered)
        raise WorkError(f"{path}: frame {missing} is missing, {len(numbers)} of {len(expected)} frames are there")
    return FrameFolder(path, tuple(numbered[number] for number in numbers))
