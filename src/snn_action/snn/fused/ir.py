"""The intermediate representation: a neuron's equations as a list of instructions on single numbers.

Each instruction has a name in the table of operations and takes constants or the results of earlier ones. Kernels for a
CPU and for a GPU are written from the same list, so nothing is derived or typed twice. ``trace`` makes it of PyTorch
code, ``builder`` simplifies it.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from snn_action.snn.fused import ranges
from snn_action.snn.fused.operations import BOOL, FLOAT, INSTRUCTIONS, Type
from snn_action.snn.fused.ranges import Range

Step = Callable[..., tuple[Tensor, ...]]


class UnknownOperationError(Exception):
    """The equations use what kernels do not have, or do not know to be exactly PyTorch's."""


class Constant(NamedTuple):
    """A number, or true or false, that is the same in all neurons; ``text`` tells 0 from -0, and 1 from true."""

    number: float
    text: str

    @property
    def type(self) -> Type:
        """Of the value."""
        return BOOL if isinstance(self.number, bool) else FLOAT


def constant(number: float) -> Constant:
    """True or false as it is, any other number as float32 has it."""
    if not isinstance(number, bool):
        number = ctypes.c_float(number).value
        number = math.nan if math.isnan(number) else number  # the one that is equal to itself
    return Constant(number, repr(number))


Value = int | Constant  # an int is the number of an input or of an instruction's result


class Instruction(NamedTuple):
    """One operation on single numbers."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Program:
    """Values 0 to ``inputs - 1`` are what is given, instruction ``i`` makes value ``inputs + i``.

    What is given and the results are float; in between there are bools too. ``types`` are those of all values.

    Raises:
        TypeError: an instruction, or a result, has a value of another type than it takes.
        ValueError: an instruction is not in the table, or takes what is not known where it stands.
    """

    inputs: int
    instructions: tuple[Instruction, ...]
    results: tuple[Value, ...]
    types: tuple[Type, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        types = [FLOAT] * self.inputs
        for instruction in self.instructions:
            types.append(_check(instruction, types))
        for result in self.results:
            if _find_type(result, types, "a result") is not FLOAT:
                raise TypeError("a result is a bool, not a float")
        object.__setattr__(self, "types", tuple(types))

    def find_invariant(self, inputs: Sequence[int]) -> set[int]:
        """Values that depend on nothing but the given inputs (and constants): the same in all steps of a loop."""
        known, found = set(inputs), set()
        for i, instruction in enumerate(self.instructions):
            if all(isinstance(value, Constant) or value in known for value in instruction.values):
                known.add(self.inputs + i)
                found.add(self.inputs + i)
        return found

    def find_ranges(self) -> list[Range]:
        """The least and the greatest that each value can be where it is a number."""
        found: list[Range] = [ranges.ANY] * self.inputs
        for name, values in self.instructions:
            given = [(v.number, v.number) if isinstance(v, Constant) else found[v] for v in values]
            found.append(INSTRUCTIONS[name].range(*given))
        return found


def _check(instruction: Instruction, types: Sequence[Type]) -> Type:
    """The type of an instruction's result, whose values are those that it takes."""
    name, values = instruction
    if name not in INSTRUCTIONS:
        raise ValueError(f"{name} is not an instruction of the table")
    given = [_find_type(value, types, name) for value in values]
    takes, result = INSTRUCTIONS[name].find_types(given)
    if len(given) != len(takes):
        raise TypeError(f"{name} takes {len(takes)} values, not {len(given)}")
    for i, (got, wanted) in enumerate(zip(given, takes, strict=True)):
        if got is not wanted:
            raise TypeError(f"{name} takes a {wanted.value} as value {i}, not a {got.value}")
    return result


def _find_type(value: Value, types: Sequence[Type], name: str) -> Type:
    if isinstance(value, Constant):
        return value.type
    if not 0 <= value < len(types):
        raise ValueError(f"{name} takes value {value}, which is not known there")
    return types[value]


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
