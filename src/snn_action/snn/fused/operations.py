"""The operations that kernels know: one table, of which all parts of the compiler read their columns.

What is not in the table is refused, and a neuron that uses it runs on PyTorch's own operations. To add an operation:

1. Write one entry. ``aten`` says which of PyTorch's operations it is (the log of a neuron that has no kernel names the
   one that is missing), ``operands`` and ``result`` which types it has, ``ulps`` how exact it is.
2. Say how it is computed. Where other operations make it, ``expand`` writes these. Where both targets have a function
   that does it, ``lower=call(llvm=..., triton=...)`` names them. Else ``lower`` is a formula (see ``formulas``), which
   is written once and becomes LLVM vectors and Triton text. NaN, infinities, signed zeros and subnormal numbers must
   come out as PyTorch has them (only the sign of ``max(0, -0)`` is open: PyTorch's own depends on where in memory the
   numbers lie).
3. Its derivative is not written: PyTorch's is traced. Where that uses an operation that is missing, add it too.
4. Give it a line in ``tests/snn/fused/test_operations.py``, which compares it with PyTorch on special values; a test
   fails without.

The other columns let the compiler simplify, and may be left out.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import torch

from snn_action.snn.fused import expansions, formulas, ranges
from snn_action.snn.fused.formulas import call, compare, logic
from snn_action.snn.fused.ranges import Range


class Type(Enum):
    """What a value is: a float32 number, or true or false."""

    FLOAT = "float"
    BOOL = "bool"


FLOAT, BOOL = Type.FLOAT, Type.BOOL
ANY = None  # either type, the same in all places of an entry: bool where all of these are, else float


class Operation(NamedTuple):
    """An entry of the table.

    Args:
        name: Of the instruction, or of what is made of several.
        operands: The types of its values; ``ANY``: either.
        result: The type of its result.
        ulps: By how many units in the last place it may differ from PyTorch's on the same numbers.
        aten: PyTorch's operations that it is, each with how many of its arguments are taken; all others must have their
            default value.
        lower: How it is computed on a target, CPU or GPU (``formulas.Target``); None: it is made of others.
        expand: Of which others, for a builder (``expansions``); None: it is an instruction.
        range: The range of its result, from those of its values; a bool counts as any number.
        commutes: It is the same with its values swapped.
        identity: The constant on the right that leaves the left value as it is; text, as ``-0.0`` is not ``0.0``.
        narrow: An instruction that does the same with less, and for which range of the value.
        fold: What it is of constants, of tensors; None: the first operation of ``aten``.
    """

    name: str
    operands: tuple[Type | None, ...]
    result: Type | None
    ulps: int
    aten: Mapping[str, int]
    lower: Callable[..., Any] | None = None
    expand: Callable[..., Any] | None = None
    range: Callable[..., Range] = lambda *_: ranges.ANY
    commutes: bool = False
    identity: str | None = None
    narrow: tuple[str, Callable[[Range], bool]] | None = None
    fold: Callable[..., torch.Tensor] | None = None

    def find_types(self, given: Sequence[Type]) -> tuple[tuple[Type, ...], Type]:
        """The types of its values and of its result, where values of these types are given."""
        free = [got for got, wanted in zip(given, self.operands, strict=False) if wanted is ANY]
        either = BOOL if free and all(got is BOOL for got in free) else FLOAT
        return tuple(wanted or either for wanted in self.operands), self.result or either


_F, _FF, _BB = (FLOAT,), (FLOAT, FLOAT), (BOOL, BOOL)

TABLE = (
    # Arithmetic
    Operation("add", _FF, FLOAT, 0, {"add.Tensor": 2, "add.Scalar": 2}, lambda t, x, y: t.add(x, y),
              range=ranges.find_add, commutes=True, identity="-0.0"),
    Operation("sub", _FF, FLOAT, 0, {"sub.Tensor": 2, "sub.Scalar": 2}, lambda t, x, y: t.subtract(x, y),
              range=ranges.find_sub, identity="0.0"),
    Operation("mul", _FF, FLOAT, 0, {"mul.Tensor": 2, "mul.Scalar": 2}, lambda t, x, y: t.multiply(x, y),
              range=ranges.find_mul, commutes=True, identity="1.0"),
    Operation("div", _FF, FLOAT, 0, {"div.Tensor": 2, "div.Scalar": 2}, lambda t, x, y: t.divide(x, y), identity="1.0"),
    Operation("neg", _F, FLOAT, 0, {"neg.default": 1}, lambda t, x: t.negate(x), range=ranges.find_neg),
    Operation("max", _FF, FLOAT, 0, {"maximum.default": 2}, formulas.compute_max, range=ranges.find_max, commutes=True),
    Operation("min", _FF, FLOAT, 0, {"minimum.default": 2}, formulas.compute_min, range=ranges.find_min, commutes=True),
    # of a constant that is a number; the other value stays where both are zero
    Operation("at_least", _FF, FLOAT, 0, {}, lambda t, x, y: t.choose(t.compare("<", x, y), y, x),
              range=ranges.find_max, fold=torch.maximum),
    Operation("at_most", _FF, FLOAT, 0, {}, lambda t, x, y: t.choose(t.compare(">", x, y), y, x),
              range=ranges.find_min, fold=torch.minimum),
    # Functions that both targets have
    Operation("abs", _F, FLOAT, 0, {"abs.default": 1}, call(llvm="llvm.fabs", triton="tl.abs"), range=ranges.find_abs),
    Operation("sqrt", _F, FLOAT, 1, {"sqrt.default": 1}, call(llvm="llvm.sqrt", triton="tl.sqrt_rn"),
              range=lambda _: (0.0, ranges.ANY[1])),
    Operation("floor", _F, FLOAT, 0, {"floor.default": 1}, call(llvm="llvm.floor", triton="tl.floor")),
    Operation("ceil", _F, FLOAT, 0, {"ceil.default": 1}, call(llvm="llvm.ceil", triton="tl.ceil")),
    Operation("rint", _F, FLOAT, 0, {"round.default": 1}, call(llvm="llvm.rint", triton="rint")),
    # Functions by a formula
    Operation("exp", _F, FLOAT, 2, {"exp.default": 1}, formulas.compute_exp, range=lambda _: (0.0, ranges.ANY[1])),
    Operation("expm1", _F, FLOAT, 3, {"expm1.default": 1}, formulas.compute_expm1, range=ranges.find_expm1,
              narrow=("expm1_near", lambda x: x[0] >= formulas.NEAR[0] and x[1] <= formulas.NEAR[1])),
    Operation("expm1_near", _F, FLOAT, 3, {}, formulas.compute_expm1_near),
    Operation("log", _F, FLOAT, 2, {"log.default": 1}, formulas.compute_log),
    Operation("log1p", _F, FLOAT, 3, {"log1p.default": 1}, formulas.compute_log1p,
              narrow=("log1p_above", lambda x: x[0] > -1)),
    Operation("log1p_above", _F, FLOAT, 3, {}, formulas.compute_log1p_above),
    Operation("tanh", _F, FLOAT, 4, {"tanh.default": 1}, formulas.compute_tanh, range=lambda _: (-1.0, 1.0)),
    Operation("sigmoid", _F, FLOAT, 3, {"sigmoid.default": 1}, formulas.compute_sigmoid, range=lambda _: ranges.UNIT),
    # Comparisons, and what is done with their results
    Operation("gt", _FF, BOOL, 0, {"gt.Tensor": 2, "gt.Scalar": 2}, compare(">")),
    Operation("ge", _FF, BOOL, 0, {"ge.Tensor": 2, "ge.Scalar": 2}, compare(">=")),
    Operation("lt", _FF, BOOL, 0, {"lt.Tensor": 2, "lt.Scalar": 2}, compare("<")),
    Operation("le", _FF, BOOL, 0, {"le.Tensor": 2, "le.Scalar": 2}, compare("<=")),
    Operation("eq", _FF, BOOL, 0, {"eq.Tensor": 2, "eq.Scalar": 2}, compare("=="), commutes=True),
    Operation("ne", _FF, BOOL, 0, {"ne.Tensor": 2, "ne.Scalar": 2}, compare("!="), commutes=True),
    Operation("and", _BB, BOOL, 0, {"bitwise_and.Tensor": 2, "logical_and.default": 2, "logical_and_.default": 2},
              logic("&"), commutes=True),
    Operation("or", _BB, BOOL, 0, {"bitwise_or.Tensor": 2, "logical_or.default": 2}, logic("|"), commutes=True),
    Operation("xor", _BB, BOOL, 0, {"bitwise_xor.Tensor": 2, "logical_xor.default": 2}, logic("^"), commutes=True,
              identity="False"),
    Operation("where", (BOOL, ANY, ANY), ANY, 0, {"where.self": 3}, lambda t, flag, x, y: t.choose(flag, x, y),
              range=ranges.find_where),
    Operation("to_float", (BOOL,), FLOAT, 0, {}, lambda t, flag: t.choose(flag, t.number(1.0), t.number(0.0)),
              range=lambda _: ranges.UNIT, fold=torch.Tensor.float),
    # Made of others
    Operation("not", (BOOL,), BOOL, 0, {"bitwise_not.default": 1, "logical_not.default": 1},
              expand=lambda b, flag: b.emit("xor", flag, True)),
    Operation("rsub", _FF, FLOAT, 0, {"rsub.Scalar": 2, "rsub.Tensor": 2}, expand=lambda b, x, y: b.emit("sub", y, x)),
    Operation("reciprocal", _F, FLOAT, 0, {"reciprocal.default": 1}, expand=lambda b, x: b.emit("div", 1.0, x)),
    Operation("rsqrt", _F, FLOAT, 2, {"rsqrt.default": 1}, expand=expansions.expand_rsqrt),
    Operation("pow", _F, FLOAT, 5, {"pow.Tensor_Scalar": 2}, expand=expansions.expand_pow),
    Operation("sign", _F, FLOAT, 0, {"sign.default": 1, "sgn.default": 1}, expand=expansions.expand_sign),
    Operation("relu", _F, FLOAT, 0, {"relu.default": 1}, expand=lambda b, x: b.emit("at_least", x, 0.0)),
    Operation("threshold_backward", _FF, FLOAT, 0, {"threshold_backward.default": 3},
              expand=expansions.expand_threshold_backward),
    Operation("clamp", _F, FLOAT, 0, {"clamp.default": 3, "clamp_min.default": 2}, expand=expansions.expand_clamp),
    Operation("clamp_max", _F, FLOAT, 0, {"clamp_max.default": 2}, expand=expansions.expand_clamp_max),
    Operation("masked_fill", (FLOAT, BOOL, FLOAT), FLOAT, 0,
              {"masked_fill.Scalar": 3, "masked_fill.Tensor": 3, "masked_fill_.Scalar": 3},
              expand=expansions.expand_masked_fill),
    Operation("softplus", _F, FLOAT, 4, {"softplus.default": 3}, expand=expansions.expand_softplus),
    Operation("softplus_backward", _FF, FLOAT, 6, {"softplus_backward.default": 4},
              expand=expansions.expand_softplus_backward),
    Operation("sigmoid_backward", _FF, FLOAT, 0, {"sigmoid_backward.default": 2},
              expand=expansions.expand_sigmoid_backward),
    Operation("tanh_backward", _FF, FLOAT, 2, {"tanh_backward.default": 2}, expand=expansions.expand_tanh_backward),
)  # fmt: skip

INSTRUCTIONS = {operation.name: operation for operation in TABLE if operation.lower is not None}
OVERLOADS = {f"aten.{name}": operation for operation in TABLE for name in operation.aten}
