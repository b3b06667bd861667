"""Pickles of the original project: read without running anything that is in them, written so that it can read them."""

import mmap
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.core.errors import WorkError
from snn_action.core.files import write_atomic
from snn_action.core.reading import reading
from snn_action.original_2020.unpickler import Unpickler

Array = npt.NDArray[Any]

_REFUSED = "the pickle is refused or broken"
_NUMBERS = {int, float, bool}
_DEEPEST = 32
_SHARED = 10_000_000  # values that a pickle may have beyond its bytes by naming a part more than once
_LARGEST = 2**34  # bytes of a file; ten times the features of UCF101


def read_array(path: str | Path) -> Array:
    """Numbers that were pickled as an array, or as lists (of lists, of arrays), as one array.

    Nothing in the file is called or imported. Files of numpy 1 and 2, protocols 0 to 5.

    Raises:
        ConfigError: the file is refused or broken, or holds something else than numbers in equal rows.
    """
    path = Path(path)
    with reading(path, _REFUSED):
        value, size = _load(path)
        if not isinstance(value, (list, tuple, np.ndarray)):
            raise ValueError(f"an array or nested lists of numbers are wanted, not {type(value).__name__}")
        if _count(value, {}, 0) > size + _SHARED:
            raise ValueError("it describes far more values than it has bytes, by repeating itself")
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"its lists make no array; are they of equal lengths? {error}") from None
        if array.dtype.kind not in "biuf":
            raise ValueError(f"numbers are wanted, not {array.dtype}")
    return array


def read_names(path: str | Path) -> tuple[str, ...]:
    """A pickled list (or array) of names, in its order.

    Raises:
        ConfigError: the file is refused or broken, or holds something else.
    """
    path = Path(path)
    with reading(path, _REFUSED):
        value, _ = _load(path)
        if isinstance(value, np.ndarray) and value.ndim == 1:
            value = value.tolist()
        if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) for name in value):
            raise ValueError(f"a list of names is wanted, not {type(value).__name__}")
    return tuple(value)


def write_pickle(path: str | Path, array: Array) -> None:
    """Write an array as numpy 1.17 would (names in ``numpy.core``, protocol 4), so that the original can read it.

    The file is complete or not there.

    Raises:
        WorkError: the file cannot be written.
    """
    path = Path(path)
    content = np.asarray(array, order="C")
    if content.dtype.kind not in "biuf":
        raise ValueError(f"only arrays of numbers are written, not {content.dtype}")
    pickled = memoryview(pickle.dumps(content, 4))
    start = bytes(pickled[11:64]).replace(b"\x16numpy._core.", b"\x15numpy.core.")  # text begins with its length
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # without the first frame (9 bytes), whose length would be another one; no pickle needs frames
        write_atomic(path, b"".join((pickled[:2], start, pickled[64:])))
    except OSError as error:
        raise WorkError(f"{path}: cannot be written: {error.strerror}") from error


def write_pickles(data: str | Path, labels: str | Path, features: Array, classes: Array) -> None:
    """Write one side of a split as the original does: features ``(V, T, D)`` float64, labels ``(V, T, 1)`` int64.

    Args:
        data: File of the features (``train_data`` or ``test_data``).
        labels: File of the labels (``train_labels`` or ``test_labels``).
        features: Features of all videos ``(V, T, D)``.
        classes: Class of each video ``(V,)``; the file repeats it at every time step.

    Raises:
        WorkError: a file cannot be written.
    """
    videos, steps, _ = features.shape
    if classes.shape != (videos,):
        raise ValueError(f"{videos} videos, but classes of shape {classes.shape}")
    write_pickle(data, features.astype(np.float64, copy=False))
    write_pickle(labels, np.tile(classes.astype(np.int64)[:, None, None], (1, steps, 1)))


def _load(path: Path) -> tuple[Any, int]:
    """The value of a pickle and the size of its file."""
    if not (size := path.stat().st_size):
        raise ValueError("it is empty: 0 bytes")
    if size > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST:,} bytes")
    with path.open("rb") as file:
        return Unpickler(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)).load(), size


def _count(value: Any, counted: dict[int, int], depth: int) -> int:
    """How many values it has, a shared part counted each time."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise ValueError(f"numbers are wanted, not {value.dtype}")
        return 1 + value.size
    if not isinstance(value, (list, tuple)):
        if type(value) not in _NUMBERS:
            raise ValueError(f"numbers are wanted, not {type(value).__name__}")
        return 1
    if depth > _DEEPEST:  # or it contains itself
        raise ValueError(f"it is nested more than {_DEEPEST} deep, or contains itself")
    if id(value) not in counted:
        is_plain = set(map(type, value)) <= _NUMBERS
        counted[id(value)] = 1 + (len(value) if is_plain else sum(_count(part, counted, depth + 1) for part in value))
    return counted[id(value)]
