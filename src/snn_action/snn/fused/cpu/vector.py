"""Vectors of 16 float32 numbers as LLVM has them: what is written with them stays in registers.

A compiler vectorizes loops where it can prove that nothing overlaps; a loop over time that carries a voltage is none
of those. Here each instruction of a ``Program`` is written for 16 neurons at once; LLVM splits the vectors where a
processor's registers are shorter. A product and a sum are rounded once where the processor can (fma), and where that
changes no infinity: where the product is never infinite, or what is added never large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from llvmlite import ir

from snn_action.snn.fused.ir import Constant, Instruction, Program, Value
from snn_action.snn.fused.operations import BOOL, INSTRUCTIONS
from snn_action.snn.fused.ranges import Range

LANES = 16
_INT = ir.IntType(32)
_LONG = ir.IntType(64)
_TYPE = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(_INT, LANES)
_BOOLS = ir.VectorType(ir.IntType(1), LANES)
_CONTRACT: tuple[str, ...] = ("contract",)

Vector = Any  # an LLVM value of 16 numbers


class Memory:
    """Vectors at an address; ``stride`` numbers lie between one and the next."""

    def __init__(self, builder: Any, address: Any, stride: Any = LANES) -> None:
        self.builder = builder
        self.address = address
        self.stride = stride

    def _place(self, index: Any) -> Any:
        step = self.builder.mul(_long(index), self.builder.mul(_long(self.stride), _long(4)))
        return self.builder.inttoptr(self.builder.add(self.address, step), _TYPE.as_pointer())

    def load(self, index: Any) -> Vector:
        """The vector at ``index``."""
        return self.builder.load(self._place(index), align=4)

    def store(self, index: Any, vector: Vector) -> None:
        """Put a vector to ``index``."""
        self.builder.store(vector, self._place(index), align=4)


def constant(number: float) -> Vector:
    """The number in every lane."""
    return ir.Constant(_TYPE, [number] * LANES)


def spread(builder: Any, address: Any, count: int) -> list[Vector]:
    """The first ``count`` numbers at an address, each in all lanes of a vector."""
    pointer = builder.inttoptr(address, ir.FloatType().as_pointer())
    spreads = []
    for i in range(count):
        first = builder.insert_element(
            ir.Constant(_TYPE, ir.Undefined), builder.load(builder.gep(pointer, [_long(i)])), ir.Constant(_INT, 0)
        )
        spreads.append(builder.shuffle_vector(first, ir.Constant(_TYPE, ir.Undefined), ir.Constant(_INTS, [0] * LANES)))
    return spreads


def loop(
    builder: Any, steps: Any, carried: Sequence[Vector], body: Callable[[Any, list[Vector]], Sequence[Vector]]
) -> list[Vector]:
    """Repeat ``body(step, carried) -> carried`` for ``steps`` steps; return what is carried out of the last one."""
    before = builder.block
    head, end = builder.append_basic_block(), builder.append_basic_block()
    builder.cbranch(builder.icmp_signed(">", steps, _long(0)), head, end)
    builder.position_at_end(head)
    index = builder.phi(_LONG)
    now = [builder.phi(_TYPE) for _ in carried]
    after = list(body(index, list(now)))
    following, latch = builder.add(index, _long(1)), builder.block
    builder.cbranch(builder.icmp_signed("<", following, steps), head, end)
    index.add_incoming(_long(0), before)
    index.add_incoming(following, latch)
    builder.position_at_end(end)
    last = [builder.phi(_TYPE) for _ in carried]
    for phi, left, start, new in zip(now, last, carried, after, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(new, latch)
        left.add_incoming(start, before)
        left.add_incoming(new, latch)
    return last


def prepare(builder: Any, program: Program, inputs: Mapping[int, Vector]) -> dict[int, Vector]:
    """Those values of a program that follow from some of its inputs alone: written before a loop, not inside it."""
    values, ranges = dict(inputs), program.find_ranges()
    for i in sorted(program.find_invariant(list(inputs))):
        values[i] = _write(builder, program, i, values, ranges)
    return values


def apply(
    builder: Any, program: Program, inputs: Sequence[Vector], prepared: Mapping[int, Vector] | None = None
) -> list[Vector]:
    """The results of a program."""
    values: dict[int, Vector] = {**dict(enumerate(inputs)), **(prepared or {})}
    ranges = program.find_ranges()
    for i in range(program.inputs, program.inputs + len(program.instructions)):
        if i not in values:
            values[i] = _write(builder, program, i, values, ranges)
    return [_operand(value, values) for value in program.results]


def fma(builder: Any, a: Vector, b: Vector, c: Vector) -> Vector:
    """``a b + c``, rounded once."""
    return call(builder, "llvm.fma", a, b, c)


def add(builder: Any, a: Vector, b: Vector) -> Vector:
    """``a + b``."""
    return builder.fadd(a, b, flags=_CONTRACT)


def mul(builder: Any, a: Vector, b: Vector) -> Vector:
    """``a b``."""
    return builder.fmul(a, b, flags=_CONTRACT)


def choose(builder: Any, mask: Vector, a: Vector, b: Vector) -> Vector:
    """``a`` where ``mask > 0``, else ``b``."""
    return builder.select(builder.fcmp_ordered(">", mask, constant(0.0)), a, b)


def call(builder: Any, name: str, *vectors: Vector) -> Vector:
    """One of LLVM's own functions of vectors."""
    full, kind = f"{name}.v{LANES}f32", ir.FunctionType(_TYPE, [_TYPE] * len(vectors))
    known = builder.module.globals.get(full)
    return builder.call(known or ir.Function(builder.module, kind, full), vectors)


def _operand(value: Value, values: Mapping[int, Vector]) -> Vector:
    if not isinstance(value, Constant):
        return values[value]
    if value.type is BOOL:
        return ir.Constant(_BOOLS, [int(value.number)] * LANES)
    return constant(value.number)


def _write(builder: Any, program: Program, place: int, values: Mapping[int, Vector], ranges: Sequence[Range]) -> Vector:
    instruction = program.instructions[place - program.inputs]
    operands = [_operand(value, values) for value in instruction.values]
    target = _Vectors(builder, _CONTRACT if _may_contract(program, instruction, ranges) else ())
    return INSTRUCTIONS[instruction.name].lower(target, *operands)  # type: ignore[misc]


_LARGE = 2.0**60  # what is smaller does not bring an infinite product back


def _may_contract(program: Program, instruction: Instruction, ranges: Sequence[Range]) -> bool:
    """Whether a sum's products may be rounded with it: those by 1 at most, those to which nothing large is added.

    A product itself does not decide it, and a formula knows its own numbers.
    """
    if instruction.name not in ("add", "sub"):
        return True

    def size(value: Value) -> float:
        return abs(value.number) if isinstance(value, Constant) else max(map(abs, ranges[value]))

    def is_product_at_risk(value: Value) -> bool:
        if isinstance(value, Constant) or value < program.inputs:
            return False
        maker = program.instructions[value - program.inputs]
        if maker.name == "neg":
            return is_product_at_risk(maker.values[0])
        return maker.name == "mul" and all(size(factor) > 1 for factor in maker.values)

    a, b = instruction.values
    return not (is_product_at_risk(a) and size(b) > _LARGE) and not (is_product_at_risk(b) and size(a) > _LARGE)


class _Vectors:
    """The target of ``formulas``: vectors of 16 numbers, of 16 whole numbers and of 16 bools.

    ``contract``: the flags of sums.
    """

    _INTEGER: ClassVar = {"+": "add", "-": "sub", "&": "and_", "|": "or_", "^": "xor", "<<": "shl", ">>": "ashr"}

    def __init__(self, builder: Any, contract: tuple[str, ...]) -> None:
        self.builder = builder
        self.contract = contract

    def number(self, number: float) -> Vector:
        return constant(number)

    def whole(self, number: int) -> Vector:
        return ir.Constant(_INTS, [number] * LANES)

    def add(self, x: Vector, y: Vector) -> Vector:
        return self.builder.fadd(x, y, flags=self.contract)

    def subtract(self, x: Vector, y: Vector) -> Vector:
        return self.builder.fsub(x, y, flags=self.contract)

    def multiply(self, x: Vector, y: Vector) -> Vector:
        return mul(self.builder, x, y)

    def divide(self, x: Vector, y: Vector) -> Vector:
        return self.builder.fdiv(x, y)

    def fma(self, x: Vector, y: Vector, z: Vector) -> Vector:
        return fma(self.builder, x, y, z)

    def negate(self, x: Vector) -> Vector:
        return self.builder.fneg(x)

    def call(self, x: Vector, *, llvm: str, triton: str) -> Vector:  # noqa: ARG002
        return call(self.builder, llvm, x)

    def compare(self, sign: str, x: Vector, y: Vector) -> Vector:
        compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return compare(sign, x, y)

    def choose(self, flag: Vector, x: Vector, y: Vector) -> Vector:
        return self.builder.select(flag, x, y)

    def logic(self, sign: str, x: Vector, y: Vector) -> Vector:
        return self.integer(sign, x, y)

    def bits(self, x: Vector) -> Vector:
        return self.builder.bitcast(x, _INTS)

    def from_bits(self, bits: Vector) -> Vector:
        return self.builder.bitcast(bits, _TYPE)

    def from_whole(self, whole: Vector) -> Vector:
        return self.builder.sitofp(whole, _TYPE)

    def integer(self, sign: str, x: Vector, y: Vector) -> Vector:
        return getattr(self.builder, self._INTEGER[sign])(x, y)


def _long(number: Any) -> Any:
    return ir.Constant(_LONG, number) if isinstance(number, int) else number
