"""Where strips find their numbers: addresses in arrays, and copies in rows of 16 where an array has fewer (Numba).

A strip reads and writes 16 numbers at a time. Where fewer are left, they are copied to scratch rows and back. The loops
of ``loops`` call these functions; they are compiled into them.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from snn_action.snn.fused.cpu.vector import LANES

Array = npt.NDArray[np.float32]
_inline: Any = numba.njit(error_model="numpy", nogil=True)


@_inline
def make_scratch(rows: int) -> Array:
    """(rows, 16) zeros, on a boundary of 64 bytes.

    Numba frees an array that from here on is named by its address alone: touch it after its last use.
    """
    raw = np.zeros((rows + 1) * LANES, np.float32)
    start = (-(raw.ctypes.data // 4)) % LANES
    return raw[start : start + rows * LANES].reshape(rows, LANES)


@_inline
def take(source: Array, first: int, scratch: Array) -> None:
    """Copy 16 columns of (rows, B) into (rows, 16), those that there are; one column alone stands for all."""
    width = min(source.shape[1] - first, LANES)
    for t in range(source.shape[0]):
        if source.shape[1] == 1:
            scratch[t, :] = source[t, 0]
        elif width == LANES:
            for b in range(LANES):  # of constant length: one load, one store
                scratch[t, b] = source[t, first + b]
        else:
            for b in range(width):
                scratch[t, b] = source[t, first + b]


@_inline
def give(scratch: Array, first: int, target: Array) -> None:
    """Copy (rows, 16) to 16 columns of (rows, B), those that there are."""
    width = min(target.shape[1] - first, LANES)
    for t in range(target.shape[0]):
        if width == LANES:
            for b in range(LANES):
                target[t, first + b] = scratch[t, b]
        else:
            for b in range(width):
                target[t, first + b] = scratch[t, b]


@_inline
def place(array: Array, column: int = 0) -> Any:
    """The address of a column of the first row, a signed integer as all the rest."""
    return numba.int64(array.ctypes.data) + numba.int64(4 * column)


@_inline
def place_states(states: Array, e: int, first: int) -> Any:
    """The address of an ensemble's states from a clip on, or for all clips where these share them."""
    if states.size == 0:
        return 0
    return place(states[0, e], first if states.shape[3] > 1 else 0)
