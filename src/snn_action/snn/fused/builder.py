"""Builds a program, simplified: no instruction repeats, does nothing, works on constants alone or is not needed.

What is left out changes no bit of a result but the sign of a NaN.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from snn_action.snn.fused.ir import Constant, Instruction, Program, UnknownOperationError, Value, constant
from snn_action.snn.fused.operations import BOOL, FLOAT, INSTRUCTIONS, Operation, Type
from snn_action.snn.fused.ranges import Range


class Builder:
    """A program of ``inputs`` floats in the making. ``source`` is the operation of PyTorch that is translated."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.instructions: list[Instruction] = []
        self.known: dict[Instruction, int] = {}
        self.types = [FLOAT] * inputs
        self.source = ""

    def constant(self, number: float) -> Constant:
        """See ``ir.constant``."""
        return constant(number)

    def refuse(self, reason: str) -> UnknownOperationError:
        """What to raise for these arguments of the operation."""
        return UnknownOperationError(f"{self.source} with {reason}")

    def find_type(self, value: Value) -> Type:
        """The type of a value."""
        return value.type if isinstance(value, Constant) else self.types[value]

    def translate(self, operation: Operation, given: Sequence[Any]) -> Value:
        """The result of an operation of the table on values of the types that it takes.

        Raises:
            UnknownOperationError: a value has another type.
        """
        if operation.expand is None:
            return self.emit(operation.name, *given)
        count = len(operation.operands)
        values, _ = self._cast(operation, given[:count])
        result: Value = operation.expand(self, *values, *given[count:])
        return result

    def emit(self, name: str, *given: Any) -> Value:
        """The result of one more instruction; a float or a bool stands for a constant.

        Raises:
            UnknownOperationError: a value has another type than the instruction takes.
        """
        operation = INSTRUCTIONS[name]
        values, result = self._cast(
            operation, [constant(value) if isinstance(value, float | bool) else value for value in given]
        )
        simple = self._simplify(operation, values)
        if simple is not None:
            return simple
        instruction = Instruction(name, values)
        if instruction not in self.known:
            self.known[instruction] = self.inputs + len(self.instructions)
            self.instructions.append(instruction)
            self.types.append(result)
        return self.known[instruction]

    def _cast(self, operation: Operation, values: Sequence[Value]) -> tuple[tuple[Value, ...], Type]:
        """Values of the types that the operation takes, and the type of its result: a bool is the float 0 or 1."""
        types, result = operation.find_types([self.find_type(value) for value in values])
        cast: list[Value] = []
        for value, wanted in zip(values, types, strict=True):
            if self.find_type(value) is wanted:
                cast.append(value)
            elif wanted is BOOL:
                raise self.refuse(f"a float where {operation.name} takes a bool")
            else:
                cast.append(self.emit("to_float", value))
        return tuple(cast), result

    def _find_maker(self, value: Value) -> Instruction | None:
        return self.instructions[value - self.inputs] if isinstance(value, int) and value >= self.inputs else None

    def _simplify(self, operation: Operation, values: tuple[Value, ...]) -> Value | None:
        """A value that is the same without a new instruction, or from a simpler one; None: there is none."""
        if all(isinstance(value, Constant) for value in values):
            return _fold(operation, values)  # type: ignore[arg-type]
        name = operation.name
        if name == "where":
            if isinstance(values[0], Constant):
                return values[1] if values[0].number else values[2]
            return values[1] if values[1] == values[2] else None
        a, b = values[0], values[-1]
        maker_a, maker_b = self._find_maker(a), self._find_maker(b)
        if operation.commutes and isinstance(a, Constant):  # constants on the right
            return self.emit(name, b, a)
        if name == "neg" and maker_a is not None and maker_a.name == "neg":
            return maker_a.values[0]
        if name in ("add", "sub") and maker_b is not None and maker_b.name == "neg":
            return self.emit("sub" if name == "add" else "add", a, maker_b.values[0])
        if name == "add" and maker_a is not None and maker_a.name == "neg":
            return self.emit("sub", b, maker_a.values[0])
        if not isinstance(b, Constant):
            return None
        if name in ("max", "min") and not math.isnan(b.number):
            return self.emit("at_least" if name == "max" else "at_most", a, b)
        if b.text == operation.identity:
            return a
        if name == "div" and _is_power_of_two(b.number):
            return self.emit("mul", a, constant(1 / b.number))
        return None

    def finish(self, results: tuple[Value, ...]) -> Program:
        """The program, without what no result needs, and with narrow instructions where ranges let them be used."""
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
        results = tuple(map(moved, results))
        ranges = Program(self.inputs, tuple(kept), results).find_ranges()
        return Program(self.inputs, tuple(_narrow(instruction, ranges) for instruction in kept), results)


def _narrow(instruction: Instruction, ranges: Sequence[Range]) -> Instruction:
    """The instruction that does the same with less, where its value's range lets it."""
    narrow, value = INSTRUCTIONS[instruction.name].narrow, instruction.values[0]
    if narrow is None:
        return instruction
    name, fits = narrow
    found = (value.number, value.number) if isinstance(value, Constant) else ranges[value]
    return instruction._replace(name=name) if fits(found) else instruction


def _is_power_of_two(number: float) -> bool:
    """Whether a product with the inverse is the quotient, to the last bit."""
    return abs(math.frexp(number)[0]) == 0.5 and 2.0**-100 <= abs(number) <= 2.0**100


def _fold(operation: Operation, values: Sequence[Constant]) -> Constant:
    """What PyTorch makes of constants."""
    function = operation.fold
    if function is None:
        name, variant = next(iter(operation.aten)).split(".")
        function = getattr(getattr(torch.ops.aten, name), variant)
    types = [torch.bool if value.type is BOOL else torch.float32 for value in values]
    tensors = [
        torch.tensor(value.number, dtype=type_, device="cpu") for value, type_ in zip(values, types, strict=True)
    ]
    return constant(function(*tensors).item())
