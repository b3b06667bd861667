"""Fused loops on the CPU (Numba): strips of neurons over all time steps.

``strips`` writes what is done for 16 neurons, this module which strips there are and where their numbers lie (in a
structure of ``arguments``). A function does its jobs from ``begin`` to ``end``, which depend on no others, and holds no
lock while it does: ``dispatch`` shares them out among threads. Each result is summed in the same order whatever the
number of threads. Call a function by the names of its arguments.
"""

from typing import Any

import numba

from snn_action.snn.fused.cpu.arguments import (
    ArrayBackward,
    ArrayBackwardOfRates,
    ArrayForward,
    NeuronsBackward,
    NeuronsForward,
    States,
    Weights,
)
from snn_action.snn.fused.cpu.compiled import compile_function
from snn_action.snn.fused.cpu.machine_code import call
from snn_action.snn.fused.cpu.scratch import Array, give, make_scratch, place, place_states, take
from snn_action.snn.fused.cpu.vector import LANES

_LINE, _MATRIX, _CUBE = numba.float32[::1], numba.float32[:, ::1], numba.float32[:, :, ::1]
_STATES = numba.float32[:, :, :, ::1]
_WHOLE, _WHOLES = numba.intp, numba.intp[::1]


def _compile(*types: Any) -> Any:
    """Compile a function of ``begin``, ``end`` and ``types``; strips are called by their address, kept elsewhere."""
    signature = numba.void(_WHOLE, _WHOLE, *types)
    return compile_function(signature, "loops.py", "scratch.py", "arguments.py", "machine_code.py")


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
    masked, kept, ps = mask.size > 0, after.size > 0, place(params)
    for e in range(begin, end):
        values, masks, sums, count = make_scratch(steps), make_scratch(steps), make_scratch(steps), make_scratch(1)
        v = make_scratch(states * neurons)
        decoded[e] = 0
        for first in range(0, batch, LANES):
            stride, xs, ms, ss = batch, place(x[e], first), place(mask, first), place(decoded[e], first)
            old, old_row, old_apart = place_states(before, e, first), clips, ensembles * neurons * clips
            new, row, apart = place(v), LANES, neurons * LANES
            if kept and batch - first >= LANES:
                new, row, apart = place_states(after, e, first), batch, ensembles * neurons * batch
            if batch - first < LANES:
                take(x[e], first, values)
                sums[:] = 0
                if masked:
                    take(mask, first, masks)
                stride, xs, ms, ss = LANES, place(values), place(masks), place(sums)
                if clips > 1:
                    for s in range(states):
                        take(before[s, e], first, v[s * neurons : (s + 1) * neurons])
                    old, old_row, old_apart = new, row, apart
            count[:] = 0
            i = 0
            while i < neurons:
                strip, together = (wide, width) if i + width <= neurons else (single, 1)
                given = ArrayForward(
                    steps=steps, stride=stride, x=xs, mask=ms, params=ps, decoded=ss, spikes=place(count),
                    weights=Weights(gain=place(gain[e], i), bias=place(bias[e], i), decoder=place(decoders[e], i)),
                    before=States(address=old + 4 * old_row * i, row=old_row, apart=old_apart),
                    after=States(address=new + 4 * row * i, row=row, apart=apart),
                )  # fmt: skip
                call(strip, given)
                i += together
            if batch - first < LANES:
                give(sums, first, decoded[e])
                for s in range(states if kept else 0):
                    give(v[s * neurons : (s + 1) * neurons], first, after[s, e])
            give(count, first, counts[e : e + 1])
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
    masked, ps = mask.size > 0, place(params)
    for e in range(begin, end):
        values, masks, wanted = make_scratch(steps), make_scratch(steps), make_scratch(steps)
        out, v, each = make_scratch(steps), make_scratch(states * neurons), make_scratch(1)
        sums, totals = make_scratch(3 * neurons), make_scratch(params.size)
        passed = make_scratch(steps * states if through_time else 0)
        grad_x[e] = 0
        for first in range(0, batch, LANES):
            stride, xs, ms = batch, place(x[e], first), place(mask, first)
            ws, ss = place(grad_decoded[e], first), place(grad_x[e], first)
            old, row, apart = place_states(before, e, first), clips, ensembles * neurons * clips
            if batch - first < LANES:
                values[:] = 0
                wanted[:] = 0
                out[:] = 0
                each[:] = 0
                take(x[e], first, values)
                take(grad_decoded[e], first, wanted)
                if masked:
                    masks[:] = 0
                    take(mask, first, masks)
                stride, xs, ms, ws, ss = LANES, place(values), place(masks), place(wanted), place(out)
                if clips > 1:
                    v[:] = 0
                    for s in range(states):
                        take(before[s, e], first, v[s * neurons : (s + 1) * neurons])
                    old, row, apart = place(v), LANES, neurons * LANES
            take(grad_counts, first, each)
            i = 0
            while i < neurons:
                strip, together = (wide, width) if i + width <= neurons else (single, 1)
                given = ArrayBackwardOfRates(
                    steps=steps, stride=stride, x=xs, mask=ms, params=ps,
                    weights=Weights(gain=place(gain[e], i), bias=place(bias[e], i), decoder=place(decoders[e], i)),
                    before=States(address=old + 4 * row * i, row=row, apart=apart),
                    grad_decoded=ws, grad_spike=place(each), grad_x=ss,
                    grad_weights=place(sums[3 * i :]), grad_params=place(totals),
                )  # fmt: skip
                if through_time:
                    call(strip, ArrayBackward(given=given, scratch=place(passed)))
                else:
                    call(strip, given)
                i += together
            if batch - first < LANES:
                give(out, first, grad_x[e])
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
    ps = place(params)
    block = LANES * width
    blocks = (neurons + block - 1) // block
    for job in range(begin, end):
        clip, n = job // blocks, job % blocks * block
        length, last = lengths[clip], min(n + block, neurons)
        spikes[clip, length:, n:last] = 0
        strip, together = (wide, width) if n + block <= neurons else (single, 1)
        while n < last:
            cs, ss, filled = place(current[clip], n), place(spikes[clip], n), min(last - n, LANES * together)
            if filled >= LANES:
                state = place(states[0], clip * neurons + n) if states.size else 0
                given = NeuronsForward(
                    steps=length, stride=neurons, current=cs, spikes=ss, state=state, apart=batch * neurons, params=ps
                )
                call(strip, given)
            else:
                values, made, v = make_scratch(steps), make_scratch(steps), make_scratch(states.shape[0])
                take(current[clip], n, values)
                take(states[:, clip], n, v)
                given = NeuronsForward(
                    steps=length, stride=LANES, current=place(values), spikes=place(made),
                    state=place(v), apart=LANES, params=ps,
                )  # fmt: skip
                call(strip, given)
                give(made[:length], n, spikes[clip, :length])
                give(v, n, states[:, clip])
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
    ps = place(params)
    blocks = (neurons + LANES - 1) // LANES
    for job in range(begin, end):
        clip, n = job // blocks, job % blocks * LANES
        length, filled = lengths[clip], min(neurons - n, LANES)
        grad_current[clip, length:, n : n + filled] = 0
        totals, passed = make_scratch(params.size), make_scratch(steps * states.shape[0])
        if filled == LANES:
            cs, ws, ss = place(current[clip], n), place(grad_spikes[clip], n), place(grad_current[clip], n)
            before, grad_before = 0, 0
            if states.size:
                before = place(states[0], clip * neurons + n)
                grad_before = place(grad_states[0], clip * neurons + n)
            given = NeuronsBackward(
                steps=length, stride=neurons, current=cs, grad_spikes=ws, state=before, grad_state=grad_before,
                apart=batch * neurons, params=ps, grad_current=ss, grad_params=place(totals), scratch=place(passed),
            )  # fmt: skip
            call(strip, given)
        else:
            values, wanted, out = make_scratch(steps), make_scratch(steps), make_scratch(steps)
            v, grad_v = make_scratch(states.shape[0]), make_scratch(states.shape[0])
            take(current[clip], n, values)
            take(grad_spikes[clip], n, wanted)
            take(states[:, clip], n, v)
            take(grad_states[:, clip], n, grad_v)
            given = NeuronsBackward(
                steps=length, stride=LANES, current=place(values), grad_spikes=place(wanted),
                state=place(v), grad_state=place(grad_v), apart=LANES, params=ps,
                grad_current=place(out), grad_params=place(totals), scratch=place(passed),
            )  # fmt: skip
            call(strip, given)
            give(out[:length], n, grad_current[clip, :length])
            give(grad_v, n, grad_states[:, clip])
            values[:] = 0
            wanted[:] = 0
            v[:] = 0
        for p in range(params.size):
            grad_params[job, p] = totals[p, :filled].sum()
        passed[:] = 0
