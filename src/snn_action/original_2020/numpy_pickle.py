"""What a pickle may ask for by name: numpy's arrays, numbers and types, and a few plain containers.

A pickle names functions and calls them. None of them is looked up here: each name stands for a function of this
module that builds the same value and checks what it is given. numpy's own functions are not used, because they
trust a pickle: a forged type makes them read addresses from the file.
"""

import math
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_TYPE_CODE = re.compile(r"b1|[iu][1248]|f[248]|[US]\d{1,6}")
_BYTE_ORDERS = ("<", ">", "=", "|")


class PickleError(ValueError):
    """Why a pickle is not read."""


class Marker:
    """A class of numpy that stands in a pickle only to be handed on."""


class PickledType:
    """A numpy type; its byte order comes in a second step."""

    def __init__(self, code: Any, *_: Any) -> None:
        if isinstance(code, str) and code.startswith("O"):
            raise PickleError("holds an array of Python objects (lists of unequal lengths become one); save numbers")
        if not isinstance(code, str) or not _TYPE_CODE.fullmatch(code):
            shown = code[:20] if isinstance(code, str) else type(code).__name__
            raise PickleError(f"holds an array of type {shown!r}; only booleans, numbers and text are read")
        self.code = code
        self.order = "="

    def set_state(self, state: Any) -> None:
        """Take the byte order from numpy's state ``(version, order, subtype, names, fields, ...)``."""
        if type(state) is not tuple or len(state) < 5 or state[1] not in _BYTE_ORDERS or any(state[2:5]):
            raise PickleError("holds an array of a structured type; only booleans, numbers and text are read")
        self.order = state[1]

    def make(self) -> "np.dtype[Any]":
        """The type."""
        return np.dtype(self.code if self.order == "|" else self.order + self.code)


class PickledArray:
    """A numpy array; its content comes in a second step."""

    def __init__(self, *_: Any) -> None:
        self.array: Array | None = None

    def set_state(self, state: Any) -> None:
        """Take the content from numpy's state ``(version, shape, type, is_fortran, bytes)``."""
        if type(state) is not tuple or len(state) != 5:
            raise PickleError("holds an array whose state is not numpy's")
        self.array = _make_array(state[4], state[2], state[1], "F" if state[3] else "C")


def _make_array(content: Any, kind: Any, shape: Any, order: Any) -> Array:
    if not isinstance(content, (bytes, memoryview)) or not isinstance(kind, PickledType) or order not in ("C", "F"):
        raise PickleError("holds an array whose content is not bytes")
    if type(shape) is not tuple or len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise PickleError("holds an array whose shape is not a tuple of sizes")
    dtype = kind.make()
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(content):
        raise PickleError(f"holds an array {shape} of {kind.code}, {needed} bytes, but {len(content)} bytes of content")
    if not needed:
        return np.zeros(shape, dtype)
    if (
        dtype.kind == "U"
        and int(np.frombuffer(content, np.dtype("u4").newbyteorder(dtype.byteorder)).max()) > sys.maxunicode
    ):
        raise PickleError("is broken: holds an array of text with characters that do not exist")
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _array_from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> PickledArray:
    made = PickledArray()
    made.array = _make_array(content, kind, shape, order)
    return made


def _make_scalar(kind: Any, content: Any) -> Any:
    return _make_array(content, kind, (), "C").item()


def _encode(text: Any, encoding: Any) -> bytes:
    """Protocol 2 has no bytes; it writes them as text to be encoded."""
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleError("holds bytes in an encoding that pickle does not write")
    return text.encode("latin1")


def _make_bytes(content: Any = b"") -> bytes:
    if not isinstance(content, (bytes, memoryview)):
        raise PickleError("holds bytes made of something else")
    return bytes(content)


def _make_set(content: Any = ()) -> frozenset[Any]:
    if not isinstance(content, (list, tuple)):
        raise PickleError("holds a set made of something else than a list")
    return frozenset(map(check_key, content))


def check_key(key: Any) -> Any:
    """A key of a dictionary or member of a set, if it is plain: tuples nested in themselves take forever to hash."""
    if type(key) not in (str, bytes, int, float, bool, type(None)):
        raise PickleError("holds a dictionary or set of something else than numbers and text")
    return key


ADMITTED: dict[str, Callable[..., Any] | Marker] = {
    "numpy.ndarray": Marker(),
    "numpy.dtype": PickledType,
    "_codecs.encode": _encode,
    **{
        f"numpy.{core}.{name}": maker
        for core in ("core", "_core")  # numpy 1 and numpy 2
        for name, maker in (
            ("multiarray._reconstruct", PickledArray),
            ("multiarray.scalar", _make_scalar),
            ("numeric._frombuffer", _array_from_buffer),
        )
    },
    **{
        f"{builtins}.{name}": maker
        for builtins in ("builtins", "__builtin__")  # protocols 3 and up, and below
        for name, maker in (
            ("bytes", _make_bytes),
            ("bytearray", _make_bytes),
            ("set", _make_set),
            ("frozenset", _make_set),
        )
    },
}
