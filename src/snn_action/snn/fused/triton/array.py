"""Triton's source text of ensemble arrays; names as in ``source``.

A program of the grid takes all neurons of one ensemble in ``CLIPS`` clips, as a block (CLIPS, NEURONS). Gradients of
values are sums over its neurons; those of weights and parameters, sums over its clips, are one row a program, summed
afterwards, so that no two programs write to one place.
"""

from collections.abc import Sequence

from snn_action.snn.fused.ir import Equations
from snn_action.snn.fused.triton.source import HEAD, Text, fill

Parts = dict[str, Sequence[str] | str]

_BEGIN = """
    b = tl.program_id(1) * CLIPS + tl.arange(0, CLIPS)
    n = tl.arange(0, NEURONS)
    fine = b < B
    ok = fine[:, None] & (n < N)[None, :]
    g = tl.load(gain + e * N + n, mask=n < N, other=0.0)[None, :]
    o = tl.load(bias + e * N + n, mask=n < N, other=0.0)[None, :]
    d = tl.load(decoders + e * N + n, mask=n < N, other=0.0)[None, :]
    zero = tl.zeros([CLIPS, NEURONS], tl.float32)
    {load_params}
    {load_states}"""

_NOW = """
        row = (e * T + t) * B + b
        now = tl.load(x + row, mask=fine, other=0.0)[:, None]
        awake = ok
        if masked:
            awake = ok & (tl.load(mask + t * B + b, mask=fine, other=0.0) > 0)[:, None]
        a0 = g * now + o"""

_BEGIN_GRADIENTS = """
    each = tl.load(grad_spike + b, mask=fine, other=0.0)[:, None]
    grad_gain = zero
    grad_bias = zero
    grad_decoder = zero
    {zero_params}"""

_SLOPE = """
        g0 = tl.where(awake, wanted * d + each, 0.0)
        {back}
        slope = tl.where(awake, {slope}, 0.0)
        tl.store(grad_x + row, tl.sum(slope * g, 1), mask=fine)
        grad_gain += slope * now
        grad_bias += slope
        {add_params}"""

_STORE_GRADIENTS = """
    part = tl.program_id(1) * 3
    tl.store(grad_weights + (part * E + e) * N + n, tl.sum(grad_gain, 0), mask=n < N)
    tl.store(grad_weights + ((part + 1) * E + e) * N + n, tl.sum(grad_bias, 0), mask=n < N)
    tl.store(grad_weights + ((part + 2) * E + e) * N + n, tl.sum(grad_decoder, 0), mask=n < N)
    {store_params}
"""

_FORWARD = f"""
@triton.jit
def array_forward(x, gain, bias, decoders, before, mask, own, decoded, counts, after, E, T, B, N, stride, masked,
                  CLIPS: tl.constexpr, NEURONS: tl.constexpr):
    e = tl.program_id(0).to(tl.int64){_BEGIN}
    total = zero
    for t in range(T):{_NOW}
        {{step}}
        made = tl.where(awake, {{output}}, 0.0)
        total += made
        tl.store(decoded + row, tl.sum(made * d, 1), mask=fine)
        {{hold}}
    tl.store(counts + e * B + b, tl.sum(total, 1), mask=fine)
    {{store_states}}
"""

_BACKWARD_OF_RATES = f"""
@triton.jit
def array_backward_of_rates(x, gain, bias, decoders, before, mask, own, grads, grad_spike, grad_x, grad_weights,
                            grad_params, E, T, B, N, stride, masked, CLIPS: tl.constexpr, NEURONS: tl.constexpr):
    e = tl.program_id(0).to(tl.int64){_BEGIN}{_BEGIN_GRADIENTS}
    for t in range(T):{_NOW}
        {{step}}
        wanted = tl.load(grads + row, mask=fine, other=0.0)[:, None]
        grad_decoder += tl.where(awake, wanted * {{output}}, 0.0){_SLOPE}
        {{hold}}{_STORE_GRADIENTS}"""

_BACKWARD = f"""
@triton.jit
def array_backward(x, gain, bias, decoders, before, mask, own, grads, grad_spike, grad_x, grad_weights, grad_params,
                   scratch, E, T, B, N, stride, masked, first, CLIPS: tl.constexpr, NEURONS: tl.constexpr):
    e = tl.program_id(0).to(tl.int64) + first{_BEGIN}{_BEGIN_GRADIENTS}
    own = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * T
    cell = tl.arange(0, CLIPS)[:, None] * NEURONS + n[None, :]
    for t in range(T):{_NOW}
        {{keep}}
        {{step}}
        wanted = tl.load(grads + row, mask=fine, other=0.0)[:, None]
        grad_decoder += tl.where(awake, wanted * {{output}}, 0.0)
        {{hold}}
    tl.debug_barrier()
    {{zero_gradients}}
    for turn in range(T):
        t = T - 1 - turn{_NOW}
        {{recall}}
        wanted = tl.load(grads + row, mask=fine, other=0.0)[:, None]{_SLOPE}
        {{hold_gradients}}{_STORE_GRADIENTS}"""


def write_array(equations: Equations) -> str:
    """A module with ``array_forward``, and ``array_backward`` through time, of a neuron's equations."""
    forward, back = _describe_step(equations), _describe_slope(equations, equations.states)
    return "\n".join([HEAD, fill(_FORWARD, **forward), fill(_BACKWARD, **forward, **back)])


def write_array_of_rates(equations: Equations, rates: Equations) -> str:
    """A module with ``array_backward_of_rates``: spikes of ``equations``, whose derivative is that of ``rates``."""
    return "\n".join([HEAD, fill(_BACKWARD_OF_RATES, **_describe_step(equations), **_describe_slope(rates, 0))])


def _describe_step(equations: Equations) -> Parts:
    states, params = range(equations.states), range(equations.parameters)
    ahead = Text(equations.forward, ["a0", *(f"s{i}" for i in states), *(f"p{i}" for i in params)], "v")
    shared, own = "(e * N + n)[None, :] * stride + (b * (stride > 1))[:, None]", "(e * N + n)[None, :] * B + b[:, None]"
    return {
        "step": ahead.lines,
        "output": ahead.results[0],
        "load_params": [f"p{i} = tl.load(own + {i})" for i in params],
        "load_states": [
            f"s{i} = tl.load(before + {i} * E * N * stride + {shared}, mask=ok, other=0.0)" for i in states
        ],
        "hold": [f"n{i} = {ahead.results[1 + i]}" for i in states]
        + [f"s{i} = tl.where(awake, n{i}, s{i})" for i in states],
        "store_states": [f"tl.store(after + {i} * E * N * B + {own}, s{i}, mask=ok)" for i in states],
    }


def _describe_slope(equations: Equations, states: int) -> Parts:
    params = range(equations.parameters)
    inputs = ["a0", *(f"s{i}" for i in range(states)), *(f"p{i}" for i in params)]
    back = Text(equations.backward, [*inputs, "g0", *(f"h{i}" for i in range(states))], "w")
    found, row = back.results[1:], "(e * tl.num_programs(1) + tl.program_id(1))"
    place = f"((own + t) * {states} + {{0}}) * (CLIPS * NEURONS) + cell"
    return {
        "back": back.lines,
        "slope": back.results[0],
        "zero_params": [f"q{i} = zero" for i in params],
        "add_params": [f"q{i} += tl.where(awake, {found[states + i]}, 0.0)" for i in params],
        "store_params": [
            f"tl.store(grad_params + {row} * {len(params)} + {i}, tl.sum(tl.sum(q{i}, 1), 0))" for i in params
        ],
        "keep": [f"tl.store(scratch + {place.format(i)}, s{i})" for i in range(states)],
        "recall": [f"s{i} = tl.load(scratch + {place.format(i)})" for i in range(states)],
        "zero_gradients": [f"h{i} = zero" for i in range(states)],
        "hold_gradients": [f"k{i} = {found[i]}" for i in range(states)]
        + [f"h{i} = tl.where(awake, k{i}, h{i})" for i in range(states)],
    }
