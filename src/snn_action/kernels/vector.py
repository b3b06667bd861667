"""Vectors of 16 float32 numbers as LLVM has them: what is written with them stays in registers.

A compiler vectorises loops where it can prove that nothing overlaps; a loop over time that carries a voltage is none
of those. Here each instruction of a ``Program`` is written for 16 neurons at once; LLVM splits the vectors where a
processor's registers are shorter. A product and a sum are rounded once where the processor can (fma).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llvmlite import ir

from snn_action.kernels.program import Constant, Program, Value

LANES = 16
_INT = ir.IntType(32)
_LONG = ir.IntType(64)
_TYPE = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(_INT, LANES)
_FLAGS = ("contract",)

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
    values = dict(inputs)
    for i in sorted(program.fixed(list(inputs))):
        values[i] = _write(builder, program.instructions[i - program.inputs], values)
    return values


def apply(
    builder: Any, program: Program, inputs: Sequence[Vector], prepared: Mapping[int, Vector] | None = None
) -> list[Vector]:
    """The results of a program."""
    values: dict[int, Vector] = {**dict(enumerate(inputs)), **(prepared or {})}
    for i, instruction in enumerate(program.instructions, program.inputs):
        if i not in values:
            values[i] = _write(builder, instruction, values)
    return [_operand(value, values) for value in program.results]


def fma(builder: Any, a: Vector, b: Vector, c: Vector) -> Vector:
    """``a b + c``, rounded once."""
    return call(builder, "llvm.fma", a, b, c)


def add(builder: Any, a: Vector, b: Vector) -> Vector:
    """``a + b``."""
    return builder.fadd(a, b, flags=_FLAGS)


def mul(builder: Any, a: Vector, b: Vector) -> Vector:
    """``a b``."""
    return builder.fmul(a, b, flags=_FLAGS)


def choose(builder: Any, real: Vector, a: Vector, b: Vector) -> Vector:
    """``a`` where ``real > 0``, else ``b``."""
    return builder.select(builder.fcmp_ordered(">", real, constant(0.0)), a, b)


def call(builder: Any, name: str, *vectors: Vector) -> Vector:
    """One of LLVM's own functions of vectors."""
    full, kind = f"{name}.v{LANES}f32", ir.FunctionType(_TYPE, [_TYPE] * len(vectors))
    known = builder.module.globals.get(full)
    return builder.call(known or ir.Function(builder.module, kind, full), vectors)


def _operand(value: Value, values: Mapping[int, Vector]) -> Vector:
    return constant(value.number) if isinstance(value, Constant) else values[value]


def _write(builder: Any, instruction: Any, values: Mapping[int, Vector]) -> Vector:
    operands = [_operand(value, values) for value in instruction.values]
    return _OPERATIONS[instruction.name](builder, *operands)


def _compare(sign: str) -> Callable[..., Vector]:
    if sign == "!=":  # what is not a number differs from everything
        return lambda b, x, y: b.fcmp_unordered(sign, x, y)
    return lambda b, x, y: b.fcmp_ordered(sign, x, y)


def _max(b: Any, x: Vector, y: Vector) -> Vector:
    """Of which the first may be no number, and then stays so."""
    return b.select(b.fcmp_ordered("<", x, y), y, x)


def _min(b: Any, x: Vector, y: Vector) -> Vector:
    return b.select(b.fcmp_ordered(">", x, y), y, x)


def _polynomial(b: Any, x: Vector, coefficients: Sequence[float]) -> Vector:
    """Horner's scheme, the highest power first."""
    result = constant(coefficients[0])
    for coefficient in coefficients[1:]:
        result = fma(b, result, x, constant(coefficient))
    return result


def _power_of_two(b: Any, exponent: Vector) -> Vector:
    """2 to the power of integers from -126 to 127."""
    bits = b.shl(b.add(exponent, ir.Constant(_INTS, [127] * LANES)), ir.Constant(_INTS, [23] * LANES))
    return b.bitcast(bits, _TYPE)


def _expm1_parts(b: Any, x: Vector) -> tuple[Vector, Vector]:
    """``s`` and ``q`` with ``exp(x) = s (1 + q)``, s a power of two; x is kept within [-87, 88]."""
    x = _min(b, _max(b, x, constant(-87.0)), constant(88.0))
    magic = constant(12582912.0)  # 1.5 2^23: adding it rounds to a whole number, which its last bits hold
    shifted = fma(b, x, constant(1.4426950408889634), magic)
    whole = b.fsub(shifted, magic)
    r = fma(b, whole, constant(-0.693145751953125), x)
    r = fma(b, whole, constant(-1.428606765330187e-06), r)
    series = _polynomial(b, r, [1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5])
    q = fma(b, b.fmul(r, r), series, r)
    exponent = b.sub(b.bitcast(shifted, _INTS), ir.Constant(_INTS, [0x4B400000] * LANES))
    return _power_of_two(b, exponent), q


def _exp(b: Any, x: Vector) -> Vector:
    scale, q = _expm1_parts(b, x)
    return fma(b, scale, q, scale)


def _expm1(b: Any, x: Vector) -> Vector:
    scale, q = _expm1_parts(b, x)
    return fma(b, scale, q, b.fsub(scale, constant(1.0)))


def _log1p(b: Any, x: Vector) -> Vector:
    """``e ln 2 + log(1 + f)`` with ``1 + x = 2^e (1 + f)``, f in [-0.293, 0.414], for x > -1."""
    x = _min(b, x, constant(3e38))
    bits = b.bitcast(b.fadd(x, constant(1.0)), _INTS)
    exponent = b.ashr(b.sub(bits, ir.Constant(_INTS, [0x3F3504F3] * LANES)), ir.Constant(_INTS, [23] * LANES))
    inverse = _power_of_two(b, b.sub(ir.Constant(_INTS, [0] * LANES), exponent))
    f = fma(b, x, inverse, b.fsub(inverse, constant(1.0)))
    return _log_of(b, f, exponent)


def _log(b: Any, x: Vector) -> Vector:
    bits = b.bitcast(x, _INTS)
    exponent = b.ashr(b.sub(bits, ir.Constant(_INTS, [0x3F3504F3] * LANES)), ir.Constant(_INTS, [23] * LANES))
    mantissa = b.bitcast(b.sub(bits, b.shl(exponent, ir.Constant(_INTS, [23] * LANES))), _TYPE)
    return _log_of(b, b.fsub(mantissa, constant(1.0)), exponent)


def _log_of(b: Any, f: Vector, exponent: Vector) -> Vector:
    """``e ln 2 + f - (f^2 / 2 - s (f^2 / 2 + R))``, s = f / (2 + f), R the series of atanh from its second term on."""
    s = b.fdiv(f, b.fadd(f, constant(2.0)))
    z = b.fmul(s, s)
    series = b.fmul(z, _polynomial(b, z, [2 / 9, 2 / 7, 2 / 5, 2 / 3]))
    half = b.fmul(constant(0.5), b.fmul(f, f))
    whole = b.sitofp(exponent, _TYPE)
    tail = b.fsub(half, b.fmul(s, b.fadd(half, series)))
    tail = b.fsub(tail, b.fmul(whole, constant(1.428606765330187e-06)))
    return fma(b, whole, constant(0.693145751953125), b.fsub(f, tail))


def _tanh(b: Any, x: Vector) -> Vector:
    """``e / (e + 2)`` with ``e = exp(2 x) - 1``."""
    x = _min(b, _max(b, x, constant(-9.5)), constant(9.5))
    e = _expm1(b, b.fadd(x, x))
    return b.fdiv(e, b.fadd(e, constant(2.0)))


def _sigmoid(b: Any, x: Vector) -> Vector:
    one = constant(1.0)
    return b.fdiv(one, b.fadd(one, _exp(b, b.fneg(x))))


_OPERATIONS: dict[str, Callable[..., Vector]] = {
    "add": add,
    "sub": lambda b, x, y: b.fsub(x, y, flags=_FLAGS),
    "mul": mul,
    "div": lambda b, x, y: b.fdiv(x, y),
    "neg": lambda b, x: b.fneg(x),
    "abs": lambda b, x: call(b, "llvm.fabs", x),
    "sqrt": lambda b, x: call(b, "llvm.sqrt", x),
    "floor": lambda b, x: call(b, "llvm.floor", x),
    "ceil": lambda b, x: call(b, "llvm.ceil", x),
    "rint": lambda b, x: call(b, "llvm.rint", x),
    "max": _max,
    "min": _min,
    "exp": _exp,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "gt": _compare(">"),
    "ge": _compare(">="),
    "lt": _compare("<"),
    "le": _compare("<="),
    "eq": _compare("=="),
    "ne": _compare("!="),
    "and": lambda b, x, y: b.and_(x, y),
    "or": lambda b, x, y: b.or_(x, y),
    "not": lambda b, x: b.not_(x),
    "where": lambda b, condition, x, y: b.select(condition, x, y),
}


def _long(number: Any) -> Any:
    return ir.Constant(_LONG, number) if isinstance(number, int) else number
