"""Triton's source text for a neuron's equations: templates of loops over time, filled with the program's lines.

Names in it: ``a0`` the current, ``s`` states, ``p`` parameters, ``v`` and ``w`` results of forward and backward,
``g0`` the gradient of the output, ``h`` those of the states, ``q`` sums of those of parameters.
"""

import math
from collections.abc import Sequence

from snn_action.kernels.program import Constant, Equations, Program, Value

_FORMULAS = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "abs": "tl.abs({0})",
    "sqrt": "tl.sqrt({0})",
    "floor": "tl.floor({0})",
    "ceil": "tl.ceil({0})",
    "rint": "({0} + 12582912.0) - 12582912.0",
    "max": "tl.where({0} < {1}, {1}, {0})",
    "min": "tl.where({0} > {1}, {1}, {0})",
    "exp": "tl.exp({0})",
    "expm1": "expm1({0})",
    "log": "tl.log({0})",
    "log1p": "log1p({0})",
    "tanh": "tanh({0})",
    "sigmoid": "1 / (1 + tl.exp(-({0})))",
    "gt": "{0} > {1}",
    "ge": "{0} >= {1}",
    "lt": "{0} < {1}",
    "le": "{0} <= {1}",
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "not": "{0} == 0",
    "where": "tl.where({0}, {1}, {2})",
}

HEAD = """import triton
import triton.language as tl


@triton.jit
def expm1(x):
    near = x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6 * (1 + x / 7))))))
    return tl.where(tl.abs(x) < 0.3, near, tl.exp(x) - 1)


@triton.jit
def log1p(x):
    u = 1 + x
    return tl.where(u == 1, x, tl.log(u) * x / tl.where(u == 1, 1.0, u - 1))


@triton.jit
def tanh(x):
    e = expm1(2 * tl.minimum(tl.maximum(x, -9.5), 9.5))
    return e / (e + 2)

"""

_NEURONS_FORWARD = """
@triton.jit
def neurons_forward(current, spikes, before, after, lengths, own, B, T, N, BLOCK: tl.constexpr):
    clip = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    ok = n < N
    length = tl.load(lengths + clip)
    {load_params}
    {load_states}
    for t in range(T):
        row = (clip * T + t) * N + n
        a0 = tl.load(current + row, mask=ok, other=0.0)
        {step}
        tl.store(spikes + row, tl.where(t < length, {output} + tl.zeros([BLOCK], tl.float32), 0.0), mask=ok)
        {hold}
    {store_states}
"""

_NEURONS_BACKWARD = """
@triton.jit
def neurons_backward(current, grads, before, of_state, lengths, own, room, grad_current, grad_params, B, T, N, first,
                     BLOCK: tl.constexpr):
    local = tl.program_id(0).to(tl.int64)
    clip = local + first
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    ok = n < N
    length = tl.load(lengths + clip)
    {load_params}
    {load_states}
    for t in range(T):
        a0 = tl.load(current + (clip * T + t) * N + n, mask=ok, other=0.0)
        {keep}
        {step}
        {hold}
    tl.debug_barrier()
    {load_gradients}
    {zero_params}
    for turn in range(T):
        t = T - 1 - turn
        row = (clip * T + t) * N + n
        a0 = tl.load(current + row, mask=ok, other=0.0)
        {recall}
        g0 = tl.load(grads + row, mask=ok, other=0.0)
        {back}
        real = ok & (t < length)
        tl.store(grad_current + row, tl.where(real, {of_current} + tl.zeros([BLOCK], tl.float32), 0.0), mask=ok)
        {hold_gradients}
    {store_gradients}
    {store_params}
"""


class Text:
    """Lines of a program, with names for its values: ``a`` inputs, ``v`` results."""

    def __init__(self, program: Program, names: Sequence[str], prefix: str) -> None:
        self.names = [*names]
        self.lines = []
        for i, instruction in enumerate(program.instructions):
            self.names.append(f"{prefix}{i}")
            operands = [self.operand(value) for value in instruction.values]
            self.lines.append(f"{prefix}{i} = {_FORMULAS[instruction.name].format(*operands)}")
        self.results = [self.operand(value) for value in program.results]

    def operand(self, value: Value) -> str:
        """A value's name, or its number."""
        if not isinstance(value, Constant):
            return self.names[value]
        return f"({value.number!r})" if math.isfinite(value.number) else f'float("{value.number!r}")'


def fill(template: str, **parts: Sequence[str] | str) -> str:
    """The template, with lines in the places of their names, indented as these are."""
    lines = []
    for line in template.splitlines():
        name = line.strip()[1:-1] if line.strip().startswith("{") and line.strip().endswith("}") else ""
        if name in parts and not isinstance(parts[name], str):
            indent = line[: len(line) - len(line.lstrip())]
            lines += [indent + part for part in parts[name]]
        else:
            lines.append(line.format(**parts) if "{" in line else line)
    return "\n".join(lines) + "\n"


def write_neurons(equations: Equations) -> str:
    """A module with ``neurons_forward`` and ``neurons_backward`` of a neuron's equations."""
    states, params = range(equations.states), range(equations.parameters)
    inputs = ["a0", *(f"s{i}" for i in states), *(f"p{i}" for i in params)]
    ahead = Text(equations.forward, inputs, "v")
    back = Text(equations.backward, [*inputs, "g0", *(f"h{i}" for i in states)], "w")
    one, results, found = "clip * N + n", ahead.results[1:], back.results[1:]
    forward: dict[str, Sequence[str] | str] = {
        "step": ahead.lines,
        "output": ahead.results[0],
        "load_params": [f"p{i} = tl.load(own + {i})" for i in params],
        "load_states": [f"s{i} = tl.load(before + {i} * B * N + {one}, mask=ok, other=0.0)" for i in states],
        "hold": [f"n{i} = {results[i]}" for i in states] + [f"s{i} = tl.where(t < length, n{i}, s{i})" for i in states],
        "store_states": [f"tl.store(after + {i} * B * N + {one}, s{i}, mask=ok)" for i in states],
    }
    place = "(((local * T + t) * {0} + {1}) * N + n)"
    backward: dict[str, Sequence[str] | str] = {
        **forward,
        "keep": [f"tl.store(room + {place.format(len(states), i)}, s{i}, mask=ok)" for i in states],
        "recall": [f"s{i} = tl.load(room + {place.format(len(states), i)}, mask=ok, other=0.0)" for i in states],
        "load_gradients": [f"h{i} = tl.load(of_state + {i} * B * N + {one}, mask=ok, other=0.0)" for i in states],
        "zero_params": [f"q{i} = tl.zeros([BLOCK], tl.float32)" for i in params],
        "back": back.lines,
        "of_current": back.results[0],
        "hold_gradients": [f"k{i} = {found[i]}" for i in states]
        + [f"q{i} += tl.where(real, {found[len(states) + i]}, 0.0)" for i in params]
        + [f"h{i} = tl.where(t < length, k{i}, h{i})" for i in states],
        "store_gradients": [f"tl.store(of_state + {i} * B * N + {one}, h{i}, mask=ok)" for i in states],
        "store_params": [
            f"tl.store(grad_params + (clip * tl.num_programs(1) + tl.program_id(1)) * {len(params)} + {i}, "
            f"tl.sum(q{i}, 0))"
            for i in params
        ],
    }
    return "\n".join([HEAD, fill(_NEURONS_FORWARD, **forward), fill(_NEURONS_BACKWARD, **backward)])
