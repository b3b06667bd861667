"""Interval arithmetic: the least and the greatest number that a result can be, given those of its operands.

A rule holds for results with and without rounding to float32. A result may be NaN whatever its range says.
"""

import ctypes
import math

Range = tuple[float, float]

ANY: Range = (-math.inf, math.inf)
UNIT: Range = (0.0, 1.0)


def find_neg(x: Range) -> Range:
    """Of ``-x``."""
    return -x[1], -x[0]


def find_abs(x: Range) -> Range:
    """Of ``|x|``."""
    low, high = x
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def find_add(x: Range, y: Range) -> Range:
    """Of ``x + y``."""
    return _enclose(x[0] + y[0], x[1] + y[1])


def find_sub(x: Range, y: Range) -> Range:
    """Of ``x - y``."""
    return _enclose(x[0] - y[1], x[1] - y[0])


def find_mul(x: Range, y: Range) -> Range:
    """Of ``x y``."""
    return _enclose(x[0] * y[0], x[0] * y[1], x[1] * y[0], x[1] * y[1])


def find_max(x: Range, y: Range) -> Range:
    """Of the greater of two."""
    return max(x[0], y[0]), max(x[1], y[1])


def find_min(x: Range, y: Range) -> Range:
    """Of the smaller of two."""
    return min(x[0], y[0]), min(x[1], y[1])


def find_where(_: Range, x: Range, y: Range) -> Range:
    """Of one of the two."""
    return min(x[0], y[0]), max(x[1], y[1])


def find_expm1(x: Range) -> Range:
    """Of ``exp(x) - 1``."""
    return -1.0, math.inf if x[1] > 0 else 0.0


def _enclose(*ends: float) -> Range:
    if any(math.isnan(end) for end in ends):
        return ANY
    every = [*ends, *(ctypes.c_float(end).value for end in ends)]
    return min(every), max(every)
