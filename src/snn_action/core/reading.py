"""Reading files that anybody may have made: whatever goes wrong in one is one error, which names it.

Only regular files are opened: a pipe would keep the reader waiting for ever, a device may do anything.
"""

import errno
import json
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snn_action.core.errors import ConfigError, WorkError, printable
from snn_action.core.files import NOT_REGULAR, check_regular

TEXT_SIZE = 2**28  # bytes of a text file, which is read at once
_DEEPEST = 64  # levels of a JSON document
# libraries advise to read a file that they refuse with the protection off
_ADVICE = re.compile(r"weights_only|allow_pickle|max_header_size|set_int_max_str_digits|safe_globals")


@contextmanager
def naming(
    path: Path,
    what: str = "cannot be read",
    error: Callable[[str], Exception] = ConfigError,
    way_out: str = "",
) -> Iterator[None]:
    """Whatever a library raises inside becomes one error that names the file; our own errors pass.

    Args:
        path: The file that is read.
        what: The message for what the system does not refuse, such as ``"not a table"``; the reason follows.
        error: Makes the error from its message.
        way_out: Put at the end of a message of the system, such as ``"; set dataset.path"``.

    Raises:
        ConfigError: or what ``error`` makes.
    """
    try:
        yield
    except (ConfigError, WorkError):
        raise
    except Exception as caught:  # a broken file makes a library raise nearly anything
        wrong = isinstance(caught, OSError) and caught.errno == errno.EINVAL  # a place before the file's start
        if isinstance(caught, OSError) and caught.strerror and (not wrong or caught.strerror == NOT_REGULAR):
            raise error(f"{path}: cannot be read: {caught.strerror}{way_out}") from None
        raise error(f"{path}: {what} ({explain(caught)})") from None


@contextmanager
def reading(
    path: Path,
    what: str = "cannot be read",
    error: Callable[[str], Exception] = ConfigError,
    way_out: str = "",
) -> Iterator[None]:
    """As ``naming``, for a path that must be a regular file.

    Raises:
        ConfigError: or what ``error`` makes; also where there is no file, or a pipe, a socket or a device.
    """
    with naming(path, what, error, way_out):
        check_regular(path, path.stat().st_mode)
        yield


def explain(error: BaseException) -> str:
    """What a library says, on one line, without its advice to switch a protection off."""
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, pickle.UnpicklingError):  # PyTorch's is a page on how to read the file all the same
        return "it holds more than tensors and plain values, or is damaged"
    first = next(iter(str(error).strip().splitlines()), "")
    said = [part for part in re.split(r"(?<=[.;])\s+", first) if not _ADVICE.search(part)]
    text = printable(" ".join(said)[:300].strip(" ;:"))
    if isinstance(error, OSError | ValueError | RuntimeError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def read_text(path: Path, most: int = TEXT_SIZE) -> str:
    """A text file in UTF-8, without its byte order mark. To be called within ``reading``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too long, or no text in UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content.decode("utf-8-sig")


def parse_json(text: str) -> Any:
    """The value of a JSON document whose objects have each key once.

    Raises:
        ValueError: it is not JSON, or it is nested more than 64 deep.
    """
    try:
        value = json.loads(text, object_pairs_hook=_make_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"it is nested more than {_DEEPEST} deep") from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} is there twice")
    return made


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
