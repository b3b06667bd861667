"""Keeps the C library from giving memory back and asking for it again, thousands of times a second.

A network on the CPU allocates and frees tens of megabytes at every layer. glibc takes each such block fresh from the
kernel and returns it, and the kernel clears every page again: that can cost more than the arithmetic. While large
blocks are kept, they are used again.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT = 2**30
_USUAL = 2**25  # what glibc's own thresholds grow to under such a load


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """While inside, freed blocks up to 1 GiB stay with the process; after, they are given back.

    Only on Linux with glibc; elsewhere it does nothing.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _KEPT)
    library.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _USUAL)
        library.mallopt(_TRIM_THRESHOLD, 2 * _USUAL)
        library.malloc_trim(0)
