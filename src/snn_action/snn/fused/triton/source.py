"""Triton's source text for a neuron's equations: templates of loops over time, filled with the program's lines.

Names in it: ``a0`` the current, ``s`` states, ``p`` parameters, ``v`` and ``w`` results of forward and backward,
``g0`` the gradient of the output, ``h`` those of the states, ``q`` sums of those of parameters.
"""

import ctypes
import math
import struct
from collections.abc import Sequence

from snn_action.snn.fused.ir import Constant, Equations, Program, Value
from snn_action.snn.fused.operations import INSTRUCTIONS

HEAD = """import triton
import triton.language as tl


@triton.jit
def rint(x):
    size = tl.abs(x)
    whole = tl.where(size < 8388608.0, (size + 8388608.0) - 8388608.0, size)
    sign = x.to(tl.int32, bitcast=True) & -2147483648
    return (whole.to(tl.int32, bitcast=True) | sign).to(tl.float32, bitcast=True)

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
        tl.store(spikes + row, tl.where(t < length, {output}, tl.zeros([BLOCK], tl.float32)), mask=ok)
        {hold}
    {store_states}
"""

_NEURONS_BACKWARD = """
@triton.jit
def neurons_backward(current, grads, before, grad_states, lengths, own, scratch, grad_current, grad_params, B, T, N,
                     first, BLOCK: tl.constexpr):
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
        mask = ok & (t < length)
        tl.store(grad_current + row, tl.where(mask, {slope}, tl.zeros([BLOCK], tl.float32)), mask=ok)
        {hold_gradients}
    {store_gradients}
    {store_params}
"""


class Text:
    """Lines of a program, with names for its values: ``a`` inputs, ``v`` results."""

    def __init__(self, program: Program, names: Sequence[str], prefix: str) -> None:
        self.names = [*names]
        target = _Lines(prefix)
        for instruction in program.instructions:
            operands = [self.operand(value) for value in instruction.values]
            self.names.append(INSTRUCTIONS[instruction.name].lower(target, *operands))  # type: ignore[misc]
        self.lines = target.lines
        self.results = [self.operand(value) for value in program.results]

    def operand(self, value: Value) -> str:
        """A value's name, or its number."""
        return write_number(value.number) if isinstance(value, Constant) else self.names[value]


def write_number(number: float) -> str:
    """A float32 number as Triton has it: a subnormal one would be float64."""
    if isinstance(number, bool):
        return f"tl.full([], {int(number)}, tl.int1)"
    if 0 < abs(number) < 2.0**-126:
        bits = struct.unpack("i", struct.pack("f", number))[0]
        return f"tl.full([], {bits}, tl.int32).to(tl.float32, bitcast=True)"
    return f"({number!r})" if math.isfinite(number) else f'float("{number!r}")'


class _Lines:
    """The target of ``formulas``: a line of text each, whose result has a name."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.lines: list[str] = []

    def _name(self, expression: str) -> str:
        name = f"{self.prefix}{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        return name

    def number(self, number: float) -> str:
        return write_number(ctypes.c_float(number).value)

    def whole(self, number: int) -> str:
        return f"({number})"

    def add(self, x: str, y: str) -> str:
        return self._name(f"{x} + {y}")

    def subtract(self, x: str, y: str) -> str:
        return self._name(f"{x} - {y}")

    def multiply(self, x: str, y: str) -> str:
        return self._name(f"{x} * {y}")

    def divide(self, x: str, y: str) -> str:
        return self._name(f"tl.div_rn({x}, {y})")

    def fma(self, x: str, y: str, z: str) -> str:
        return self._name(f"tl.fma({x}, {y}, {z})")

    def negate(self, x: str) -> str:
        return self._name(f"{x} * -1.0")  # Triton takes -x for 0 - x, which has no -0

    def call(self, x: str, *, llvm: str, triton: str) -> str:  # noqa: ARG002
        return self._name(f"{triton}({x})")

    def compare(self, sign: str, x: str, y: str) -> str:
        return self._name(f"{x} {sign} {y}")

    def choose(self, flag: str, x: str, y: str) -> str:
        return self._name(f"tl.where({flag}, {x}, {y})")

    def logic(self, sign: str, x: str, y: str) -> str:
        return self._name(f"{x} {sign} {y}")

    def bits(self, x: str) -> str:
        return self._name(f"{x}.to(tl.int32, bitcast=True)")

    def from_bits(self, bits: str) -> str:
        return self._name(f"{bits}.to(tl.float32, bitcast=True)")

    def from_whole(self, whole: str) -> str:
        return self._name(f"{whole}.to(tl.float32)")

    def integer(self, sign: str, x: str, y: str) -> str:
        return self._name(f"{x} {sign} {y}")


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
        "keep": [f"tl.store(scratch + {place.format(len(states), i)}, s{i}, mask=ok)" for i in states],
        "recall": [f"s{i} = tl.load(scratch + {place.format(len(states), i)}, mask=ok, other=0.0)" for i in states],
        "load_gradients": [f"h{i} = tl.load(grad_states + {i} * B * N + {one}, mask=ok, other=0.0)" for i in states],
        "zero_params": [f"q{i} = tl.zeros([BLOCK], tl.float32)" for i in params],
        "back": back.lines,
        "slope": back.results[0],
        "hold_gradients": [f"k{i} = {found[i]}" for i in states]
        + [f"q{i} += tl.where(mask, {found[len(states) + i]}, 0.0)" for i in params]
        + [f"h{i} = tl.where(t < length, k{i}, h{i})" for i in states],
        "store_gradients": [f"tl.store(grad_states + {i} * B * N + {one}, h{i}, mask=ok)" for i in states],
        "store_params": [
            f"tl.store(grad_params + (clip * tl.num_programs(1) + tl.program_id(1)) * {len(params)} + {i}, "
            f"tl.sum(q{i}, 0))"
            for i in params
        ],
    }
    return "\n".join([HEAD, fill(_NEURONS_FORWARD, **forward), fill(_NEURONS_BACKWARD, **backward)])
