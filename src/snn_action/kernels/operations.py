"""The operations that kernels know: one table.

A line says which of PyTorch's operations it is and with how many of its arguments (all others must have their default
value), what it takes and gives, the formula by which each kernel computes it, and by how many units in the last place
it may differ from PyTorch. What is not in the table is refused, and a neuron that uses it runs on PyTorch's operations.

A formula is written once, for a machine: ``vector`` writes LLVM's vectors, ``triton_source`` the text of a GPU kernel.
NaN, infinities, signed zeros and subnormal numbers come out as PyTorch has them; only the sign of ``max(0, -0)`` is
open, as PyTorch's own depends on where in memory the numbers lie.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

FLOAT, FLAG = "float", "flag"  # what a value is: a float32 number, or true or false


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


def _exp(m: Machine, x: Any) -> Any:
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


def _expm1(m: Machine, x: Any) -> Any:
    return _with_sign(m, _expm1_of(m, x, -87.0, _TOP), x)


def _expm1_near(m: Machine, x: Any) -> Any:
    return _with_sign(m, _join_expm1(m, *_reduce_near(m, x, x)), x)


def _tanh(m: Machine, x: Any) -> Any:
    """``e / (e + 2)`` with ``e = exp(2 x) - 1``; from 9.5 on it is 1."""
    e = _expm1_of(m, m.add(x, x), -19.0, 19.0)
    return _with_sign(m, m.divide(e, m.add(e, m.number(2.0))), x)


def _sigmoid(m: Machine, x: Any) -> Any:
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


def _log(m: Machine, x: Any) -> Any:
    small = m.compare("<", x, m.number(2.0**-126))  # subnormal
    bits = m.bits(m.choose(small, m.multiply(x, m.number(2.0**25)), x))
    exponent = _exponent(m, bits)
    mantissa = m.from_bits(m.integer("-", bits, m.integer("<<", exponent, m.whole(23))))
    whole = m.add(m.from_whole(exponent), m.choose(small, m.number(-25.0), m.number(0.0)))
    result = _log_of(m, m.subtract(mantissa, m.number(1.0)), whole)
    result = m.choose(m.compare("==", x, m.number(math.inf)), x, result)
    return _bound_log(m, result, x, 0.0)


def _log1p_above(m: Machine, x: Any) -> Any:
    """``e ln 2 + log(1 + f)`` with ``1 + x = 2^e (1 + f)``, f in [-0.293, 0.414] (to 1 for the largest); x > -1."""
    exponent = _exponent(m, m.bits(_at_most(m, m.add(x, m.number(1.0)), 2.0**127)))
    inverse = _power_of_two(m, m.integer("-", m.whole(1), exponent))  # 2^(1 - e), which is never subnormal
    f = m.multiply(m.number(0.5), m.fma(x, inverse, m.subtract(inverse, m.number(2.0))))
    result = _log_of(m, f, m.from_whole(exponent))
    return _with_sign(m, m.choose(m.compare("==", x, m.number(math.inf)), x, result), x)


def _log1p(m: Machine, x: Any) -> Any:
    return _bound_log(m, _log1p_above(m, x), x, -1.0)


def _max(m: Machine, x: Any, y: Any) -> Any:
    """NaN where one is."""
    return m.choose(m.compare("!=", y, y), y, m.choose(m.compare("<", x, y), y, x))


def _min(m: Machine, x: Any, y: Any) -> Any:
    return m.choose(m.compare("!=", y, y), y, m.choose(m.compare(">", x, y), y, x))


def _call(name: str) -> Callable[..., Any]:
    return lambda m, x: m.call(name, x)


def _compare(sign: str) -> Callable[..., Any]:
    return lambda m, x, y: m.compare(sign, x, y)


def _logic(name: str) -> Callable[..., Any]:
    return lambda m, x, y: m.logic(name, x, y)


class Writer(Protocol):
    """Where operations that are made of others put these; ``program`` has it."""

    def put(self, name: str, *values: Any) -> Any:
        """The result of one more instruction; a float or a bool stands for a constant."""

    def constant(self, number: float) -> Any:
        """The same number in all neurons."""

    def refuse(self, reason: str) -> Exception:
        """What to raise where just these arguments are not known."""


def _threshold_backward(w: Writer, grad: Any, x: Any, threshold: Any) -> Any:
    return w.put("where", w.put("le", x, threshold), 0.0, grad)


def _masked_fill(w: Writer, x: Any, mask: Any, value: Any) -> Any:
    return w.put("where", mask, value, x)


def _sign(w: Writer, x: Any) -> Any:
    return w.put("where", w.put("gt", x, 0.0), 1.0, w.put("where", w.put("lt", x, 0.0), -1.0, 0.0))


def _clamp(w: Writer, x: Any, low: Any = None, high: Any = None) -> Any:
    for name, bound in (("clamp_min", low), ("clamp_max", high)):
        if bound is None:
            continue
        if math.isnan(bound.number):
            raise w.refuse("a bound that is no number")
        x = w.put(name, x, bound)
    return x


def _clamp_max(w: Writer, x: Any, high: Any) -> Any:
    return _clamp(w, x, None, high)


def _pow(w: Writer, x: Any, exponent: Any) -> Any:
    """Whole powers up to 5 by multiplication, and square roots."""
    n = exponent.number
    if abs(n) == 0.5:
        return w.put("sqrt", x) if n > 0 else _rsqrt(w, x)
    if not n.is_integer() or abs(n) > 5:
        raise w.refuse(f"the power {n:g}")
    if n == 0:
        return w.constant(1.0)
    if n == -2:
        return w.put("div", 1.0, w.put("mul", x, x))
    return _power(w, x if n > 0 else w.put("div", 1.0, x), abs(int(n)))


def _rsqrt(w: Writer, x: Any) -> Any:
    return w.put("div", 1.0, w.put("sqrt", x))


def _power(w: Writer, x: Any, n: int) -> Any:
    if n == 1:
        return x
    half = _power(w, x, n // 2)
    square = w.put("mul", half, half)
    return w.put("mul", square, x) if n % 2 else square


def _softplus(w: Writer, x: Any, beta: Any, threshold: Any) -> Any:
    scaled = w.put("mul", x, beta)
    return w.put("where", w.put("gt", scaled, threshold), x, w.put("div", w.put("log1p", w.put("exp", scaled)), beta))


def _softplus_backward(w: Writer, grad: Any, x: Any, beta: Any, threshold: Any) -> Any:
    scaled = w.put("mul", x, beta)
    z = w.put("exp", scaled)
    slope = w.put("div", w.put("mul", grad, z), w.put("add", z, 1.0))
    return w.put("where", w.put("gt", scaled, threshold), grad, slope)


def _sigmoid_backward(w: Writer, grad: Any, y: Any) -> Any:
    return w.put("mul", w.put("mul", grad, w.put("sub", 1.0, y)), y)


def _tanh_backward(w: Writer, grad: Any, y: Any) -> Any:
    return w.put("mul", grad, w.put("sub", 1.0, w.put("mul", y, y)))


class Operation(NamedTuple):
    """A line of the table.

    Args:
        name: Of the instruction, or of what is made of several.
        takes: The types of its values; None: those that it finds.
        gives: The type of its result; None: of its last value.
        ulps: By how many units in the last place it may differ from PyTorch's on the same numbers.
        overloads: PyTorch's operations of the ``aten`` library, each with how many of its arguments are taken.
        formula: How it is computed, for a machine; None: it is made of others.
        made: Of which others, for a writer; None: it is an instruction.
    """

    name: str
    takes: tuple[str, ...] | None
    gives: str | None
    ulps: int
    overloads: dict[str, int]
    formula: Callable[..., Any] | None = None
    made: Callable[..., Any] | None = None


_ONE, _TWO, _FLAGS = (FLOAT,), (FLOAT, FLOAT), (FLAG, FLAG)

TABLE = (
    Operation("add", _TWO, FLOAT, 0, {"add.Tensor": 2, "add.Scalar": 2}, lambda m, x, y: m.add(x, y)),
    Operation("sub", _TWO, FLOAT, 0, {"sub.Tensor": 2, "sub.Scalar": 2}, lambda m, x, y: m.subtract(x, y)),
    Operation("mul", _TWO, FLOAT, 0, {"mul.Tensor": 2, "mul.Scalar": 2}, lambda m, x, y: m.multiply(x, y)),
    Operation("div", _TWO, FLOAT, 0, {"div.Tensor": 2, "div.Scalar": 2}, lambda m, x, y: m.divide(x, y)),
    Operation("neg", _ONE, FLOAT, 0, {"neg.default": 1}, lambda m, x: m.negate(x)),
    Operation("abs", _ONE, FLOAT, 0, {"abs.default": 1}, _call("abs")),
    Operation("sqrt", _ONE, FLOAT, 1, {"sqrt.default": 1}, _call("sqrt")),
    Operation("floor", _ONE, FLOAT, 0, {"floor.default": 1}, _call("floor")),
    Operation("ceil", _ONE, FLOAT, 0, {"ceil.default": 1}, _call("ceil")),
    Operation("rint", _ONE, FLOAT, 0, {"round.default": 1}, _call("rint")),
    Operation("max", _TWO, FLOAT, 0, {"maximum.default": 2}, _max),
    Operation("min", _TWO, FLOAT, 0, {"minimum.default": 2}, _min),
    # of a constant that is a number; the other value stays where both are zero
    Operation("clamp_min", _TWO, FLOAT, 0, {}, lambda m, x, y: m.choose(m.compare("<", x, y), y, x)),
    Operation("clamp_max", _TWO, FLOAT, 0, {}, lambda m, x, y: m.choose(m.compare(">", x, y), y, x)),
    Operation("exp", _ONE, FLOAT, 2, {"exp.default": 1}, _exp),
    Operation("expm1", _ONE, FLOAT, 3, {"expm1.default": 1}, _expm1),
    Operation("expm1_near", _ONE, FLOAT, 3, {}, _expm1_near),  # where x is known to be within NEAR
    Operation("log", _ONE, FLOAT, 2, {"log.default": 1}, _log),
    Operation("log1p", _ONE, FLOAT, 3, {"log1p.default": 1}, _log1p),
    Operation("log1p_above", _ONE, FLOAT, 3, {}, _log1p_above),  # where x is known to be above -1
    Operation("tanh", _ONE, FLOAT, 4, {"tanh.default": 1}, _tanh),
    Operation("sigmoid", _ONE, FLOAT, 3, {"sigmoid.default": 1}, _sigmoid),
    Operation("gt", _TWO, FLAG, 0, {"gt.Tensor": 2, "gt.Scalar": 2}, _compare(">")),
    Operation("ge", _TWO, FLAG, 0, {"ge.Tensor": 2, "ge.Scalar": 2}, _compare(">=")),
    Operation("lt", _TWO, FLAG, 0, {"lt.Tensor": 2, "lt.Scalar": 2}, _compare("<")),
    Operation("le", _TWO, FLAG, 0, {"le.Tensor": 2, "le.Scalar": 2}, _compare("<=")),
    Operation("eq", _TWO, FLAG, 0, {"eq.Tensor": 2, "eq.Scalar": 2}, _compare("==")),
    Operation("ne", _TWO, FLAG, 0, {"ne.Tensor": 2, "ne.Scalar": 2}, _compare("!=")),
    Operation("and", _FLAGS, FLAG, 0, {"bitwise_and.Tensor": 2, "logical_and.default": 2}, _logic("and")),
    Operation("or", _FLAGS, FLAG, 0, {"bitwise_or.Tensor": 2, "logical_or.default": 2}, _logic("or")),
    Operation("xor", _FLAGS, FLAG, 0, {"bitwise_xor.Tensor": 2, "logical_xor.default": 2}, _logic("xor")),
    Operation("where", None, None, 0, {"where.self": 3}, lambda m, flag, x, y: m.choose(flag, x, y)),
    Operation("number", (FLAG,), FLOAT, 0, {}, lambda m, flag: m.choose(flag, m.number(1.0), m.number(0.0))),
    # made of others
    Operation("not", (FLAG,), FLAG, 0, {"bitwise_not.default": 1, "logical_not.default": 1},
              made=lambda w, flag: w.put("xor", flag, True)),
    Operation("logical_and_", _FLAGS, FLAG, 0, {"logical_and_.default": 2}, made=lambda w, x, y: w.put("and", x, y)),
    Operation("rsub", _TWO, FLOAT, 0, {"rsub.Scalar": 2, "rsub.Tensor": 2}, made=lambda w, x, y: w.put("sub", y, x)),
    Operation("reciprocal", _ONE, FLOAT, 0, {"reciprocal.default": 1}, made=lambda w, x: w.put("div", 1.0, x)),
    Operation("rsqrt", _ONE, FLOAT, 2, {"rsqrt.default": 1}, made=_rsqrt),
    Operation("pow", (FLOAT,), FLOAT, 5, {"pow.Tensor_Scalar": 2}, made=_pow),
    Operation("sign", _ONE, FLOAT, 0, {"sign.default": 1, "sgn.default": 1}, made=_sign),
    Operation("relu", _ONE, FLOAT, 0, {"relu.default": 1}, made=lambda w, x: w.put("clamp_min", x, 0.0)),
    Operation("threshold_backward", (FLOAT, FLOAT), FLOAT, 0, {"threshold_backward.default": 3},
              made=_threshold_backward),
    Operation("clamp", (FLOAT,), FLOAT, 0, {"clamp.default": 3, "clamp_min.default": 2}, made=_clamp),
    Operation("clamp_max", (FLOAT,), FLOAT, 0, {"clamp_max.default": 2}, made=_clamp_max),
    Operation("masked_fill", (FLOAT, FLAG, FLOAT), FLOAT, 0,
              {"masked_fill.Scalar": 3, "masked_fill.Tensor": 3, "masked_fill_.Scalar": 3}, made=_masked_fill),
    Operation("softplus", (FLOAT,), FLOAT, 4, {"softplus.default": 3}, made=_softplus),
    Operation("softplus_backward", _TWO, FLOAT, 6, {"softplus_backward.default": 4}, made=_softplus_backward),
    Operation("sigmoid_backward", _TWO, FLOAT, 0, {"sigmoid_backward.default": 2}, made=_sigmoid_backward),
    Operation("tanh_backward", _TWO, FLOAT, 2, {"tanh_backward.default": 2}, made=_tanh_backward),
)  # fmt: skip

INSTRUCTIONS = {operation.name: operation for operation in TABLE if operation.formula is not None}
OVERLOADS = {f"aten.{name}": operation for operation in TABLE for name in operation.overloads}
# What gives its argument as it is: shape and type are looked at.
SAME = {"aten.detach.default", "aten.view.default", "aten.alias.default", "aten.clone.default", "aten.expand.default"}
CONVERT = "aten._to_copy.default"  # between float32 and bool
NO_GRADIENT = "aten._efficientzerotensor.default"  # zeros that PyTorch adds to nothing: known as a result alone
# What makes a constant: the number, or the argument that is it.
FACTORIES: dict[str, float | str] = {
    "aten.scalar_tensor.default": "s",
    NO_GRADIENT: 0.0,
    **dict.fromkeys(("aten.full.default", "aten.full_like.default", "aten.new_full.default"), "fill_value"),
    **dict.fromkeys(("aten.zeros.default", "aten.zeros_like.default", "aten.new_zeros.default"), 0.0),
    **dict.fromkeys(("aten.ones.default", "aten.ones_like.default", "aten.new_ones.default"), 1.0),
}
