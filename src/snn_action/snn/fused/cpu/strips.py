"""What one thread does for 16 (or a few times 16) neurons over all time steps, written for any neuron's equations.

A strip is a function in machine code, of the addresses and counts of a structure in ``arguments``. States stay in
registers from step to step. Strips of an ensemble array have 16 clips in a vector and a few neurons of one ensemble
side by side, which share the value that they stand for; strips of neurons over time have 16 neurons of one clip in a
vector.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir

from snn_action.snn.fused.cpu import arguments, machine_code
from snn_action.snn.fused.cpu.arguments import (
    ArrayBackward,
    ArrayBackwardOfRates,
    ArrayForward,
    NeuronsBackward,
    NeuronsForward,
    States,
    Structure,
)
from snn_action.snn.fused.cpu.step import advance, prepare, retreat
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
    """``ArrayForward``: ``width`` neurons of one ensemble, in 16 clips.

    Adds to ``decoded`` what the neurons' spikes decode to and to ``spikes`` (16,) how many there were. Where states
    before are ``shared`` they are single numbers, the same in all clips.
    """
    program, states = equations.forward, equations.states

    def emit(b: Any, given: ArrayForward) -> None:
        gains, biases, decoders = (spread(b, place, width) for place in given.weights)
        values, masks, totals = (Memory(b, place, given.stride) for place in (given.x, given.mask, given.decoded))
        counts, fixed = Memory(b, given.spikes), prepare(b, program, equations, given.params)

        def body(t: Any, carried: list[Vector]) -> list[Vector]:
            now, total, fired, after = values.load(t), totals.load(t), [], []
            mask = masks.load(t) if masked else None
            for i in range(width):
                before = carried[i * states : (i + 1) * states]
                spikes, new = advance(b, program, fma(b, gains[i], now, biases[i]), before, fixed, mask)
                total = fma(b, decoders[i], spikes, total)
                fired.append(spikes)
                after += new
            totals.store(t, total)
            return [*after, add(b, carried[-1], _sum(b, fired))]

        start = _load_states(b, given.before, states, width, shared)
        ends = [_state_place(b, given.after, i, s) for i in range(width) for s in range(states)]
        *last, n = loop(b, given.steps, [*start, counts.load(0)], body)
        for end, vector in zip(ends, last, strict=True):
            Memory(b, end).store(0, vector)
        counts.store(0, n)

    return _compile("array_forward", ArrayForward, emit)


@cache
def array_backward_of_rates(equations: Equations, rates: Equations, width: int, masked: bool, shared: bool) -> int:
    """``ArrayBackwardOfRates``: the backward pass of ``array_forward``.

    Spikes as ``equations`` have them, the derivative of each step's output that of ``rates``. Adds to ``grad_x``, to
    ``grad_weights`` (width, 3, 16), of gain, bias and decoder, and to ``grad_params`` (parameters, 16).
    """
    program, states, parameters = equations.forward, equations.states, equations.parameters

    def emit(b: Any, given: ArrayBackwardOfRates) -> None:
        gains, biases, decoders = (spread(b, place, width) for place in given.weights)
        rows = given.x, given.mask, given.grad_decoded, given.grad_x
        values, masks, wanted, gathered = (Memory(b, place, given.stride) for place in rows)
        fixed = prepare(b, program, equations, given.params)
        fixed_back = prepare(b, rates.backward, rates, given.params)
        grad_spike, params = Memory(b, given.grad_spike).load(0), spread(b, given.params, parameters)
        size = states + 3

        def body(t: Any, carried: list[Vector]) -> list[Vector]:
            now, grad, total, after = values.load(t), wanted.load(t), gathered.load(t), []
            mask, grad_params = masks.load(t) if masked else None, carried[size * width :]
            for i in range(width):
                before, (grad_gain, grad_bias, grad_decoder) = _split(carried[i * size : (i + 1) * size], states)
                current = fma(b, gains[i], now, biases[i])
                spikes, new = advance(b, program, current, before, fixed, mask)
                grad_output = fma(b, grad, decoders[i], grad_spike)
                if mask is not None:
                    grad_output = choose(b, mask, grad_output, constant(0.0))
                slope, *shares = apply(b, rates.backward, [current, *params, grad_output], fixed_back)
                total = fma(b, slope, gains[i], total)
                after += [*new, fma(b, slope, now, grad_gain), add(b, grad_bias, slope)]
                after.append(fma(b, grad, spikes, grad_decoder))
                grad_params = [add(b, old, new) for old, new in zip(grad_params, shares, strict=True)]
            gathered.store(t, total)
            return [*after, *grad_params]

        zero, found = constant(0.0), Memory(b, given.grad_weights)
        loaded = _load_states(b, given.before, states, width, shared)
        start = [v for i in range(width) for v in (*loaded[i * states : (i + 1) * states], zero, zero, zero)]
        kept = Memory(b, given.grad_params)
        last = loop(b, given.steps, [*start, *(kept.load(p) for p in range(parameters))], body)
        for i in range(width):
            for kind in range(3):
                place = 3 * i + kind
                found.store(place, add(b, found.load(place), last[i * size + states + kind]))
        for p in range(parameters):
            kept.store(p, last[size * width + p])

    return _compile("array_backward_of_rates", ArrayBackwardOfRates, emit)


@cache
def array_backward(equations: Equations, masked: bool, shared: bool) -> int:
    """``ArrayBackward``: as ``array_backward_of_rates``, but one neuron, back through time.

    Its states before each step pass through ``scratch`` (steps, states, 16).
    """
    program, back, states, parameters = equations.forward, equations.backward, equations.states, equations.parameters

    def emit(b: Any, given_and_scratch: ArrayBackward) -> None:
        given, scratch = given_and_scratch
        (gain,), (bias,), (decoder,) = (spread(b, place, 1) for place in given.weights)
        rows = given.x, given.mask, given.grad_decoded, given.grad_x
        values, masks, wanted, gathered = (Memory(b, place, given.stride) for place in rows)
        grad_spike, params = Memory(b, given.grad_spike).load(0), spread(b, given.params, parameters)
        fixed, fixed_back = prepare(b, program, equations, given.params), prepare(b, back, equations, given.params)
        passed = Memory(b, scratch)

        def onward(t: Any, carried: list[Vector]) -> list[Vector]:
            mask = masks.load(t) if masked else None
            for s in range(states):
                passed.store(_index(b, t, states, s), carried[s])
            current = fma(b, gain, values.load(t), bias)
            spikes, new = advance(b, program, current, carried[:-1], fixed, mask)
            return [*new, fma(b, wanted.load(t), spikes, carried[-1])]

        def backward(turn: Any, carried: list[Vector]) -> list[Vector]:
            t = b.sub(b.sub(given.steps, turn), turn.type(1))
            now, mask = values.load(t), masks.load(t) if masked else None
            grad_states, (grad_gain, grad_bias, *grad_params) = _split(carried, states)
            earlier = [passed.load(_index(b, t, states, s)) for s in range(states)]
            current = fma(b, gain, now, bias)
            grad_output = fma(b, wanted.load(t), decoder, grad_spike)
            slope, earlier, shares = retreat(
                b, back, current, earlier, params, grad_output, grad_states, fixed_back, mask
            )
            gathered.store(t, fma(b, slope, gain, gathered.load(t)))
            grad_params = [add(b, old, new) for old, new in zip(grad_params, shares, strict=True)]
            return [*earlier, fma(b, slope, now, grad_gain), add(b, grad_bias, slope), *grad_params]

        zero, kept = constant(0.0), Memory(b, given.grad_params)
        start = _load_states(b, given.before, states, 1, shared)
        *_, grad_decoder = loop(b, given.steps, [*start, zero], onward)
        grad_params = [kept.load(p) for p in range(parameters)]
        last = loop(b, given.steps, [*[zero] * states, zero, zero, *grad_params], backward)
        found = Memory(b, given.grad_weights)
        for i, vector in enumerate((*last[states : states + 2], grad_decoder)):
            found.store(i, add(b, found.load(i), vector))
        for p in range(parameters):
            kept.store(p, last[states + 2 + p])

    return _compile("array_backward", ArrayBackward, emit)


@cache
def neurons_forward(equations: Equations, width: int) -> int:
    """``NeuronsForward``: ``width`` vectors of neurons, over the steps of one clip; ``state`` is replaced."""
    program, states = equations.forward, equations.states

    def emit(b: Any, given: NeuronsForward) -> None:
        fixed = prepare(b, program, equations, given.params)
        currents = [Memory(b, _shift(b, given.current, i), given.stride) for i in range(width)]
        made = [Memory(b, _shift(b, given.spikes, i), given.stride) for i in range(width)]
        places = [Memory(b, _shift(b, given.state, i), given.apart) for i in range(width)]

        def body(t: Any, carried: list[Vector]) -> list[Vector]:
            after = []
            for i in range(width):
                before = carried[i * states : (i + 1) * states]
                spiked, new = advance(b, program, currents[i].load(t), before, fixed, None)
                made[i].store(t, spiked)
                after += new
            return after

        last = loop(b, given.steps, [place.load(s) for place in places for s in range(states)], body)
        for i, place in enumerate(places):
            for s in range(states):
                place.store(s, last[i * states + s])

    return _compile("neurons_forward", NeuronsForward, emit)


@cache
def neurons_backward(equations: Equations) -> int:
    """``NeuronsBackward``: 16 neurons, back through time.

    ``grad_state`` holds the gradients of the states after the last step and is replaced by those of the states before
    the first; ``grad_params`` and ``scratch`` are as in ``array_backward``.
    """
    program, back, states, parameters = equations.forward, equations.backward, equations.states, equations.parameters

    def emit(b: Any, given: NeuronsBackward) -> None:
        params = spread(b, given.params, parameters)
        fixed, fixed_back = prepare(b, program, equations, given.params), prepare(b, back, equations, given.params)
        rows = given.current, given.grad_spikes, given.grad_current
        currents, wanted, gathered = (Memory(b, place, given.stride) for place in rows)
        passed, kept = Memory(b, given.scratch), Memory(b, given.grad_params)
        gradients = Memory(b, given.grad_state, given.apart)

        def onward(t: Any, carried: list[Vector]) -> list[Vector]:
            for s in range(states):
                passed.store(_index(b, t, states, s), carried[s])
            return advance(b, program, currents.load(t), carried, fixed, None)[1]

        def backward(turn: Any, carried: list[Vector]) -> list[Vector]:
            t = b.sub(b.sub(given.steps, turn), turn.type(1))
            grad_states, grad_params = _split(carried, states)
            before = [passed.load(_index(b, t, states, s)) for s in range(states)]
            slope, earlier, shares = retreat(
                b, back, currents.load(t), before, params, wanted.load(t), grad_states, fixed_back, None
            )
            gathered.store(t, slope)
            return [*earlier, *(add(b, old, new) for old, new in zip(grad_params, shares, strict=True))]

        loop(b, given.steps, [Memory(b, given.state, given.apart).load(s) for s in range(states)], onward)
        start = [gradients.load(s) for s in range(states)] + [kept.load(p) for p in range(parameters)]
        last = loop(b, given.steps, start, backward)
        for s in range(states):
            gradients.store(s, last[s])
        for p in range(parameters):
            kept.store(p, last[states + p])

    return _compile("neurons_backward", NeuronsBackward, emit)


def _compile(name: str, structure: type[Structure], emit: Callable[[Any, Structure], None]) -> int:
    """The address of a function of a structure's integers; ``emit(builder, structure)`` writes what it does."""

    def emit_unpacked(b: Any, integers: list[Any]) -> None:
        emit(b, arguments.unpack(structure, integers))

    return machine_code.compile_function(name, arguments.count(structure), emit_unpacked)


def _sum(b: Any, vectors: Sequence[Vector]) -> Vector:
    """Their sum, in pairs of pairs, so that few additions wait for one another."""
    if len(vectors) == 1:
        return vectors[0]
    half = len(vectors) // 2
    return add(b, _sum(b, vectors[:half]), _sum(b, vectors[half:]))


def _split(vectors: Sequence[Vector], at: int) -> tuple[list[Vector], list[Vector]]:
    return list(vectors[:at]), list(vectors[at:])


def _state_place(b: Any, places: States, neuron: int, state: int) -> Any:
    numbers = b.add(b.mul(places.row, _long(neuron)), b.mul(places.apart, _long(state)))
    return b.add(places.address, b.mul(numbers, _long(4)))


def _load_states(b: Any, given: States, states: int, width: int, shared: bool) -> list[Vector]:
    """The states of ``width`` neurons, one neuron after another."""
    places = [_state_place(b, given, i, s) for i in range(width) for s in range(states)]
    return [spread(b, place, 1)[0] if shared else Memory(b, place).load(0) for place in places]


def _index(b: Any, t: Any, states: int, s: int) -> Any:
    return b.add(b.mul(t, _long(states)), _long(s))


def _shift(b: Any, address: Any, vectors: int) -> Any:
    return b.add(address, _long(_BYTES * vectors))


def _long(number: int) -> Any:
    return ir.Constant(ir.IntType(64), number)
