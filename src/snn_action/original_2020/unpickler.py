"""Python's own unpickler, cut down to lists, tuples, numbers, text and numpy arrays of them; no code of a file is run.

It is ``pickle``'s implementation in Python: that in C (before Python 3.14) lets a file of some bytes ask for any amount
of memory by the index of a memo. Here each instruction takes memory in proportion to its bytes. Instructions that the
data needs not are taken out, and each name stands for a function of this module: numpy's own trust what they are given.
"""

import math
import mmap
import pickle
import re
import struct
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_PYTHON: Any = pickle._Unpickler
_REFUSED = {
    getattr(pickle, name)[0]: name
    for name in (
        *("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"),  # any class or function
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),  # keys may take forever to hash
        *("EMPTY_SET", "ADDITEMS", "FROZENSET"),
        *("NEXT_BUFFER", "READONLY_BUFFER"),  # what is not in the file
    )
}
_BYTE_ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")
_TYPE = re.compile(r"b1|[iu][1248]|f[248]|[US][1-9]\d{0,5}")
_FLOATS = re.compile(rb"(?:G.{8}){1,1000}+", re.DOTALL)
_FLOAT = np.dtype([("instruction", "u1"), ("value", ">f8")])


class _Instructions(dict[int, Callable[[Any], None]]):
    def __missing__(self, code: int) -> None:
        if code in _REFUSED:
            raise ValueError(f"the instruction {_REFUSED[code]} is refused: lists and arrays of numbers need it not")
        raise ValueError("it is broken, or no pickle")


class Unpickler(_PYTHON):  # type: ignore[misc]
    """Reads one pickle of protocol 0 to 5, of numpy 1 or 2.

    Args:
        file: The file, mapped into memory, so that a stated length beyond its end takes none.
    """

    def __init__(self, file: mmap.mmap) -> None:
        super().__init__(file)
        self._file = file

    def load(self) -> Any:
        """The value.

        Raises:
            ValueError: the pickle is broken, or asks for what is refused.
        """
        try:
            return super().load()
        except (EOFError, LookupError, TypeError, AttributeError, struct.error, pickle.UnpicklingError):
            raise ValueError("it is broken: cut off, or no pickle") from None

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name."""
        if (full := f"{module}.{name}") not in _NAMES:
            raise ValueError(
                f"the name {full[:100]!r} is refused: only lists and numpy arrays of numbers or text are read; "
                "do not open this file with anything else"
            )
        return _NAMES[full]

    def _load_floats(self) -> None:
        """A float, and all that follow it at once: nested lists consist of them."""
        found = _FLOATS.match(self._file, self._file.tell() - 1)
        if not found:
            raise EOFError
        self.stack.extend(np.frombuffer(found[0], _FLOAT)["value"].tolist())
        self._file.seek(found.end())

    def _load_state(self) -> None:
        """The byte order of a type, or the content of an array: their second halves."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(state) is not tuple or not isinstance(target, (np.dtype, np.ndarray)):
            raise ValueError("it is broken: the state of something else than an array")
        setter: Any = target
        if isinstance(target, np.ndarray):
            _, shape, kind, is_fortran, content = state
            array = _make_array(content, kind, shape, "F" if is_fortran else "C")
            setter.__setstate__((1, array.shape, array.dtype, bool(is_fortran), content))
            return
        known = [target.newbyteorder(order).__reduce__()[2] for order in _BYTE_ORDERS]
        if not (right := [ours for ours in known if ours[:5] == state[:5]]):
            raise ValueError("an array of a structured type; only booleans, numbers and text are read")
        setter.__setstate__(right[0])

    def _pass_frame(self) -> None:
        self.read(8)  # the file is in memory: no frame has to be read ahead

    dispatch = _Instructions(
        {code: load for code, load in _PYTHON.dispatch.items() if code not in _REFUSED}
        | {
            pickle.BINFLOAT[0]: _load_floats,
            pickle.BUILD[0]: _load_state,
            pickle.FRAME[0]: _pass_frame,
            pickle.BYTEARRAY8[0]: _PYTHON.dispatch[pickle.BINBYTES8[0]],  # takes no memory before it reads
        }
    )


def _make_type(code: str, *_: Any) -> "np.dtype[Any]":
    if code.startswith("O"):
        raise ValueError("an array of Python objects (lists of unequal lengths become one); save numbers")
    if not _TYPE.fullmatch(code):
        raise ValueError(f"an array of type {code[:20]!r}; only booleans, numbers and text are read")
    return np.dtype(code, copy=True)  # its byte order will be set


def _make_array(content: Any, kind: Any, shape: Any, order: Any = "C") -> Array:
    if not isinstance(content, bytes) or not isinstance(kind, np.dtype):
        raise ValueError("an array whose content is not bytes")
    if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("an array whose shape is not a tuple of sizes")
    if (needed := math.prod(shape) * kind.itemsize) != len(content):
        raise ValueError(f"an array {shape} of {kind}, {needed} bytes, but {len(content)} bytes of content")
    if kind.kind == "U":  # numpy would make text of characters that do not exist
        content.decode("utf-32-be" if kind.str[0] == ">" else "utf-32-le", "surrogatepass")
    return np.ndarray(shape, kind, content, order=order)


def _encode(text: str, encoding: str) -> bytes:
    """Protocol 2 has no bytes; it writes them as text to be encoded."""
    if encoding != "latin1":
        raise ValueError("bytes in an encoding that pickle does not write")
    return text.encode("latin1")


_NAMES: dict[str, Any] = {
    "numpy.ndarray": None,  # is only handed on
    "numpy.dtype": _make_type,
    "_codecs.encode": _encode,
    "builtins.bytes": lambda: b"",
    "__builtin__.bytes": lambda: b"",
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")  # numpy 1 and numpy 2
        for name, function in (
            ("multiarray._reconstruct", lambda *_: np.empty(0)),
            ("multiarray.scalar", lambda kind, content: _make_array(content, kind, ()).item()),
            ("numeric._frombuffer", _make_array),
        )
    },
}
