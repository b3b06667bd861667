"""The formulas of operations, each written once for any target (``operations`` is the table that names them).

A formula takes a target and operands. ``cpu.vector`` is the target that writes LLVM's vectors, ``triton.source`` the
one that writes a GPU kernel's text; so both compute the same, step by step.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Target(Protocol):
    """What formulas are written for; ``bits`` are whole numbers of 32 bits."""

    def number(self, number: float) -> Any:
        """A constant."""

    def whole(self, number: int) -> Any:
        """A constant of whole numbers."""

    def add(self, x: Any, y: Any) -> Any:
        """Sum."""

    def subtract(self, x: Any, y: Any) -> Any:
        """Difference."""

    def multiply(self, x: Any, y: Any) -> Any:
        """Product."""

    def divide(self, x: Any, y: Any) -> Any:
        """Quotient, rounded to the nearest."""

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """``x y + z``."""

    def negate(self, x: Any) -> Any:
        """The other sign."""

    def call(self, x: Any, *, llvm: str, triton: str) -> Any:
        """A function that LLVM and Triton have by these names."""

    def compare(self, sign: str, x: Any, y: Any) -> Any:
        """A bool; with NaN false but for ``!=``."""

    def choose(self, flag: Any, x: Any, y: Any) -> Any:
        """``x`` where the bool is true, else ``y``."""

    def logic(self, sign: str, x: Any, y: Any) -> Any:
        """``&``, ``|`` or ``^`` of bools."""

    def bits(self, x: Any) -> Any:
        """The bits of a number."""

    def from_bits(self, bits: Any) -> Any:
        """The number that has these bits."""

    def from_whole(self, whole: Any) -> Any:
        """A whole number as a float."""

    def integer(self, sign: str, x: Any, y: Any) -> Any:
        """``+``, ``-``, ``&``, ``|``, ``<<`` or ``>>`` (that keeps the sign) of whole numbers."""


def _at_least(t: Target, x: Any, bound: float) -> Any:
    """NaN stays so."""
    return t.choose(t.compare("<", x, t.number(bound)), t.number(bound), x)


def _at_most(t: Target, x: Any, bound: float) -> Any:
    return t.choose(t.compare(">", x, t.number(bound)), t.number(bound), x)


def _polynomial(t: Target, x: Any, coefficients: Sequence[float]) -> Any:
    """Horner's scheme, the highest power first."""
    result = t.number(coefficients[0])
    for coefficient in coefficients[1:]:
        result = t.fma(result, x, t.number(coefficient))
    return result


def _power_of_two(t: Target, exponent: Any) -> Any:
    """2 to the power of whole numbers from -126 to 127."""
    return t.from_bits(t.integer("<<", t.integer("+", exponent, t.whole(127)), t.whole(23)))


def _with_sign(t: Target, value: Any, of: Any) -> Any:
    """A value that has the sign of another already, or is 0."""
    return t.from_bits(t.integer("|", t.bits(value), t.integer("&", t.bits(of), t.whole(-(2**31)))))


# (exp(r) - 1 - r) / r^2 on [-0.347, 0.7], to 1e-8 of exp(r) - 1
_SERIES = (0.000227876978, 0.00138676483, 0.00832834322, 0.0416672495, 0.166666859, 0.499999991)
_MAGIC = 12582912.0  # 1.5 2^23: adding it rounds to a whole number, which its last bits hold
NEAR = (-87.0, 88.0)
_HIGHEST, _TOP = 88.37, 89.0  # of x whose nearest power of two is below 2^128; exp is infinite


def _reduce(t: Target, x: Any, low: float, high: float) -> tuple[Any, Any]:
    """``n`` and ``q`` with ``exp(x) = 2^n (1 + q)``, n at most 127; x is kept within [low, high]."""
    x = _at_most(t, _at_least(t, x, low), high)
    return _reduce_near(t, x, _at_most(t, x, _HIGHEST) if high > _HIGHEST else x)


def _reduce_near(t: Target, x: Any, bounded: Any) -> tuple[Any, Any]:
    """The same, where x is within bounds, and ``bounded`` within those of n."""
    shifted = t.fma(bounded, t.number(1.4426950408889634), t.number(_MAGIC))
    whole = t.subtract(shifted, t.number(_MAGIC))
    r = t.fma(whole, t.number(-0.693145751953125), x)
    r = t.fma(whole, t.number(-1.428606765330187e-06), r)
    q = t.fma(t.multiply(r, r), _polynomial(t, r, _SERIES), r)
    return t.integer("-", t.bits(shifted), t.whole(0x4B400000)), q


def compute_exp(t: Target, x: Any) -> Any:
    """In two factors, as the power of two may be below the least of float32."""
    n, q = _reduce(t, x, -104.5, _TOP)
    half = t.integer(">>", n, t.whole(1))
    scale = _power_of_two(t, t.integer("-", n, half))
    return t.multiply(t.fma(scale, q, scale), _power_of_two(t, half))


def _expm1_of(t: Target, x: Any, low: float, high: float) -> Any:
    """Without the sign of a zero."""
    return _join_expm1(t, *_reduce(t, x, low, high))


def _join_expm1(t: Target, n: Any, q: Any) -> Any:
    scale = _power_of_two(t, n)
    return t.fma(scale, q, t.subtract(scale, t.number(1.0)))


def compute_expm1(t: Target, x: Any) -> Any:
    """exp(x) - 1."""
    return _with_sign(t, _expm1_of(t, x, -87.0, _TOP), x)


def compute_expm1_near(t: Target, x: Any) -> Any:
    """exp(x) - 1 within ``NEAR``."""
    return _with_sign(t, _join_expm1(t, *_reduce_near(t, x, x)), x)


def compute_tanh(t: Target, x: Any) -> Any:
    """``e / (e + 2)`` with ``e = exp(2 x) - 1``; from 9.5 on it is 1."""
    e = _expm1_of(t, t.add(x, x), -19.0, 19.0)
    return _with_sign(t, t.divide(e, t.add(e, t.number(2.0))), x)


def compute_sigmoid(t: Target, x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    n, q = _reduce(t, t.negate(x), -87.0, _TOP)
    scale = _power_of_two(t, n)
    one = t.number(1.0)
    return t.divide(one, t.add(one, t.fma(scale, q, scale)))


def _exponent(t: Target, bits: Any) -> Any:
    """Of the power of two with which a positive number is in [0.707, 1.414]."""
    return t.integer(">>", t.integer("-", bits, t.whole(0x3F3504F3)), t.whole(23))


def _log_of(t: Target, f: Any, whole: Any) -> Any:
    """``e ln 2 + f - (f^2 / 2 - s (f^2 / 2 + R))``, s = f / (2 + f), R the series of atanh from its second term on."""
    s = t.divide(f, t.add(f, t.number(2.0)))
    z = t.multiply(s, s)
    series = t.multiply(z, _polynomial(t, z, [2 / 9, 2 / 7, 2 / 5, 2 / 3]))
    half = t.multiply(t.number(0.5), t.multiply(f, f))
    tail = t.subtract(half, t.multiply(s, t.add(half, series)))
    tail = t.subtract(tail, t.multiply(whole, t.number(1.428606765330187e-06)))
    return t.fma(whole, t.number(0.693145751953125), t.subtract(f, tail))


def _bound_log(t: Target, result: Any, x: Any, least: float) -> Any:
    """Minus infinity at the least x, NaN below it."""
    outside = t.choose(t.compare("==", x, t.number(least)), t.number(-math.inf), t.number(math.nan))
    return t.choose(t.compare(">", x, t.number(least)), result, outside)


def compute_log(t: Target, x: Any) -> Any:
    """The natural logarithm."""
    small = t.compare("<", x, t.number(2.0**-126))  # subnormal
    bits = t.bits(t.choose(small, t.multiply(x, t.number(2.0**25)), x))
    exponent = _exponent(t, bits)
    mantissa = t.from_bits(t.integer("-", bits, t.integer("<<", exponent, t.whole(23))))
    whole = t.add(t.from_whole(exponent), t.choose(small, t.number(-25.0), t.number(0.0)))
    result = _log_of(t, t.subtract(mantissa, t.number(1.0)), whole)
    result = t.choose(t.compare("==", x, t.number(math.inf)), x, result)
    return _bound_log(t, result, x, 0.0)


def compute_log1p_above(t: Target, x: Any) -> Any:
    """``e ln 2 + log(1 + f)`` with ``1 + x = 2^e (1 + f)``, f in [-0.293, 0.414] (to 1 for the largest); x > -1."""
    exponent = _exponent(t, t.bits(_at_most(t, t.add(x, t.number(1.0)), 2.0**127)))
    inverse = _power_of_two(t, t.integer("-", t.whole(1), exponent))  # 2^(1 - e), which is never subnormal
    f = t.multiply(t.number(0.5), t.fma(x, inverse, t.subtract(inverse, t.number(2.0))))
    result = _log_of(t, f, t.from_whole(exponent))
    return _with_sign(t, t.choose(t.compare("==", x, t.number(math.inf)), x, result), x)


def compute_log1p(t: Target, x: Any) -> Any:
    """log(1 + x)."""
    return _bound_log(t, compute_log1p_above(t, x), x, -1.0)


def compute_max(t: Target, x: Any, y: Any) -> Any:
    """NaN where one is."""
    return t.choose(t.compare("!=", y, y), y, t.choose(t.compare("<", x, y), y, x))


def compute_min(t: Target, x: Any, y: Any) -> Any:
    """The smaller of two; NaN where one is."""
    return t.choose(t.compare("!=", y, y), y, t.choose(t.compare(">", x, y), y, x))


def call(llvm: str, triton: str) -> Callable[..., Any]:
    """A function of one number that both targets have, by its names there."""
    return lambda t, x: t.call(x, llvm=llvm, triton=triton)


def compare(sign: str) -> Callable[..., Any]:
    """A comparison, by its sign."""
    return lambda t, x, y: t.compare(sign, x, y)


def logic(sign: str) -> Callable[..., Any]:
    """An operation on bools, by its sign."""
    return lambda t, x, y: t.logic(sign, x, y)
