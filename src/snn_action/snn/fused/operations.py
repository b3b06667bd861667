"""The operations that kernels know: one table.

A line says which of PyTorch's operations it is and with how many of its arguments (all others must have their default
value), what it takes and gives, the formula by which each kernel computes it, and by how many units in the last place
it may differ from PyTorch. What is not in the table is refused, and a neuron that uses it runs on PyTorch's operations.

A formula is written once, for a machine: ``vector`` writes LLVM's vectors, ``triton_source`` the text of a GPU kernel.
NaN, infinities, signed zeros and subnormal numbers come out as PyTorch has them; only the sign of ``max(0, -0)`` is
open, as PyTorch's own depends on where in memory the numbers lie.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from snn_action.snn.fused.formulas import (
    compute_call,
    compute_compare,
    compute_exp,
    compute_expm1,
    compute_expm1_near,
    compute_log,
    compute_log1p,
    compute_log1p_above,
    compute_logic,
    compute_max,
    compute_min,
    compute_sigmoid,
    compute_tanh,
)

FLOAT, FLAG = "float", "flag"  # what a value is: a float32 number, or true or false


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
    Operation("abs", _ONE, FLOAT, 0, {"abs.default": 1}, compute_call("abs")),
    Operation("sqrt", _ONE, FLOAT, 1, {"sqrt.default": 1}, compute_call("sqrt")),
    Operation("floor", _ONE, FLOAT, 0, {"floor.default": 1}, compute_call("floor")),
    Operation("ceil", _ONE, FLOAT, 0, {"ceil.default": 1}, compute_call("ceil")),
    Operation("rint", _ONE, FLOAT, 0, {"round.default": 1}, compute_call("rint")),
    Operation("max", _TWO, FLOAT, 0, {"maximum.default": 2}, compute_max),
    Operation("min", _TWO, FLOAT, 0, {"minimum.default": 2}, compute_min),
    # of a constant that is a number; the other value stays where both are zero
    Operation("clamp_min", _TWO, FLOAT, 0, {}, lambda m, x, y: m.choose(m.compare("<", x, y), y, x)),
    Operation("clamp_max", _TWO, FLOAT, 0, {}, lambda m, x, y: m.choose(m.compare(">", x, y), y, x)),
    Operation("exp", _ONE, FLOAT, 2, {"exp.default": 1}, compute_exp),
    Operation("expm1", _ONE, FLOAT, 3, {"expm1.default": 1}, compute_expm1),
    Operation("expm1_near", _ONE, FLOAT, 3, {}, compute_expm1_near),  # where x is known to be within NEAR
    Operation("log", _ONE, FLOAT, 2, {"log.default": 1}, compute_log),
    Operation("log1p", _ONE, FLOAT, 3, {"log1p.default": 1}, compute_log1p),
    Operation("log1p_above", _ONE, FLOAT, 3, {}, compute_log1p_above),  # where x is known to be above -1
    Operation("tanh", _ONE, FLOAT, 4, {"tanh.default": 1}, compute_tanh),
    Operation("sigmoid", _ONE, FLOAT, 3, {"sigmoid.default": 1}, compute_sigmoid),
    Operation("gt", _TWO, FLAG, 0, {"gt.Tensor": 2, "gt.Scalar": 2}, compute_compare(">")),
    Operation("ge", _TWO, FLAG, 0, {"ge.Tensor": 2, "ge.Scalar": 2}, compute_compare(">=")),
    Operation("lt", _TWO, FLAG, 0, {"lt.Tensor": 2, "lt.Scalar": 2}, compute_compare("<")),
    Operation("le", _TWO, FLAG, 0, {"le.Tensor": 2, "le.Scalar": 2}, compute_compare("<=")),
    Operation("eq", _TWO, FLAG, 0, {"eq.Tensor": 2, "eq.Scalar": 2}, compute_compare("==")),
    Operation("ne", _TWO, FLAG, 0, {"ne.Tensor": 2, "ne.Scalar": 2}, compute_compare("!=")),
    Operation("and", _FLAGS, FLAG, 0, {"bitwise_and.Tensor": 2, "logical_and.default": 2}, compute_logic("and")),
    Operation("or", _FLAGS, FLAG, 0, {"bitwise_or.Tensor": 2, "logical_or.default": 2}, compute_logic("or")),
    Operation("xor", _FLAGS, FLAG, 0, {"bitwise_xor.Tensor": 2, "logical_xor.default": 2}, compute_logic("xor")),
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
