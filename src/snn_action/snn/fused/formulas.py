"""The formulas of operations, each written once for any machine (``operations`` is the table that names them)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Machine(Protocol):
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

    def call(self, name: str, x: Any) -> Any:
        """``abs``, ``sqrt``, ``floor``, ``ceil`` or ``rint``."""

    def compare(self, sign: str, x: Any, y: Any) -> Any:
        """A flag; with NaN false but for ``!=``."""

    def choose(self, flag: Any, x: Any, y: Any) -> Any:
        """``x`` where the flag is true, else ``y``."""

    def logic(self, name: str, x: Any, y: Any) -> Any:
        """``and``, ``or`` or ``xor`` of flags."""

    def bits(self, x: Any) -> Any:
        """The bits of a number."""

    def from_bits(self, bits: Any) -> Any:
        """The number that has these bits."""

    def from_whole(self, whole: Any) -> Any:
        """A whole number as a float."""

    def integer(self, name: str, x: Any, y: Any) -> Any:
        """``+``, ``-``, ``&``, ``|``, ``<<`` or ``>>`` (that keeps the sign) of whole numbers."""


def _at_least(m: Machine, x: Any, bound: float) -> Any:
    """NaN stays so."""
    return m.choose(m.compare("<", x, m.number(bound)), m.number(bound), x)


def _at_most(m: Machine, x: Any, bound: float) -> Any:
    return m.choose(m.compare(">", x, m.number(bound)), m.number(bound), x)


def _polynomial(m: Machine, x: Any, coefficients: Sequence[float]) -> Any:
    """Horner's scheme, the highest power first."""
    result = m.number(coefficients[0])
    for coefficient in coefficients[1:]:
        result = m.fma(result, x, m.number(coefficient))
    return result


def _power_of_two(m: Machine, exponent: Any) -> Any:
    """2 to the power of whole numbers from -126 to 127."""
    return m.from_bits(m.integer("<<", m.integer("+", exponent, m.whole(127)), m.whole(23)))


def _with_sign(m: Machine, value: Any, of: Any) -> Any:
    """A value that has the sign of another already, or is 0."""
    return m.from_bits(m.integer("|", m.bits(value), m.integer("&", m.bits(of), m.whole(-(2**31)))))


# (exp(r) - 1 - r) / r^2 on [-0.347, 0.7], to 1e-8 of exp(r) - 1
_SERIES = (0.000227876978, 0.00138676483, 0.00832834322, 0.0416672495, 0.166666859, 0.499999991)
_MAGIC = 12582912.0  # 1.5 2^23: adding it rounds to a whole number, which its last bits hold
NEAR = (-87.0, 88.0)
_HIGHEST, _TOP = 88.37, 89.0  # of x whose nearest power of two is below 2^128; exp is infinite


def _reduce(m: Machine, x: Any, low: float, high: float) -> tuple[Any, Any]:
    """``n`` and ``q`` with ``exp(x) = 2^n (1 + q)``, n at most 127; x is kept within [low, high]."""
    x = _at_most(m, _at_least(m, x, low), high)
    return _reduce_near(m, x, _at_most(m, x, _HIGHEST) if high > _HIGHEST else x)


def _reduce_near(m: Machine, x: Any, bounded: Any) -> tuple[Any, Any]:
    """The same, where x is within bounds, and ``bounded`` within those of n."""
    shifted = m.fma(bounded, m.number(1.4426950408889634), m.number(_MAGIC))
    whole = m.subtract(shifted, m.number(_MAGIC))
    r = m.fma(whole, m.number(-0.693145751953125), x)
    r = m.fma(whole, m.number(-1.428606765330187e-06), r)
    q = m.fma(m.multiply(r, r), _polynomial(m, r, _SERIES), r)
    return m.integer("-", m.bits(shifted), m.whole(0x4B400000)), q


def compute_exp(m: Machine, x: Any) -> Any:
    """In two factors, as the power of two may be below the least of float32."""
    n, q = _reduce(m, x, -104.5, _TOP)
    half = m.integer(">>", n, m.whole(1))
    scale = _power_of_two(m, m.integer("-", n, half))
    return m.multiply(m.fma(scale, q, scale), _power_of_two(m, half))


def _expm1_of(m: Machine, x: Any, low: float, high: float) -> Any:
    """Without the sign of a zero."""
    return _join_expm1(m, *_reduce(m, x, low, high))


def _join_expm1(m: Machine, n: Any, q: Any) -> Any:
    scale = _power_of_two(m, n)
    return m.fma(scale, q, m.subtract(scale, m.number(1.0)))


def compute_expm1(m: Machine, x: Any) -> Any:
    """exp(x) - 1."""
    return _with_sign(m, _expm1_of(m, x, -87.0, _TOP), x)


def compute_expm1_near(m: Machine, x: Any) -> Any:
    """exp(x) - 1 within ``NEAR``."""
    return _with_sign(m, _join_expm1(m, *_reduce_near(m, x, x)), x)


def compute_tanh(m: Machine, x: Any) -> Any:
    """``e / (e + 2)`` with ``e = exp(2 x) - 1``; from 9.5 on it is 1."""
    e = _expm1_of(m, m.add(x, x), -19.0, 19.0)
    return _with_sign(m, m.divide(e, m.add(e, m.number(2.0))), x)


def compute_sigmoid(m: Machine, x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    n, q = _reduce(m, m.negate(x), -87.0, _TOP)
    scale = _power_of_two(m, n)
    one = m.number(1.0)
    return m.divide(one, m.add(one, m.fma(scale, q, scale)))


def _exponent(m: Machine, bits: Any) -> Any:
    """Of the power of two with which a positive number is in [0.707, 1.414]."""
    return m.integer(">>", m.integer("-", bits, m.whole(0x3F3504F3)), m.whole(23))


def _log_of(m: Machine, f: Any, whole: Any) -> Any:
    """``e ln 2 + f - (f^2 / 2 - s (f^2 / 2 + R))``, s = f / (2 + f), R the series of atanh from its second term on."""
    s = m.divide(f, m.add(f, m.number(2.0)))
    z = m.multiply(s, s)
    series = m.multiply(z, _polynomial(m, z, [2 / 9, 2 / 7, 2 / 5, 2 / 3]))
    half = m.multiply(m.number(0.5), m.multiply(f, f))
    tail = m.subtract(half, m.multiply(s, m.add(half, series)))
    tail = m.subtract(tail, m.multiply(whole, m.number(1.428606765330187e-06)))
    return m.fma(whole, m.number(0.693145751953125), m.subtract(f, tail))


def _bound_log(m: Machine, result: Any, x: Any, least: float) -> Any:
    """Minus infinity at the least x, NaN below it."""
    outside = m.choose(m.compare("==", x, m.number(least)), m.number(-math.inf), m.number(math.nan))
    return m.choose(m.compare(">", x, m.number(least)), result, outside)


def compute_log(m: Machine, x: Any) -> Any:
    """The natural logarithm."""
    small = m.compare("<", x, m.number(2.0**-126))  # subnormal
    bits = m.bits(m.choose(small, m.multiply(x, m.number(2.0**25)), x))
    exponent = _exponent(m, bits)
    mantissa = m.from_bits(m.integer("-", bits, m.integer("<<", exponent, m.whole(23))))
    whole = m.add(m.from_whole(exponent), m.choose(small, m.number(-25.0), m.number(0.0)))
    result = _log_of(m, m.subtract(mantissa, m.number(1.0)), whole)
    result = m.choose(m.compare("==", x, m.number(math.inf)), x, result)
    return _bound_log(m, result, x, 0.0)


def compute_log1p_above(m: Machine, x: Any) -> Any:
    """``e ln 2 + log(1 + f)`` with ``1 + x = 2^e (1 + f)``, f in [-0.293, 0.414] (to 1 for the largest); x > -1."""
    exponent = _exponent(m, m.bits(_at_most(m, m.add(x, m.number(1.0)), 2.0**127)))
    inverse = _power_of_two(m, m.integer("-", m.whole(1), exponent))  # 2^(1 - e), which is never subnormal
    f = m.multiply(m.number(0.5), m.fma(x, inverse, m.subtract(inverse, m.number(2.0))))
    result = _log_of(m, f, m.from_whole(exponent))
    return _with_sign(m, m.choose(m.compare("==", x, m.number(math.inf)), x, result), x)


def compute_log1p(m: Machine, x: Any) -> Any:
    """log(1 + x)."""
    return _bound_log(m, compute_log1p_above(m, x), x, -1.0)


def compute_max(m: Machine, x: Any, y: Any) -> Any:
    """NaN where one is."""
    return m.choose(m.compare("!=", y, y), y, m.choose(m.compare("<", x, y), y, x))


def compute_min(m: Machine, x: Any, y: Any) -> Any:
    """The smaller of two; NaN where one is."""
    return m.choose(m.compare("!=", y, y), y, m.choose(m.compare(">", x, y), y, x))


def compute_call(name: str) -> Callable[..., Any]:
    """An operation that the machine has by that name."""
    return lambda m, x: m.call(name, x)


def compute_compare(sign: str) -> Callable[..., Any]:
    """A comparison, by its sign."""
    return lambda m, x, y: m.compare(sign, x, y)


def compute_logic(name: str) -> Callable[..., Any]:
    """An operation on truth values, by its name."""
    return lambda m, x, y: m.logic(name, x, y)
