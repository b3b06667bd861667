"""Fused loops on the CPU (Numba): an ensemble array over all time steps, its ensembles shared out among threads.

See ``spiking_rectified_linear`` for the equations. The clips of a batch lie side by side, 16 in a vector; a few neurons
of 16 clips keep their voltages in registers over all steps. Each ensemble is summed in the same order whatever the
number of threads. Backward passes compute the spikes again.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from snn_action.kernels import spiking_rectified_linear as srl
from snn_action.kernels.vector import LANES

NEURONS_MULTIPLE = math.lcm(srl.TOGETHER, srl.TOGETHER_BACKWARD)  # of an ensemble's neurons

Array = npt.NDArray[np.float32]
_inline: Any = numba.njit(cache=True, error_model="numpy")
_CUBE, _MATRIX = numba.float32[:, :, ::1], numba.float32[:, ::1]
_GIVEN = (_CUBE, _MATRIX, _MATRIX, _MATRIX, _CUBE, _MATRIX, numba.boolean)


# Numba keeps machine code on disk by the file of a function alone; what is called here stands in others too
_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()


def _parallel(*types: Any) -> Any:
    def compile_function(function: Any) -> Any:
        function.__qualname__ += f"_{_SOURCES[:16]}"
        return numba.njit(numba.void(*_GIVEN, *types), cache=True, error_model="numpy", parallel=True)(function)

    return compile_function


@_inline
def _room(rows: int) -> Array:
    """(rows, 16), on a boundary of 64 bytes."""
    raw = np.empty((rows + 1) * LANES, np.float32)
    start = (-(raw.ctypes.data // 4)) % LANES
    return raw[start : start + rows * LANES].reshape(rows, LANES)


@_inline
def _take(source: Array, first: int, room: Array) -> None:
    """Copy 16 clips of (rows, B) into (rows, 16), beyond the last clip zeros; one clip alone stands for all."""
    width = source.shape[1] - first
    for t in range(source.shape[0]):
        if source.shape[1] == 1:
            room[t, :] = source[t, 0]
        elif width >= LANES:
            for b in range(LANES):  # of constant length: one load, one store
                room[t, b] = source[t, first + b]
        else:
            room[t, :] = 0
            for b in range(width):
                room[t, b] = source[t, first + b]


@_inline
def _give(room: Array, first: int, target: Array) -> None:
    """Copy (rows, 16) to 16 clips of (rows, B), those that there are."""
    width = target.shape[1] - first
    for t in range(target.shape[0]):
        if width >= LANES:
            for b in range(LANES):
                target[t, first + b] = room[t, b]
        else:
            for b in range(width):
                target[t, first + b] = room[t, b]


@_parallel(_CUBE, _MATRIX, _CUBE)
def forward(
    x: Array, gain: Array, bias: Array, decoders: Array, before: Array, real: Array, rates: bool,
    decoded: Array, counts: Array, after: Array,
) -> None:  # fmt: skip
    """Write decoded values (E, T, B), spike counts (E, B) and voltages (E, N, B) after the last step.

    ``gain``, ``bias`` and ``decoders`` are (E, N), N a multiple of ``NEURONS_MULTIPLE``; ``before`` is (E, N, B), or
    (E, N, 1) for all clips. ``real`` (T, B) is 1 on real steps and 0 on padding, empty where every step is real. With
    ``rates``, ``n_t = max(c_t, 0)`` and voltages stay as they are.
    """
    ensembles, steps, batch = x.shape
    neurons = gain.shape[1]
    masked = real.size > 0
    for e in numba.prange(ensembles):
        values, mask, sums, v, count = _room(steps), _room(steps), _room(steps), _room(neurons), _room(1)
        xs, ms, ss, ns = values.ctypes.data, mask.ctypes.data, sums.ctypes.data, count.ctypes.data
        for first in range(0, batch, LANES):
            _take(x[e], first, values)
            _take(before[e], first, v)
            if masked:
                _take(real, first, mask)
            sums[:] = 0
            count[:] = 0
            for i in range(0, neurons, srl.TOGETHER):
                g, o, d = gain[e, i:].ctypes.data, bias[e, i:].ctypes.data, decoders[e, i:].ctypes.data
                vs = v[i:].ctypes.data
                if rates:
                    if masked:
                        srl.sum_rates_masked((steps, xs, ms, g, o, d, vs, ss, ns))
                    else:
                        srl.sum_rates((steps, xs, ms, g, o, d, vs, ss, ns))
                elif masked:
                    srl.advance_masked((steps, xs, ms, g, o, d, vs, ss, ns))
                else:
                    srl.advance((steps, xs, ms, g, o, d, vs, ss, ns))
            _give(sums, first, decoded[e])
            _give(v, first, after[e])
            _give(count, first, counts[e : e + 1])


@_parallel(numba.boolean, _CUBE, _MATRIX, _CUBE, _CUBE)
def backward(
    x: Array, gain: Array, bias: Array, decoders: Array, before: Array, real: Array, rates: bool, through_time: bool,
    grad_decoded: Array, grad_counts: Array, grad_x: Array, grad_weights: Array,
) -> None:  # fmt: skip
    """Write gradients for x (E, T, B) and for gains, biases and decoders (3, E, N).

    ``grad_decoded`` is (E, T, B), ``grad_counts`` (1, B) the gradient of each spike for itself. Without
    ``through_time``, ``dn_t / dc_t = [c_t > 0]``, the rate's derivative, and no gradient runs through the voltage; with
    it, ``dn / du = s`` is the arctan surrogate at the nearest threshold 1, 2, ... and

        dL/du_t = s_t dL/dn_t + (1 - s_t) dL/du_{t+1},  dL/dc_t = [c_t > 0] dL/du_t
    """
    ensembles, steps, batch = x.shape
    neurons = gain.shape[1]
    masked = real.size > 0
    for e in numba.prange(ensembles):
        values, mask, wanted, out, full = _room(steps), _room(steps), _room(steps), _room(steps), _room(steps)
        v, each, of = _room(neurons), _room(1), _room(3 * srl.TOGETHER_BACKWARD)
        xs, ms, ws, us = values.ctypes.data, mask.ctypes.data, wanted.ctypes.data, full.ctypes.data
        es, ss, fs = each.ctypes.data, out.ctypes.data, of.ctypes.data
        grad_weights[:, e] = 0
        together = 1 if through_time else srl.TOGETHER_BACKWARD
        for first in range(0, batch, LANES):
            _take(x[e], first, values)
            _take(grad_decoded[e], first, wanted)
            _take(grad_counts, first, each)
            _take(before[e], first, v)
            if masked:
                _take(real, first, mask)
            out[:] = 0
            full[:] = 0  # an array that is named only by its address would be freed before its use
            for i in range(0, neurons, together):
                g, o, d = gain[e, i:].ctypes.data, bias[e, i:].ctypes.data, decoders[e, i:].ctypes.data
                vs = v[i:].ctypes.data
                if through_time:
                    if masked:
                        srl.through_time_masked((steps, xs, ms, g, o, d, vs, ws, es, ss, fs, us))
                    else:
                        srl.through_time((steps, xs, ms, g, o, d, vs, ws, es, ss, fs, us))
                elif rates:
                    if masked:
                        srl.retreat_rates_masked((steps, xs, ms, g, o, d, vs, ws, es, ss, fs))
                    else:
                        srl.retreat_rates((steps, xs, ms, g, o, d, vs, ws, es, ss, fs))
                elif masked:
                    srl.retreat_masked((steps, xs, ms, g, o, d, vs, ws, es, ss, fs))
                else:
                    srl.retreat((steps, xs, ms, g, o, d, vs, ws, es, ss, fs))
                for j in range(together):
                    for kind in range(3):
                        grad_weights[kind, e, i + j] += of[3 * j + kind].sum()
            _give(out, first, grad_x[e])
