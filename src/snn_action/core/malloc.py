"""Keeps the C library from giving memory back and asking for it again, thousands of times a second.

A network on the CPU allocates and frees tens of megabytes at every layer. glibc takes each such block fresh from the
kernel and returns it, and the kernel clears every page again: that can cost more than the arithmetic. While large
blocks are kept, they are used again.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT = 2**30
_USUAL = 2**25  # what glibc's own thresholds grow to under such a load

_lock = threading.Lock()
_inside = 0  # how many, in all threads


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """While anybody is inside, freed blocks up to 1 GiB stay; when the last one leaves, they are given back.

    It may be entered again inside itself, and by several threads. Only on Linux with glibc; elsewhere it does nothing.
    """
    global _inside
    library = _find_library()
    if library is None:
        yield
        return
    with _lock:
        if _inside == 0:
            library.mallopt(_MMAP_THRESHOLD, _KEPT)
            library.mallopt(_TRIM_THRESHOLD, _KEPT)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                library.mallopt(_MMAP_THRESHOLD, _USUAL)
                library.mallopt(_TRIM_THRESHOLD, 2 * _USUAL)
                library.malloc_trim(0)


def _find_library() -> Any:
    """The C library, if it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
