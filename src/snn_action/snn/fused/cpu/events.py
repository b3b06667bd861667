"""One step of few clips on the CPU (Numba): of what changed or spiked alone, weights are read.

An event is the place of an input and a number that comes in there. Weights lie with those of one input side by side
(``columns``), so that an event reads one row of memory. Call a function by the order of its arguments.
"""

from typing import Any

import numba
import numpy as np

from snn_action.snn.fused.cpu.compiled import compile_function
from snn_action.snn.fused.cpu.scratch import Array

_LINE, _MATRIX, _CUBE, _PLACES = numba.float32[::1], numba.float32[:, ::1], numba.float32[:, :, ::1], numba.intp[::1]
_inline: Any = numba.njit(error_model="numpy", nogil=True)


def _compile(result: Any, *types: Any) -> Any:
    return compile_function(result(*types), "events.py")


@_inline
def _send(values: Array, held: Array, threshold: Any, places: Any, changes: Array) -> int:
    """Send the changes of ``values`` (N,) that reach the threshold, as ``SigmaDelta``; their number."""
    count = 0
    for i in range(len(values)):
        sent = np.rint(held[i] / threshold)
        change = values[i] / threshold - sent
        if abs(change) >= 1:
            change = np.rint(change)
            held[i] = (sent + change) * threshold
            places[count] = i
            changes[count] = change * threshold
            count += 1
    return count


@_inline
def _find(values: Array, places: Any, numbers: Array) -> int:
    """Write where ``values`` (N,) are not zero, and what they are there; their number."""
    count = 0
    for i in range(len(values)):
        if values[i] != 0:
            places[count] = i
            numbers[count] = values[i]
            count += 1
    return count


@_inline
def _add(count: int, places: Any, numbers: Array, columns: Any, sums: Array) -> None:
    """Add ``sum_k numbers_k columns[places_k]`` over the first ``count`` events to ``sums`` (M,).

    Four events at a time, as sums are then read and written a quarter as often.
    """
    k = 0
    while k + 4 <= count:
        a, b, c, d = columns[places[k]], columns[places[k + 1]], columns[places[k + 2]], columns[places[k + 3]]
        p, q, r, s = numbers[k], numbers[k + 1], numbers[k + 2], numbers[k + 3]
        for m in range(len(sums)):
            sums[m] += (p * a[m] + q * b[m]) + (r * c[m] + s * d[m])
        k += 4
    while k < count:
        a, p = columns[places[k]], numbers[k]
        for m in range(len(sums)):
            sums[m] += p * a[m]
        k += 1


@_compile(numba.void, _MATRIX, numba.float32, _MATRIX, _MATRIX, _PLACES, _LINE, _LINE, _MATRIX)
def multiply(
    values: Array, threshold: float, held: Array, columns: Array, chosen: Any, weights: Array, bias: Array, sums: Array
) -> None:
    """Write ``W x + b`` into ``sums`` (B, M), x being ``values`` (B, N) or, with a threshold, what is held of them.

    Without a threshold (0), ``held`` is not looked at. With one, ``held`` (B, N) is that before this step and is
    replaced, and ``sums`` are ``W held + b`` of before: where few values changed, changes alone are added.

    W is ``columns`` (N, M), or where these are empty, chooses: ``sums_i = weights_i x[chosen_i] + b_i``.
    """
    size = values.shape[1]
    places, numbers = np.empty(size, np.intp), np.empty(size, np.float32)
    for clip in range(len(values)):
        source, total, count = values[clip], sums[clip], size
        if threshold > 0:
            count, source = _send(values[clip], held[clip], threshold, places, numbers), held[clip]
        if columns.size == 0:
            for i in range(len(total)):
                total[i] = weights[i] * source[chosen[i]] + bias[i]
            continue
        if threshold <= 0 or 2 * count > size:  # all at once is as fast, and rounds anew
            total[:] = bias
            count = _find(source, places, numbers)
        _add(count, places, numbers, columns, total)


@_compile(numba.void, _MATRIX, _LINE, _MATRIX, _CUBE, _CUBE)
def remember(a: Array, b: Array, u: Array, before: Array, after: Array) -> None:
    """Write ``A m + B u`` of memories ``before`` (B, size, order) and their inputs ``u`` (B, size)."""
    batch, size, order = before.shape
    for clip in range(batch):
        for i in range(size):
            for j in range(order):
                total = b[j] * u[clip, i]
                for k in range(order):
                    total += a[j, k] * before[clip, i, k]
                after[clip, i, j] = total


@_compile(numba.boolean, _MATRIX, numba.float32, _CUBE)
def scale(values: Array, factor: float, scaled: Array) -> Any:
    """Write ``factor x`` of ``values`` (B, N) into ``scaled`` (B, 1, N); whether all of it is finite."""
    total = np.float32(0)
    for clip in range(len(values)):
        for i in range(values.shape[1]):
            scaled[clip, 0, i] = factor * values[clip, i]
            total += np.float32(0) * scaled[clip, 0, i]
    return total == 0


@_compile(numba.void, _CUBE, numba.float32, _MATRIX, numba.float32, _MATRIX, _LINE, _MATRIX, _LINE)
def read_out(
    spikes: Array, factor: float, columns: Array, keep: float, leaky: Array, bias: Array, logits: Array, sums: Array
) -> None:
    """Write ``logits = leaky + bias`` (B, K) after ``spikes`` (B, 1, N) have come in, and the sums of their sizes.

    ``leaky`` is replaced by ``keep leaky + (1 - keep) factor W s``; ``columns`` (N, K) are W's.
    """
    batch, _, size = spikes.shape
    places, numbers = np.empty(size, np.intp), np.empty(size, np.float32)
    for clip in range(batch):
        count, given = _find(spikes[clip, 0], places, numbers), logits[clip]
        total = np.float32(0)
        for k in range(count):
            total += abs(numbers[k])
            numbers[k] *= factor
        sums[clip] = total
        given[:] = 0
        _add(count, places, numbers, columns, given)
        for k in range(len(given)):
            leaky[clip, k] = given[k] + keep * (leaky[clip, k] - given[k])
            given[k] = leaky[clip, k] + bias[k]
