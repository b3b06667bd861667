"""A neuron's equations as a list of instructions, and how such a list is written and simplified.

Each instruction has a name and takes numbers or the results of earlier ones. Kernels for a processor and for a GPU are
written from the same list, so nothing is derived or typed twice. ``tracing`` makes it of PyTorch code.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_action.snn.fused.formulas import NEAR
from snn_action.snn.fused.operations import FLAG, FLOAT, INSTRUCTIONS, Operation

Step = Callable[..., tuple[Tensor, ...]]


class Constant(NamedTuple):
    """A number, or true or false, that is the same in all neurons; ``text`` tells 0 from -0, and 1 from true."""

    number: float
    text: str


def constant(number: float) -> Constant:
    """True or false as it is, any other number as float32 has it."""
    if not isinstance(number, bool):
        number = ctypes.c_float(number).value
        number = math.nan if math.isnan(number) else number  # the one that is equal to itself
    return Constant(number, repr(number))


Value = int | Constant  # an int is the number of an input or of an instruction's result
Range = tuple[float, float]


class UnknownOperationError(Exception):
    """The equations use what kernels do not have, or do not know to be exactly PyTorch's."""


class Instruction(NamedTuple):
    """One operation on single numbers."""

    name: str
    values: tuple[Value, ...]


class Program(NamedTuple):
    """Values 0 to ``inputs - 1`` are what is given, instruction ``i`` makes value ``inputs + i``.

    What is given and the results are numbers; in between there are flags too.
    """

    inputs: int
    instructions: tuple[Instruction, ...]
    results: tuple[Value, ...]

    def fixed(self, inputs: Sequence[int]) -> set[int]:
        """Values that depend on nothing but the given inputs (and constants)."""
        known, found = set(inputs), set()
        for i, instruction in enumerate(self.instructions):
            if all(isinstance(value, Constant) or value in known for value in instruction.values):
                known.add(self.inputs + i)
                found.add(self.inputs + i)
        return found

    def ranges(self) -> list[Range]:
        """The least and the greatest that each value can be where it is a number."""
        ranges: list[Range] = [(-math.inf, math.inf)] * self.inputs
        for instruction in self.instructions:
            given = [(v.number, v.number) if isinstance(v, Constant) else ranges[v] for v in instruction.values]
            ranges.append(_find_range(instruction.name, given))
        return ranges


class Equations(NamedTuple):
    """What kernels need to know of a neuron: one step, and how gradients go back through it.

    ``forward``: current, states, parameters -> output, states. ``backward``: the same, then the gradients of the
    output and of each state after the step -> the gradients of the current, of each state before it and of each
    parameter.
    """

    states: int
    parameters: int
    forward: Program
    backward: Program


_SWAPPED = {"add", "mul", "max", "min", "eq", "ne", "and", "or", "xor"}  # the same with its values swapped
_FOLDED = {"clamp_min": "maximum.default", "clamp_max": "minimum.default", "where": "where.self"}


class ProgramWriter:
    """Instructions without those that repeat, do nothing, or work on constants alone.

    What is left out changes no bit of a result but the sign of a NaN.
    """

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.instructions: list[Instruction] = []
        self.known: dict[Instruction, int] = {}
        self.kinds = [FLOAT] * inputs
        self.now = ""  # PyTorch's operation, for messages

    def constant(self, number: float) -> Constant:
        """See ``constant``."""
        return constant(number)

    def refuse(self, reason: str) -> UnknownOperationError:
        """What to raise for these arguments of the operation."""
        return UnknownOperationError(f"{self.now} with {reason}")

    def kind(self, value: Value) -> str:
        """The type of a value."""
        if isinstance(value, Constant):
            return FLAG if isinstance(value.number, bool) else FLOAT
        return self.kinds[value]

    def apply(self, operation: Operation, given: Sequence[Any]) -> Value:
        """The result of an operation of the table on values of the types that it takes."""
        if operation.made is None:
            return self.put(operation.name, *given)
        kinds = operation.takes or ()
        values = [self._fit(value, kind) for value, kind in zip(given, kinds, strict=False)]
        result: Value = operation.made(self, *values, *given[len(values) :])
        return result

    def put(self, name: str, *values: Any) -> Value:
        """The result of one more instruction."""
        operation = INSTRUCTIONS[name]
        values = tuple(constant(value) if isinstance(value, float | bool) else value for value in values)
        takes = operation.takes
        if takes is None:  # a choice: of flags, or of numbers
            both = FLAG if self.kind(values[1]) == self.kind(values[2]) == FLAG else FLOAT
            takes = (FLAG, both, both)
        values = tuple(self._fit(value, kind) for value, kind in zip(values, takes, strict=True))
        simple = self._simplify(name, values)
        if simple is not None:
            return simple
        instruction = Instruction(name, values)
        if instruction not in self.known:
            self.known[instruction] = self.inputs + len(self.instructions)
            self.instructions.append(instruction)
            self.kinds.append(operation.gives or takes[-1])
        return self.known[instruction]

    def _fit(self, value: Value, kind: str) -> Value:
        """A flag as the number 0 or 1, where a number is taken."""
        if self.kind(value) == kind:
            return value
        if kind == FLAG:
            raise self.refuse("a number in the place of true or false")
        return constant(float(value.number)) if isinstance(value, Constant) else self.put("number", value)

    def _maker(self, value: Value) -> Instruction | None:
        return self.instructions[value - self.inputs] if isinstance(value, int) and value >= self.inputs else None

    def _simplify(self, name: str, values: tuple[Value, ...]) -> Value | None:
        """A value that is the same without a new instruction, or from a simpler one; None: there is none."""
        if all(isinstance(value, Constant) for value in values):
            return _fold(name, values)  # type: ignore[arg-type]
        if name == "where":
            if isinstance(values[0], Constant):
                return values[1] if values[0].number else values[2]
            return values[1] if values[1] == values[2] else None
        a, b = values[0], values[-1]
        made_a, made_b = self._maker(a), self._maker(b)
        if name in _SWAPPED and isinstance(a, Constant):  # constants on the right
            return self.put(name, b, a)
        if name == "neg" and made_a is not None and made_a.name == "neg":
            return made_a.values[0]
        if name in ("add", "sub") and made_b is not None and made_b.name == "neg":
            return self.put("sub" if name == "add" else "add", a, made_b.values[0])
        if name == "add" and made_a is not None and made_a.name == "neg":
            return self.put("sub", b, made_a.values[0])
        if not isinstance(b, Constant):
            return None
        if name in ("max", "min") and not math.isnan(b.number):
            return self.put("clamp_min" if name == "max" else "clamp_max", a, b)
        if b.text == {"add": "-0.0", "sub": "0.0", "mul": "1.0", "div": "1.0", "xor": "False"}.get(name):
            return a
        if name == "div" and _is_power_of_two(b.number):
            return self.put("mul", a, constant(1 / b.number))
        return None

    def finish(self, results: tuple[Value, ...]) -> Program:
        """The program, without what no result needs."""
        needed = {value for value in results if isinstance(value, int)}
        for i in reversed(range(len(self.instructions))):
            if self.inputs + i in needed:
                needed.update(value for value in self.instructions[i].values if isinstance(value, int))
        places = {i: i for i in range(self.inputs)}
        kept: list[Instruction] = []

        def moved(value: Value) -> Value:
            return places[value] if isinstance(value, int) else value

        for i, instruction in enumerate(self.instructions):
            if self.inputs + i in needed:
                places[self.inputs + i] = self.inputs + len(kept)
                kept.append(Instruction(instruction.name, tuple(map(moved, instruction.values))))
        program = Program(self.inputs, tuple(kept), tuple(map(moved, results)))
        ranges = program.ranges()
        simpler = [instruction._replace(name=_find_name(instruction, ranges)) for instruction in kept]
        return program._replace(instructions=tuple(simpler))


def _find_name(instruction: Instruction, ranges: Sequence[Range]) -> str:
    """That of the instruction which does the same with less, where its value's range lets it."""
    value = instruction.values[0]
    low, high = (value.number, value.number) if isinstance(value, Constant) else ranges[value]
    if instruction.name == "log1p" and low > -1:
        return "log1p_above"
    if instruction.name == "expm1" and low >= NEAR[0] and high <= NEAR[1]:
        return "expm1_near"
    return instruction.name


def _is_power_of_two(number: float) -> bool:
    """Whether a product with the inverse is the quotient, to the last bit."""
    return abs(math.frexp(number)[0]) == 0.5 and 2.0**-100 <= abs(number) <= 2.0**100


def _fold(name: str, values: Sequence[Constant]) -> Constant:
    """What PyTorch makes of constants."""
    if name == "number":
        return constant(float(values[0].number))
    overload = _FOLDED.get(name) or next(iter(INSTRUCTIONS[name].overloads))
    function, variant = overload.split(".")
    kinds = [torch.bool if isinstance(value.number, bool) else torch.float32 for value in values]
    tensors = [torch.tensor(value.number, dtype=kind, device="cpu") for value, kind in zip(values, kinds, strict=True)]
    number = getattr(getattr(torch.ops.aten, function), variant)(*tensors).item()
    return constant(number)


def _find_range(name: str, given: Sequence[Range]) -> Range:
    """The range of an instruction's result; that of a flag is any."""
    (low, high), (first, last) = given[0], given[-1]
    match name:
        case "number" | "sigmoid":
            return 0.0, 1.0
        case "tanh":
            return -1.0, 1.0
        case "exp" | "sqrt":
            return 0.0, math.inf
        case "expm1":
            return -1.0, math.inf if high > 0 else 0.0
        case "where":
            return min(given[1][0], first), max(given[1][1], last)
        case "neg":
            return -high, -low
        case "abs":
            return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
        case "clamp_min" | "max":
            return max(low, first), max(high, last)
        case "clamp_max" | "min":
            return min(low, first), min(high, last)
        case "add":
            return _enclose(low + first, high + last)
        case "sub":
            return _enclose(low - last, high - first)
        case "mul":
            return _enclose(low * first, low * last, high * first, high * last)
    return -math.inf, math.inf


def _enclose(*ends: float) -> Range:
    """Of results with and without rounding to float32."""
    if any(math.isnan(end) for end in ends):
        return -math.inf, math.inf
    every = [*ends, *(ctypes.c_float(end).value for end in ends)]
    return min(every), max(every)
