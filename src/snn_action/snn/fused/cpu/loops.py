"""Fused loops on the CPU (Numba): strips of neurons over all time steps.

``strips`` writes what is done for 16 neurons, this module which strips there are and where their numbers lie (in a
structure of ``arguments``). A function does its jobs from ``begin`` to ``end``, which depend on no others, and holds no
lock while it does: ``dispatch`` shares them out among threads. Each result is summed in the same order whatever the
number of threads. Call a function by the names of its arguments.
"""

import hashlib
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from snn_action.snn.fused.cpu import cache
from snn_action.snn.fused.cpu.arguments import (
    ArrayBackward,
    ArrayBackwardOfRates,
    ArrayForward,
    NeuronsBackward,
    NeuronsForward,
    States,
    Weights,
)
from snn_action.snn.fused.cpu.machine_code import call
from snn_action.snn.fused.cpu.vector import LANES

Array = npt.NDArray[np.float32]
settings: Any = numba.config
_inline: Any = numba.njit(error_model="numpy", nogil=True)
_LINE, _MATRIX, _CUBE = numba.float32[::1], numba.float32[:, ::1], numba.float32[:, :, ::1]
_STATES = numba.float32[:, :, :, ::1]
_WHOLE, _WHOLES = numba.intp, numba.intp[::1]

# Numba keeps machine code on disk by the file of a function alone; what is called here stands in another too. Strips
# are called by their address: their code is kept by what it does.
_FILES = "loops.py", "arguments.py", "machine_code.py"
_SOURCES = hashlib.sha256(
    b"".join(Path(__file__).with_name(name).read_bytes() for name in _FILES) + bytes([LANES])
).hexdigest()


def _compile(*types: Any) -> Any:
    """Compile a function of ``begin``, ``end`` and ``types``, or take it from the folder where such are kept."""
    signature = numba.void(_WHOLE, _WHOLE, *types)

    def compile_function(function: Any) -> Any:
        function.__qualname__ += f"_{_SOURCES[:16]}"
        folder, usual = cache.find_folder("numba"), settings.CACHE_DIR
        if folder is not None:
            settings.CACHE_DIR = str(folder)
            try:
                with cache.private_files():
                    return numba.njit(signature, cache=True, error_model="numpy", nogil=True)(function)
            except (OSError, RuntimeError) as error:  # the disk is full, or there is no source file
                cache.say(str(error))
            finally:
                settings.CACHE_DIR = usual
        return numba.njit(signature, error_model="numpy", nogil=True)(function)

    return compile_function


@_inline
def _make_scratch(rows: int) -> Array:
    """(rows, 16) zeros, on a boundary of 64 bytes.

    Numba frees an array that from here on is named by its address alone: touch it after its last use.
    """
    raw = np.zeros((rows + 1) * LANES, np.float32)
    start = (-(raw.ctypes.data // 4)) % LANES
    return raw[start : start + rows * LANES].reshape(rows, LANES)


@_inline
def _take(source: Array, first: int, scratch: Array) -> None:
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
def _give(scratch: Array, first: int, target: Array) -> None:
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
def _place(array: Array, column: int = 0) -> Any:
    """The address of a column of the first row, a signed integer as all the rest."""
    return numba.int64(array.ctypes.data) + numba.int64(4 * column)


@_inline
def _place_states(states: Array, e: int, first: int) -> Any:
    """The address of an ensemble's states from a clip on, or for all clips where these share them."""
    if states.size == 0:
        return 0
    return _place(states[0, e], first if states.shape[3] > 1 else 0)


@_compile(_CUBE, *[_MATRIX] * 3, _STATES, _MATRIX, _LINE, *[_WHOLE] * 3, _CUBE, _MATRIX, _STATES)
def array_forward(
    begin: int, end: int,
    x: Array, gain: Array, bias: Array, decoders: Array, before: Array, mask: Array, params: Array,
    width: int, wide: int, single: int, decoded: Array, counts: Array, after: Array,
) -> None:  # fmt: skip
    """Write decoded values (E, T, B), spike counts (E, B) and states (S, E, N, B) after the last step, if not empty.

    ``x`` is (E, T, B); ``gain``, ``bias`` and ``decoders`` are (E, N); ``before`` is (S, E, N, B), or (S, E, N, 1) for
    all clips. ``mask`` (T, B) is 1 on real steps and 0 on padding, empty where every step is real. ``wide`` is the
    strip of ``width`` neurons, ``single`` that of one.
    """
    ensembles, steps, batch = x.shape
    states, _, neurons, clips = before.shape
    masked, kept, ps = mask.size > 0, after.size > 0, _place(params)
    for e in range(begin, end):
        values, masks, sums, count = _make_scratch(steps), _make_scratch(steps), _make_scratch(steps), _make_scratch(1)
        v = _make_scratch(states * neurons)
        decoded[e] = 0
        for first in range(0, batch, LANES):
            stride, xs, ms, ss = batch, _place(x[e], first), _place(mask, first), _place(decoded[e], first)
            old, old_row, old_apart = _place_states(before, e, first), clips, ensembles * neurons * clips
            new, row, apart = _place(v), LANES, neurons * LANES
            if kept and batch - first >= LANES:
                new, row, apart = _place_states(after, e, first), batch, ensembles * neurons * batch
            if batch - first < LANES:
                _take(x[e], first, values)
                sums[:] = 0
                if masked:
                    _take(mask, first, masks)
                stride, xs, ms, ss = LANES, _place(values), _place(masks), _place(sums)
                if clips > 1:
                    for s in range(states):
                        _take(before[s, e], first, v[s * neurons : (s + 1) * neurons])
                    old, old_row, old_apart = new, row, apart
            count[:] = 0
            i = 0
            while i < neurons:
                strip, together = (wide, width) if i + width <= neurons else (single, 1)
                given = ArrayForward(
                    steps=steps, stride=stride, x=xs, mask=ms, params=ps, decoded=ss, spikes=_place(count),
                    weights=Weights(gain=_place(gain[e], i), bias=_place(bias[e], i), decoder=_place(decoders[e], i)),
                    before=States(address=old + 4 * old_row * i, row=old_row, apart=old_apart),
                    after=States(address=new + 4 * row * i, row=row, apart=apart),
                )  # fmt: skip
                call(strip, given)
                i += together
            if batch - first < LANES:
                _give(sums, first, decoded[e])
                for s in range(states if kept else 0):
                    _give(v[s * neurons : (s + 1) * neurons], first, after[s, e])
            _give(count, first, counts[e : e + 1])
        masks[:] = 0
        v[:] = 0


@_compile(
    _CUBE, *[_MATRIX] * 3, _STATES, _MATRIX, _LINE, *[_WHOLE] * 3, numba.boolean, _CUBE, _MATRIX, _CUBE, _CUBE, _MATRIX
)
def array_backward(
    begin: int, end: int,
    x: Array, gain: Array, bias: Array, decoders: Array, before: Array, mask: Array, params: Array,
    width: int, wide: int, single: int, through_time: bool,
    grad_decoded: Array, grad_counts: Array, grad_x: Array, grad_weights: Array, grad_params: Array,
) -> None:  # fmt: skip
    """Write gradients for x (E, T, B), for gains, biases and decoders (3, E, N), and each ensemble's for params (E, P).

    ``grad_decoded`` is (E, T, B), ``grad_counts`` (1, B) the gradient of each spike for itself.
    """
    ensembles, steps, batch = x.shape
    states, _, neurons, clips = before.shape
    masked, ps = mask.size > 0, _place(params)
    for e in range(begin, end):
        values, masks, wanted = _make_scratch(steps), _make_scratch(steps), _make_scratch(steps)
        out, v, each = _make_scratch(steps), _make_scratch(states * neurons), _make_scratch(1)
        sums, totals = _make_scratch(3 * neurons), _make_scratch(params.size)
        passed = _make_scratch(steps * states if through_time else 0)
        grad_x[e] = 0
        for first in range(0, batch, LANES):
            stride, xs, ms = batch, _place(x[e], first), _place(mask, first)
            ws, ss = _place(grad_decoded[e], first), _place(grad_x[e], first)
            old, row, apart = _place_states(before, e, first), clips, ensembles * neurons * clips
            if batch - first < LANES:
                values[:] = 0
                wanted[:] = 0
                out[:] = 0
                each[:] = 0
                _take(x[e], first, values)
                _take(grad_decoded[e], first, wanted)
                if masked:
                    masks[:] = 0
                    _take(mask, first, masks)
                stride, xs, ms, ws, ss = LANES, _place(values), _place(masks), _place(wanted), _place(out)
                if clips > 1:
                    v[:] = 0
                    for s in range(states):
                        _take(before[s, e], first, v[s * neurons : (s + 1) * neurons])
                    old, row, apart = _place(v), LANES, neurons * LANES
            _take(grad_counts, first, each)
            i = 0
            while i < neurons:
                strip, together = (wide, width) if i + width <= neurons else (single, 1)
                given = ArrayBackwardOfRates(
                    steps=steps, stride=stride, x=xs, mask=ms, params=ps,
                    weights=Weights(gain=_place(gain[e], i), bias=_place(bias[e], i), decoder=_place(decoders[e], i)),
                    before=States(address=old + 4 * row * i, row=row, apart=apart),
                    grad_decoded=ws, grad_spike=_place(each), grad_x=ss,
                    grad_weights=_place(sums[3 * i :]), grad_params=_place(totals),
                )  # fmt: skip
                if through_time:
                    call(strip, ArrayBackward(given=given, scratch=_place(passed)))
                else:
                    call(strip, given)
                i += together
            if batch - first < LANES:
                _give(out, first, grad_x[e])
        for i in range(neurons):
            for kind in range(3):
                grad_weights[kind, e, i] = sums[3 * i + kind].sum()
        for p in range(params.size):
            grad_params[e, p] = totals[p].sum()
        passed[:] = 0
        masks[:] = 0


@_compile(_CUBE, _WHOLES, _CUBE, _LINE, *[_WHOLE] * 3, _CUBE)
def neurons_forward(
    begin: int, end: int,
    current: Array, lengths: Any, states: Array, params: Array,
    width: int, wide: int, single: int, spikes: Array,
) -> None:  # fmt: skip
    """Write spikes (B, T, N), zero on padding; replace ``states`` (S, B, N) by those after each clip's last real step.

    ``current`` is (B, T, N), ``lengths`` (B,) the number of real steps.
    """
    batch, steps, neurons = current.shape
    ps = _place(params)
    block = LANES * width
    blocks = (neurons + block - 1) // block
    for job in range(begin, end):
        clip, n = job // blocks, job % blocks * block
        length, last = lengths[clip], min(n + block, neurons)
        spikes[clip, length:, n:last] = 0
        strip, together = (wide, width) if n + block <= neurons else (single, 1)
        while n < last:
            cs, ss, filled = _place(current[clip], n), _place(spikes[clip], n), min(last - n, LANES * together)
            if filled >= LANES:
                state = _place(states[0], clip * neurons + n) if states.size else 0
                given = NeuronsForward(
                    steps=length, stride=neurons, current=cs, spikes=ss, state=state, apart=batch * neurons, params=ps
                )
                call(strip, given)
            else:
                values, made, v = _make_scratch(steps), _make_scratch(steps), _make_scratch(states.shape[0])
                _take(current[clip], n, values)
                _take(states[:, clip], n, v)
                given = NeuronsForward(
                    steps=length, stride=LANES, current=_place(values), spikes=_place(made),
                    state=_place(v), apart=LANES, params=ps,
                )  # fmt: skip
                call(strip, given)
                _give(made[:length], n, spikes[clip, :length])
                _give(v, n, states[:, clip])
                values[:] = 0
            n += filled


@_compile(_CUBE, _WHOLES, _CUBE, _LINE, _WHOLE, _CUBE, _CUBE, _CUBE, _MATRIX)
def neurons_backward(
    begin: int, end: int,
    current: Array, lengths: Any, states: Array, params: Array, strip: int,
    grad_spikes: Array, grad_states: Array, grad_current: Array, grad_params: Array,
) -> None:  # fmt: skip
    """Write gradients of ``current`` (B, T, N) and of each job's parameters (B ceil(N / 16), P).

    ``states`` (S, B, N) are those before the first step. ``grad_states`` (S, B, N) of those after each clip's last real
    step are replaced by those of the states before.
    """
    batch, steps, neurons = current.shape
    ps = _place(params)
    blocks = (neurons + LANES - 1) // LANES
    for job in range(begin, end):
        clip, n = job // blocks, job % blocks * LANES
        length, filled = lengths[clip], min(neurons - n, LANES)
        grad_current[clip, length:, n : n + filled] = 0
        totals, passed = _make_scratch(params.size), _make_scratch(steps * states.shape[0])
        if filled == LANES:
            cs, ws, ss = _place(current[clip], n), _place(grad_spikes[clip], n), _place(grad_current[clip], n)
            before, grad_before = 0, 0
            if states.size:
                before = _place(states[0], clip * neurons + n)
                grad_before = _place(grad_states[0], clip * neurons + n)
            given = NeuronsBackward(
                steps=length, stride=neurons, current=cs, grad_spikes=ws, state=before, grad_state=grad_before,
                apart=batch * neurons, params=ps, grad_current=ss, grad_params=_place(totals), scratch=_place(passed),
            )  # fmt: skip
            call(strip, given)
        else:
            values, wanted, out = _make_scratch(steps), _make_scratch(steps), _make_scratch(steps)
            v, grad_v = _make_scratch(states.shape[0]), _make_scratch(states.shape[0])
            _take(current[clip], n, values)
            _take(grad_spikes[clip], n, wanted)
            _take(states[:, clip], n, v)
            _take(grad_states[:, clip], n, grad_v)
            given = NeuronsBackward(
                steps=length, stride=LANES, current=_place(values), grad_spikes=_place(wanted),
                state=_place(v), grad_state=_place(grad_v), apart=LANES, params=ps,
                grad_current=_place(out), grad_params=_place(totals), scratch=_place(passed),
            )  # fmt: skip
            call(strip, given)
            _give(out[:length], n, grad_current[clip, :length])
            _give(grad_v, n, grad_states[:, clip])
            values[:] = 0
            wanted[:] = 0
            v[:] = 0
        for p in range(params.size):
            grad_params[job, p] = totals[p, :filled].sum()
        passed[:] = 0
