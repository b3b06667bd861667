"""Files of arrays and tensors (``.npz``, ``.pth``, ``.safetensors``): read without running code that is in them.

All of them are read here, so that no pickle is ever trusted and no small file fills the memory.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

_INFLATED = 2**30  # bytes that any archive may inflate to; a larger one to so many times its own size
_RATIO = 200


def load_tensors(path: Path, mapped: bool = False) -> Any:
    """What a ``.safetensors`` file, or any other that PyTorch wrote, holds, on the CPU. To be called in ``reading``.

    Args:
        path: The file; a ``.safetensors`` one is told by its suffix.
        mapped: Map the file into memory where its format allows, instead of copying it.

    Raises:
        Exception: of nearly any kind, where the file is broken or holds more than tensors and plain values.
    """
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    is_archive = zipfile.is_zipfile(path)  # files of PyTorch before 1.6 are none, and cannot be mapped
    if is_archive:
        check_inflation(path, ratio=1, least=0)  # PyTorch does not compress
    # said here, so that TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD changes nothing
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_archive)


def is_plain(value: object) -> bool:
    """Whether this is a tensor of numbers in memory: not sparse, quantized, complex or without content."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex() or value.is_nested)
    )


@contextmanager
def open_arrays(path: Path) -> Iterator[Any]:
    """What numpy reads in an ``.npz`` or ``.npy`` file. To be used in ``reading``.

    Raises:
        Exception: of nearly any kind, where the file is broken or holds Python objects.
    """
    if zipfile.is_zipfile(path):
        check_inflation(path)
    with path.open("rb") as file:
        yield np.load(file, allow_pickle=False)


def check_inflation(path: Path, ratio: int = _RATIO, least: int = _INFLATED) -> None:
    """Nothing, where the parts of a zip archive are not much larger than the archive.

    Raises:
        ValueError: they are.
        zipfile.BadZipFile: it is broken.
    """
    with zipfile.ZipFile(path) as archive:
        inflated = sum(part.file_size for part in archive.infolist())
    size = path.stat().st_size
    if inflated > max(least, ratio * size):
        raise ValueError(f"its {size:,} bytes would inflate to {inflated:,}, which is refused")
