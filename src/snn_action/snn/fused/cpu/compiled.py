"""Functions that Numba compiles before they are called, kept on disk.

Numba keeps machine code by the file of a function alone; what it calls may stand in other files too. So the name under
which it is kept has a digest of all of them.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from snn_action.core.reading import explain
from snn_action.snn.fused.cpu import cache
from snn_action.snn.fused.cpu.vector import LANES

logger = logging.getLogger(__name__)
settings: Any = numba.config


def compile_function(signature: Any, *files: str) -> Callable[[Any], Any]:
    """A decorator that compiles a function for ``signature``, or takes it from the folder where such are kept.

    ``files`` of this package hold the function and all that is compiled into it.
    """
    sources = b"".join(Path(__file__).with_name(name).read_bytes() for name in files) + bytes([LANES])
    digest = hashlib.sha256(sources).hexdigest()[:16]

    def compile_now(function: Any) -> Any:
        function.__qualname__ += f"_{digest}"
        folder, usual = cache.find_folder("numba"), settings.CACHE_DIR
        if folder is not None:
            settings.CACHE_DIR = str(folder)
            try:
                with cache.private_files():
                    try:
                        return _make(signature, function, cache=True)
                    except OSError:  # the disk is full
                        raise
                    except Exception as error:  # what is kept is broken: reading it may raise nearly anything
                        logger.warning("%s: %s is compiled again (%s)", folder, function.__name__, explain(error))
                        cache.discard(folder, f"*.{function.__qualname__}-*")
                        return _make(signature, function, cache=True)
            except (OSError, RuntimeError) as error:  # or there is no source file
                cache.say(str(error))
            finally:
                settings.CACHE_DIR = usual
        return _make(signature, function)

    return compile_now


def _make(signature: Any, function: Any, **options: Any) -> Any:
    return numba.njit(signature, error_model="numpy", nogil=True, **options)(function)
