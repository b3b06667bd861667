"""What one thread does for 16 (or a few times 16) neurons over all time steps, written for any neuron's equations.

A strip is a function of addresses and counts in machine code. States stay in registers from step to step. Strips of
an ensemble array have 16 clips in a vector and a few neurons of one ensemble side by side, which share the value that
they stand for; strips of neurons over time have 16 neurons of one clip in a vector.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir

from snn_action.snn.fused.cpu import machine_code
from snn_action.snn.fused.cpu.vector import (
    LANES,
    Memory,
    Vector,
    add,
    apply,
    choose,
    constant,
    fma,
    loop,
    prepare,
    spread,
)
from snn_action.snn.fused.ir import Equations, Program

_BYTES = 4 * LANES  # of a vector


def choose_width(program: Program) -> int:
    """How many vectors go through a program side by side: enough to hide latencies, few enough for the registers."""
    length = len(program.instructions)
    return 5 if length <= 8 else 2 if length <= 80 else 1


def choose_backward_width(forward: Program, rates: Program) -> int:
    """The same for the backward pass of rates, which carries three sums a neuron as well."""
    return 2 if len(forward.instructions) + len(rates.instructions) <= 40 else 1


@cache
def array_forward(equations: Equations, width: int, masked: bool, shared: bool) -> int:
    """steps, stride, x, real, gain, bias, decoder, params, before, row, apart, sums, count, after, row, apart.

    ``x``, ``real`` and ``sums`` are rows of 16 numbers, ``stride`` numbers apart. Adds to ``sums`` what the neurons'
    spikes decode to and to ``count`` (16,) the spikes. The states ``before`` and ``after`` lie ``row`` numbers from
    neuron to neuron and ``apart`` from state to state; ``shared`` are single numbers before, the same in all clips.
    """
    program, states = equations.forward, equations.states

    def emit(b: Any, places: list[Any]) -> None:
        steps, stride, x, real, *weights, params, before, row, apart, sums, count, after, row_after, apart_after = (
            places
        )
        gains, biases, decoders = (spread(b, place, width) for place in weights)
        values, masks, totals = (Memory(b, place, stride) for place in (x, real, sums))
        counts, fixed = Memory(b, count), _prepare(b, program, equations, params)

        def body(t: Any, carried: list[Vector]) -> list[Vector]:
            now, total, fired, after = values.load(t), totals.load(t), [], []
            mask = masks.load(t) if masked else None
            for i in range(width):
                before = carried[i * states : (i + 1) * states]
                spikes, new = _advance(b, program, fma(b, gains[i], now, biases[i]), before, fixed, mask)
                total = fma(b, decoders[i], spikes, total)
                fired.append(spikes)
                after += new
            totals.store(t, total)
            return [*after, add(b, carried[-1], _sum(b, fired))]

        start = _load_states(b, before, row, apart, states, width, shared)
        ends = [_state_place(b, after, row_after, apart_after, i, s) for i in range(width) for s in range(states)]
        *last, n = loop(b, steps, [*start, counts.load(0)], body)
        for end, vector in zip(ends, last, strict=True):
            Memory(b, end).store(0, vector)
        counts.store(0, n)

    return machine_code.compile_function("array_forward", 16, emit)


@cache
def array_backward_of_rates(equations: Equations, rates: Equations, width: int, masked: bool, shared: bool) -> int:
    """steps, stride, x, real, gain, bias, decoder, params, before, row, apart, grads, of_spike, sums, results, totals.

    Spikes as ``equations`` have them, the derivative of each step's output that of ``rates``. Adds to ``sums`` the
    gradient of x, to ``results`` (width, 3, 16) those of gain, bias and decoder, to ``totals`` (parameters, 16) those
    of the parameters.
    """
    program, states, parameters = equations.forward, equations.states, equations.parameters

    def emit(b: Any, places: list[Any]) -> None:
        steps, stride, x, real, *weights, params, before, row, apart, grads, of_spike, sums, results, totals = places
        gains, biases, decoders = (spread(b, place, width) for place in weights)
        values, masks, wanted, gathered = (Memory(b, place, stride) for place in (x, real, grads, sums))
        fixed, fixed_back = (
            _prepare(b, program, equations, params),
            _prepare(b, rates.backward, rates, params),
        )
        for_itself, given = Memory(b, of_spike).load(0), spread(b, params, parameters)
        size = states + 3

        def body(t: Any, carried: list[Vector]) -> list[Vector]:
            now, grad, total, after = values.load(t), wanted.load(t), gathered.load(t), []
            mask, sums_of_params = masks.load(t) if masked else None, carried[size * width :]
            for i in range(width):
                before, (of_gain, of_bias, of_decoder) = _split(carried[i * size : (i + 1) * size], states)
                current = fma(b, gains[i], now, biases[i])
                spikes, new = _advance(b, program, current, before, fixed, mask)
                of_output = fma(b, grad, decoders[i], for_itself)
                if mask is not None:
                    of_output = choose(b, mask, of_output, constant(0.0))
                slope, *of_params = apply(b, rates.backward, [current, *given, of_output], fixed_back)
                total = fma(b, slope, gains[i], total)
                after += [*new, fma(b, slope, now, of_gain), add(b, of_bias, slope), fma(b, grad, spikes, of_decoder)]
                sums_of_params = [add(b, old, new) for old, new in zip(sums_of_params, of_params, strict=True)]
            gathered.store(t, total)
            return [*after, *sums_of_params]

        zero, found = constant(0.0), Memory(b, results)
        loaded = _load_states(b, before, row, apart, states, width, shared)
        start = [v for i in range(width) for v in (*loaded[i * states : (i + 1) * states], zero, zero, zero)]
        kept = Memory(b, totals)
        last = loop(b, steps, [*start, *(kept.load(p) for p in range(parameters))], body)
        for i in range(width):
            for kind in range(3):
                place = 3 * i + kind
                found.store(place, add(b, found.load(place), last[i * size + states + kind]))
        for p in range(parameters):
            kept.store(p, last[size * width + p])

    return machine_code.compile_function("array_backward_of_rates", 16, emit)


@cache
def array_backward(equations: Equations, masked: bool, shared: bool) -> int:
    """As ``array_backward_of_rates`` and then room: one neuron, back through time.

    Its states before each step pass through ``room`` (steps, states, 16).
    """
    program, back, states, parameters = equations.forward, equations.backward, equations.states, equations.parameters

    def emit(b: Any, places: list[Any]) -> None:
        steps, stride, x, real, *weights, params, before, row, apart, grads, of_spike, sums, results, totals, room = (
            places
        )
        (gain,), (bias,), (decoder,) = (spread(b, place, 1) for place in weights)
        values, masks, wanted, gathered = (Memory(b, place, stride) for place in (x, real, grads, sums))
        for_itself, given = Memory(b, of_spike).load(0), spread(b, params, parameters)
        fixed, fixed_back = _prepare(b, program, equations, params), _prepare(b, back, equations, params)
        passed = Memory(b, room)

        def onward(t: Any, carried: list[Vector]) -> list[Vector]:
            mask = masks.load(t) if masked else None
            for s in range(states):
                passed.store(_index(b, t, states, s), carried[s])
            current = fma(b, gain, values.load(t), bias)
            spikes, new = _advance(b, program, current, carried[:-1], fixed, mask)
            return [*new, fma(b, wanted.load(t), spikes, carried[-1])]

        def backward(turn: Any, carried: list[Vector]) -> list[Vector]:
            t = b.sub(b.sub(steps, turn), turn.type(1))
            now, mask = values.load(t), masks.load(t) if masked else None
            of_states, (of_gain, of_bias, *of_params) = _split(carried, states)
            earlier = [passed.load(_index(b, t, states, s)) for s in range(states)]
            current = fma(b, gain, now, bias)
            of_output = fma(b, wanted.load(t), decoder, for_itself)
            slope, earlier, shares = _retreat(b, back, current, earlier, given, of_output, of_states, fixed_back, mask)
            gathered.store(t, fma(b, slope, gain, gathered.load(t)))
            of_params = [add(b, old, new) for old, new in zip(of_params, shares, strict=True)]
            return [*earlier, fma(b, slope, now, of_gain), add(b, of_bias, slope), *of_params]

        zero, kept = constant(0.0), Memory(b, totals)
        start = _load_states(b, before, row, apart, states, 1, shared)
        *_, of_decoder = loop(b, steps, [*start, zero], onward)
        sums_of_params = [kept.load(p) for p in range(parameters)]
        last = loop(b, steps, [*[zero] * states, zero, zero, *sums_of_params], backward)
        found = Memory(b, results)
        for i, vector in enumerate((*last[states : states + 2], of_decoder)):
            found.store(i, add(b, found.load(i), vector))
        for p in range(parameters):
            kept.store(p, last[states + 2 + p])

    return machine_code.compile_function("array_backward", 17, emit)


@cache
def neurons_forward(equations: Equations, width: int) -> int:
    """steps, stride, current, spikes, state, apart, params: ``width`` vectors of neurons, over the steps of one clip.

    ``current`` and ``spikes`` are rows, ``stride`` numbers apart; the states lie ``apart`` numbers from each other and
    are replaced.
    """
    program, states = equations.forward, equations.states

    def emit(b: Any, places: list[Any]) -> None:
        steps, stride, current, spikes, state, apart, params = places
        fixed = _prepare(b, program, equations, params)
        currents, made = ([Memory(b, _shift(b, place, i), stride) for i in range(width)] for place in (current, spikes))
        rooms = [Memory(b, _shift(b, state, i), apart) for i in range(width)]

        def body(t: Any, carried: list[Vector]) -> list[Vector]:
            after = []
            for i in range(width):
                before = carried[i * states : (i + 1) * states]
                spiked, new = _advance(b, program, currents[i].load(t), before, fixed, None)
                made[i].store(t, spiked)
                after += new
            return after

        last = loop(b, steps, [room.load(s) for room in rooms for s in range(states)], body)
        for i, room in enumerate(rooms):
            for s in range(states):
                room.store(s, last[i * states + s])

    return machine_code.compile_function("neurons_forward", 7, emit)


@cache
def neurons_backward(equations: Equations) -> int:
    """steps, stride, current, grads, state, of_state, apart, params, sums, totals, room: 16 neurons, back through time.

    ``of_state`` holds the gradients of the states after the last step and is replaced by those of the states before
    the first; ``sums`` are rows for the gradient of the current; the rest as in ``array_backward``.
    """
    program, back, states, parameters = equations.forward, equations.backward, equations.states, equations.parameters

    def emit(b: Any, places: list[Any]) -> None:
        steps, stride, current, grads, state, of_state, apart, params, sums, totals, room = places
        given = spread(b, params, parameters)
        fixed, fixed_back = _prepare(b, program, equations, params), _prepare(b, back, equations, params)
        currents, wanted, gathered = (Memory(b, place, stride) for place in (current, grads, sums))
        passed, kept, gradients = Memory(b, room), Memory(b, totals), Memory(b, of_state, apart)

        def onward(t: Any, carried: list[Vector]) -> list[Vector]:
            for s in range(states):
                passed.store(_index(b, t, states, s), carried[s])
            return _advance(b, program, currents.load(t), carried, fixed, None)[1]

        def backward(turn: Any, carried: list[Vector]) -> list[Vector]:
            t = b.sub(b.sub(steps, turn), turn.type(1))
            of_states, of_params = _split(carried, states)
            before = [passed.load(_index(b, t, states, s)) for s in range(states)]
            slope, earlier, shares = _retreat(
                b, back, currents.load(t), before, given, wanted.load(t), of_states, fixed_back, None
            )
            gathered.store(t, slope)
            return [*earlier, *(add(b, old, new) for old, new in zip(of_params, shares, strict=True))]

        loop(b, steps, [Memory(b, state, apart).load(s) for s in range(states)], onward)
        start = [gradients.load(s) for s in range(states)] + [kept.load(p) for p in range(parameters)]
        last = loop(b, steps, start, backward)
        for s in range(states):
            gradients.store(s, last[s])
        for p in range(parameters):
            kept.store(p, last[states + p])

    return machine_code.compile_function("neurons_backward", 11, emit)


def _prepare(b: Any, program: Program, equations: Equations, params: Any) -> dict[int, Vector]:
    first = 1 + equations.states
    return prepare(b, program, dict(enumerate(spread(b, params, equations.parameters), first)))


def _advance(
    b: Any, program: Program, current: Vector, states: Sequence[Vector], fixed: dict[int, Vector], mask: Vector | None
) -> tuple[Vector, list[Vector]]:
    """Output and states after one step; with a mask, no output on padding, and the states as they were."""
    output, *after = apply(b, program, [current, *states], fixed)
    if mask is None:
        return output, after
    held = [choose(b, mask, new, old) for new, old in zip(after, states, strict=True)]
    return choose(b, mask, output, constant(0.0)), held


def _retreat(
    b: Any,
    program: Program,
    current: Vector,
    states: Sequence[Vector],
    parameters: Sequence[Vector],
    of_output: Vector,
    of_states: Sequence[Vector],
    fixed: dict[int, Vector],
    mask: Vector | None,
) -> tuple[Vector, list[Vector], list[Vector]]:
    """Gradients of the current, of the states before one step and of the parameters."""
    found = apply(b, program, [current, *states, *parameters, of_output, *of_states], fixed)
    slope, (earlier, shares) = found[0], _split(found[1:], len(states))
    if mask is None:
        return slope, earlier, shares
    zero = constant(0.0)
    held = [choose(b, mask, new, old) for new, old in zip(earlier, of_states, strict=True)]
    return choose(b, mask, slope, zero), held, [choose(b, mask, share, zero) for share in shares]


def _sum(b: Any, vectors: Sequence[Vector]) -> Vector:
    """Their sum, in pairs of pairs, so that few additions wait for one another."""
    if len(vectors) == 1:
        return vectors[0]
    half = len(vectors) // 2
    return add(b, _sum(b, vectors[:half]), _sum(b, vectors[half:]))


def _split(vectors: Sequence[Vector], at: int) -> tuple[list[Vector], list[Vector]]:
    return list(vectors[:at]), list(vectors[at:])


def _state_place(b: Any, address: Any, row: Any, apart: Any, neuron: int, state: int) -> Any:
    numbers = b.add(b.mul(row, _long(neuron)), b.mul(apart, _long(state)))
    return b.add(address, b.mul(numbers, _long(4)))


def _load_states(b: Any, address: Any, row: Any, apart: Any, states: int, width: int, shared: bool) -> list[Vector]:
    """The states of ``width`` neurons, one neuron after another."""
    places = [_state_place(b, address, row, apart, i, s) for i in range(width) for s in range(states)]
    return [spread(b, place, 1)[0] if shared else Memory(b, place).load(0) for place in places]


def _index(b: Any, t: Any, states: int, s: int) -> Any:
    return b.add(b.mul(t, _long(states)), _long(s))


def _shift(b: Any, address: Any, vectors: int) -> Any:
    return b.add(address, _long(_BYTES * vectors))


def _long(number: int) -> Any:
    return ir.Constant(ir.IntType(64), number)
