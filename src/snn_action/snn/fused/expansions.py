"""Operations that are made of others: what ``builder`` puts in their places.

Each function takes the builder and the operation's arguments, and returns the value of the result. Arguments that are
numbers in PyTorch's signature (a bound, a power) are constants, or None where they are not given.
"""

import math
from typing import Any, Protocol


class Builder(Protocol):
    """What expansions use of ``builder.Builder``."""

    def emit(self, name: str, *values: Any) -> Any:
        """The result of one more instruction; a float or a bool stands for a constant."""

    def constant(self, number: float) -> Any:
        """The same number in all neurons."""

    def refuse(self, reason: str) -> Exception:
        """What to raise where these arguments are not known to be exactly PyTorch's."""


def expand_threshold_backward(b: Builder, grad: Any, x: Any, threshold: Any) -> Any:
    """The gradient of relu: zero up to the threshold."""
    return b.emit("where", b.emit("le", x, threshold), 0.0, grad)


def expand_masked_fill(b: Builder, x: Any, mask: Any, value: Any) -> Any:
    """``value`` where the mask is true."""
    return b.emit("where", mask, value, x)


def expand_sign(b: Builder, x: Any) -> Any:
    """1, 0 or -1; 0 for NaN."""
    return b.emit("where", b.emit("gt", x, 0.0), 1.0, b.emit("where", b.emit("lt", x, 0.0), -1.0, 0.0))


def expand_clamp(b: Builder, x: Any, low: Any = None, high: Any = None) -> Any:
    """At least ``low``, then at most ``high``."""
    for name, bound in (("at_least", low), ("at_most", high)):
        if bound is None:
            continue
        if math.isnan(bound.number):
            raise b.refuse("a bound that is no number")
        x = b.emit(name, x, bound)
    return x


def expand_clamp_max(b: Builder, x: Any, high: Any) -> Any:
    """At most ``high``."""
    return expand_clamp(b, x, None, high)


def expand_pow(b: Builder, x: Any, exponent: Any) -> Any:
    """Whole powers up to 5 by multiplication, and square roots."""
    n = exponent.number
    if abs(n) == 0.5:
        return b.emit("sqrt", x) if n > 0 else expand_rsqrt(b, x)
    if not n.is_integer() or abs(n) > 5:
        raise b.refuse(f"the power {n:g}")
    if n == 0:
        return b.constant(1.0)
    if n == -2:
        return b.emit("div", 1.0, b.emit("mul", x, x))
    return _power(b, x if n > 0 else b.emit("div", 1.0, x), abs(int(n)))


def _power(b: Builder, x: Any, n: int) -> Any:
    if n == 1:
        return x
    half = _power(b, x, n // 2)
    square = b.emit("mul", half, half)
    return b.emit("mul", square, x) if n % 2 else square


def expand_rsqrt(b: Builder, x: Any) -> Any:
    """1 / sqrt(x)."""
    return b.emit("div", 1.0, b.emit("sqrt", x))


def expand_softplus(b: Builder, x: Any, beta: Any, threshold: Any) -> Any:
    """log(1 + exp(beta x)) / beta; x itself above the threshold."""
    scaled = b.emit("mul", x, beta)
    above = b.emit("gt", scaled, threshold)
    return b.emit("where", above, x, b.emit("div", b.emit("log1p", b.emit("exp", scaled)), beta))


def expand_softplus_backward(b: Builder, grad: Any, x: Any, beta: Any, threshold: Any) -> Any:
    """Times exp(beta x) / (exp(beta x) + 1)."""
    scaled = b.emit("mul", x, beta)
    z = b.emit("exp", scaled)
    slope = b.emit("div", b.emit("mul", grad, z), b.emit("add", z, 1.0))
    return b.emit("where", b.emit("gt", scaled, threshold), grad, slope)


def expand_sigmoid_backward(b: Builder, grad: Any, y: Any) -> Any:
    """Times y (1 - y), of the result y."""
    return b.emit("mul", b.emit("mul", grad, b.emit("sub", 1.0, y)), y)


def expand_tanh_backward(b: Builder, grad: Any, y: Any) -> Any:
    """Times 1 - y^2, of the result y."""
    return b.emit("mul", grad, b.emit("sub", 1.0, b.emit("mul", y, y)))
