"""Pickles of the original project: read without running anything that is in them, written so that it can read them."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.files import write_atomic
from snn_action.original_2020.instructions import run
from snn_action.original_2020.numpy_pickle import PickledArray, PickleError

Array = npt.NDArray[Any]

_PLAIN = frozenset({int, float, bool, str, bytes, type(None)})
_NUMBERS = frozenset({int, float, bool, np.ndarray})
_DEEPEST = 32
_SHARED = 10_000_000  # values that a pickle may have beyond its bytes by naming a part more than once


def read_pickle(path: str | Path) -> Any:
    """The content of a pickle of plain containers, numbers, text and numpy arrays of numbers or text.

    Nothing in the file is called or imported; any other name in it is refused. Byte arrays become bytes, numpy
    numbers Python's. Files of numpy 1 and 2, protocols 0 to 5.

    Raises:
        ConfigError: names the file, and what in it is refused or broken.
    """
    return _read(Path(path))[0]


def read_array(path: str | Path) -> Array:
    """Numbers that were pickled as an array, or as lists (of lists, of arrays), as one array.

    Raises:
        ConfigError: the file is refused or broken, or holds something else than numbers in equal rows.
    """
    path = Path(path)
    value, kinds = _read(path)
    if not kinds <= _NUMBERS or not isinstance(value, (list, tuple, np.ndarray)):
        raise ConfigError(f"{path}: must hold an array or nested lists of numbers, found {_name_kinds(value, kinds)}")
    try:
        array = np.asarray(value)
    except (ValueError, MemoryError) as error:
        raise ConfigError(f"{path}: its lists do not make an array; are they of equal lengths? ({error})") from None
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{path}: must hold numbers, found {array.dtype}")
    return array


def read_names(path: str | Path) -> tuple[str, ...]:
    """A pickled list (or array) of names, in its order.

    Raises:
        ConfigError: the file is refused or broken, or holds something else.
    """
    value, kinds = _read(Path(path))
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "U":
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{path}: must hold a list of names, found {_name_kinds(value, kinds)}")
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, b"".join((_header(content), content.tobytes(), b"tb.")))
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


def _header(array: Array) -> bytes:
    """The instructions before an array's content; ``tb.`` ends them."""

    def integer(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    def text(value: str) -> bytes:
        return b"\x8c" + struct.pack("<B", len(value)) + value.encode()

    kind = text(array.dtype.str[1:])
    state = b"(K\x03" + text(array.dtype.str[0]) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    return (
        b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        + (b"(K\x01(" + b"".join(map(integer, array.shape)) + b"t")
        + (b"cnumpy\ndtype\n" + kind + b"\x89\x88\x87R" + state + b"b")
        + (b"\x89\x8e" + struct.pack("<Q", array.nbytes))
    )


def _read(path: Path) -> tuple[Any, set[type]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if not data:
        raise ConfigError(f"{path}: the pickle is empty (0 bytes)")
    walk = _Walk()
    try:
        value, count = walk.finish(run(data), 0)
        if count > len(data) + _SHARED:
            raise PickleError(f"describes {count} values in {len(data)} bytes, by repeating itself; refused")
    except PickleError as error:
        raise ConfigError(f"{path}: the pickle {error}") from None
    except MemoryError:
        raise ConfigError(f"{path}: the pickle does not fit into memory") from None
    return value, walk.kinds


def _name_kinds(value: Any, kinds: set[type]) -> str:
    inside = ", ".join(sorted(kind.__name__ for kind in kinds))
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"{type(value).__name__} of {inside or 'nothing'}"
    return f"array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


class _Walk:
    """Goes through what was read: puts arrays in place, counts values, refuses what is not data."""

    def __init__(self) -> None:
        self.kinds: set[type] = set()
        self.done: dict[int, tuple[Any, int] | None] = {}
        self.kept: list[Any] = []  # an id is an object's own only while the object lives

    def finish(self, value: Any, depth: int) -> tuple[Any, int]:
        """The value with its arrays, and how many values it has, a shared part counted each time."""
        kind = type(value)
        if kind in _PLAIN:
            self.kinds.add(kind)
            return value, 1
        if kind is memoryview:
            self.kinds.add(bytes)
            return bytes(value), 1
        if kind is PickledArray:
            if value.array is None:
                raise PickleError("is broken: holds an array without content")
            self.kinds.add(np.ndarray if value.array.dtype.kind != "U" else str)
            return value.array, 1 + value.array.size
        if kind not in (list, tuple, dict, set, frozenset):
            raise PickleError("is no data: holds a function or type")
        if depth > _DEEPEST:
            raise PickleError(f"is nested more than {_DEEPEST} deep")
        if id(value) not in self.done:
            self.done[id(value)] = None
            self.kept.append(value)
            self.done[id(value)] = self._finish_container(value, depth + 1)
        if (found := self.done[id(value)]) is None:
            raise PickleError("holds a list that contains itself")
        return found

    def _finish_container(self, value: Any, depth: int) -> tuple[Any, int]:
        members = value.values() if type(value) is dict else value
        kinds = set(map(type, members))
        if kinds <= _PLAIN:
            self.kinds |= kinds
            return value, 1 + len(value)
        finished = [self.finish(member, depth) for member in members]
        count = 1 + sum(inner for _, inner in finished)
        contents = [member for member, _ in finished]
        if type(value) is dict:
            return dict(zip(value, contents, strict=True)), count
        return type(value)(contents), count
