"""Vectors of 16 numbers inside Numba code, as LLVM has them: what is written with them stays in registers.

Numba vectorises loops where it can prove that arrays do not overlap; a loop over time that carries a voltage is none
of those. An emitter here writes the instructions for one step on ``Vector`` s with Python's own operators, and ``loop``
repeats them; LLVM splits the vectors where a processor's registers are shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
_TYPE = ir.VectorType(ir.FloatType(), LANES)
_INDEX = ir.IntType(32)


class Vector:
    """16 float32 numbers; ``+``, ``-``, ``*`` work lane by lane."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fsub(self.value, other.value))

    def __mul__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fmul(self.value, other.value))

    def __truediv__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fdiv(self.value, other.value))


def constant(builder: Any, number: float) -> Vector:
    """The number in every lane."""
    return Vector(builder, ir.Constant(_TYPE, [number] * LANES))


def fma(a: Vector, b: Vector, c: Vector) -> Vector:
    """``a b + c``, rounded once."""
    return _call("llvm.fma", a, b, c)


def floor(a: Vector) -> Vector:
    """The next whole number below."""
    return _call("llvm.floor", a)


def rint(a: Vector) -> Vector:
    """The nearest whole number."""
    return _call("llvm.rint", a)


def relu(a: Vector) -> Vector:
    """``max(a, 0)``; what is not a number stays so."""
    zero = constant(a.builder, 0.0)
    return Vector(a.builder, a.builder.select(a.builder.fcmp_ordered("<", a.value, zero.value), zero.value, a.value))


def where_positive(a: Vector, b: Vector) -> Vector:
    """``b`` where ``a > 0``, else 0."""
    zero = constant(a.builder, 0.0)
    return Vector(a.builder, a.builder.select(a.builder.fcmp_ordered(">", a.value, zero.value), b.value, zero.value))


def at_least(a: Vector, number: float) -> Vector:
    """``max(a, number)``."""
    low = constant(a.builder, number)
    return Vector(a.builder, a.builder.select(a.builder.fcmp_ordered("<", a.value, low.value), low.value, a.value))


class Memory:
    """Vectors that lie one after another at an address, on a boundary of 64 bytes."""

    def __init__(self, builder: Any, address: Any) -> None:
        self.builder = builder
        self.pointer = builder.inttoptr(address, _TYPE.as_pointer())

    def load(self, index: Any) -> Vector:
        """The vector at ``index``."""
        return Vector(self.builder, self.builder.load(self.builder.gep(self.pointer, [_index(index)]), align=64))

    def store(self, index: Any, vector: Vector) -> None:
        """Put a vector to ``index``."""
        self.builder.store(vector.value, self.builder.gep(self.pointer, [_index(index)]), align=64)


def spread(builder: Any, address: Any, count: int) -> list[Vector]:
    """The first ``count`` numbers at an address, each in all lanes of a vector."""
    pointer = builder.inttoptr(address, ir.FloatType().as_pointer())
    spreads = []
    for i in range(count):
        number = builder.load(builder.gep(pointer, [_index(i)]))
        first = builder.insert_element(ir.Constant(_TYPE, ir.Undefined), number, _index(0))
        everywhere = ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)
        spreads.append(Vector(builder, builder.shuffle_vector(first, ir.Constant(_TYPE, ir.Undefined), everywhere)))
    return spreads


def instruction(count: int, emit: Callable[[Any, list[Any]], None]) -> Any:
    """What Numba code may call with a tuple of ``count`` integers; ``emit(builder, integers)`` writes what it does."""
    given = types.UniTuple(types.intp, count)

    def lower(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        emit(builder, cgutils.unpack_tuple(builder, arguments[0], count))
        return context.get_dummy_value()

    @intrinsic
    def call(_: Any, integers: Any) -> Any:
        del integers
        return types.void(given), lower

    return call


def loop(
    builder: Any, steps: Any, carried: Sequence[Vector], body: Callable[[Any, list[Vector]], Sequence[Vector]]
) -> list[Vector]:
    """Repeat ``body(step, carried) -> carried`` for ``steps`` steps; return what is carried out of the last one."""
    places = [cgutils.alloca_once(builder, _TYPE) for _ in carried]
    for place, vector in zip(places, carried, strict=True):
        builder.store(vector.value, place)
    with cgutils.for_range(builder, steps) as turn:
        now = body(turn.index, [Vector(builder, builder.load(place)) for place in places])
        for place, vector in zip(places, now, strict=True):
            builder.store(vector.value, place)
    return [Vector(builder, builder.load(place)) for place in places]


def _call(name: str, *vectors: Vector) -> Vector:
    builder = vectors[0].builder
    signature = ir.FunctionType(_TYPE, [_TYPE] * len(vectors))
    function = cgutils.get_or_insert_function(builder.module, signature, f"{name}.v{LANES}f32")
    return Vector(builder, builder.call(function, [vector.value for vector in vectors]))


def _index(index: Any) -> Any:
    return ir.Constant(_INDEX, index) if isinstance(index, int) else index
