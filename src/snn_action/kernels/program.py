"""The equations of a neuron as a list of instructions, taken from the very PyTorch code that defines them.

A neuron's step is a function of tensors, ``(current, *state, *parameters) -> (output, *state)``. PyTorch records what
that function and its gradient do to one number (``make_fx``); what is kept here is the record, cleaned: each
instruction has a name and takes numbers or the results of earlier ones. Kernels for a processor and for a GPU are
written from the same list, so nothing is derived or typed twice.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Step = Callable[..., tuple[Tensor, ...]]


class Constant(NamedTuple):
    """A number that is the same in all neurons."""

    number: float


Value = int | Constant  # an int is the number of an input or of an instruction's result


class UnknownOperationError(Exception):
    """The equations use an operation that kernels do not have."""


class Instruction(NamedTuple):
    """One operation on single numbers."""

    name: str
    values: tuple[Value, ...]


class Program(NamedTuple):
    """Values 0 to ``inputs - 1`` are what is given, instruction ``i`` makes value ``inputs + i``."""

    inputs: int
    instructions: tuple[Instruction, ...]
    results: tuple[Value, ...]

    def fixed(self, inputs: Sequence[int]) -> set[int]:
        """Values that depend on nothing but the given inputs (and constants)."""
        known, found = set(inputs), set()
        for i, instruction in enumerate(self.instructions):
            if all(isinstance(value, Constant) or value in known for value in instruction.values):
                known.add(self.inputs + i)
                found.add(self.inputs + i)
        return found


class Equations(NamedTuple):
    """What kernels need to know of a neuron: one step, and how gradients go back through it.

    ``forward``: current, states, parameters -> output, states. ``backward``: the same, then the gradients of the
    output and of each state after the step -> the gradients of the current, of each state before it and of each
    parameter.
    """

    states: int
    parameters: int
    forward: Program
    backward: Program


def trace(step: Step, states: int, parameters: int) -> Equations:
    """The equations of ``step(current, *state, *parameters) -> (output, *state)``, all tensors of one shape.

    Raises:
        UnknownOperationError: an operation has no counterpart here.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    given = 1 + states + parameters

    def forward(*values: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return step(*values)

    def backward(*values: Tensor) -> tuple[Tensor, ...]:
        leaves = [value.detach().requires_grad_() for value in values[:given]]
        with torch.enable_grad():
            made = step(*leaves)
        pairs = [(y, grad) for y, grad in zip(made, values[given:], strict=True) if y.requires_grad]
        zeros = [torch.zeros_like(leaf) for leaf in leaves]
        if not pairs:
            return tuple(zeros)
        outputs, gradients = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, leaves, gradients, allow_unused=True)
        return tuple(zero if grad is None else grad for zero, grad in zip(zeros, found, strict=True))

    with torch.inference_mode(False):  # in it nothing has a gradient, and what is traced is kept for trainings to come
        examples = [torch.full((1,), 0.5, dtype=torch.float32, device="cpu") for _ in range(given + 1 + states)]
        programs = [
            _read(make_fx(function)(*examples[:count]).graph, count)
            for function, count in ((forward, given), (backward, given + 1 + states))
        ]
    return Equations(states, parameters, *programs)


ZERO, ONE = Constant(0.0), Constant(1.0)
_ALIASES = {"detach", "view", "alias", "clone", "expand", "lift_fresh_copy", "unsqueeze", "squeeze"}
_BINARY = {"add", "sub", "mul", "div", "gt", "ge", "lt", "le", "eq", "ne", "maximum", "minimum"}
_UNARY = {
    "neg",
    "abs",
    "floor",
    "ceil",
    "round",
    "exp",
    "expm1",
    "log",
    "log1p",
    "tanh",
    "sigmoid",
    "sqrt",
    "logical_not",
}
_LOGICAL = {"bitwise_and": "and", "logical_and": "and", "bitwise_or": "or", "logical_or": "or", "bitwise_not": "not"}
_RENAMED = {"maximum": "max", "minimum": "min", "round": "rint", "logical_not": "not"}


def _read(graph: torch.fx.Graph, inputs: int) -> Program:
    writer = _Writer(inputs)
    values: dict[torch.fx.Node, Value] = {}
    results: tuple[Value, ...] = ()
    count = 0

    def value(argument: Any) -> Value:
        if isinstance(argument, torch.fx.Node):
            return values[argument]
        return Constant(float(argument))

    for node in graph.nodes:
        if node.op == "placeholder":
            values[node], count = count, count + 1
        elif node.op == "output":
            results = tuple(value(argument) for argument in node.args[0])
        elif node.op == "call_function":
            if node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("rounding_mode") is not None:
                raise UnknownOperationError(f"{node.target} with {node.kwargs}")
            values[node] = _translate(writer, node, value)
        elif node.op == "get_attr":  # a constant tensor
            values[node] = Constant(float(getattr(graph.owning_module, str(node.target))))
    return writer.finish(results)


def _translate(writer: "_Writer", node: torch.fx.Node, value: Callable[[Any], Value]) -> Value:
    name = str(node.target).split(".")[1].rstrip("_") if "." in str(node.target) else str(node.target)
    given = [argument for argument in node.args if not isinstance(argument, list | tuple | torch.Size)]
    put = writer.put
    if name in _ALIASES:
        return value(given[0])
    if name in _LOGICAL:
        return put(_LOGICAL[name], *map(value, given))
    if name in _BINARY or name in _UNARY:
        return put(_RENAMED.get(name, name), *map(value, given[: 2 if name in _BINARY else 1]))
    match name:
        case "rsub":
            return put("sub", value(given[1]), value(given[0]))
        case "_to_copy" | "to":
            return writer.number(value(given[0]))
        case "scalar_tensor" | "full":
            return value(next(argument for argument in reversed(node.args) if not isinstance(argument, list)))
        case "zeros_like":
            return ZERO
        case "ones_like":
            return ONE
        case "where":
            return put("where", *map(value, given))
        case "masked_fill":
            return put("where", value(given[1]), value(given[2]), value(given[0]))
        case "clamp" | "clamp_min" | "clamp_max":
            low, high = {"clamp_min": (given[-1], None), "clamp_max": (None, given[-1])}.get(
                name, (*given[1:], None, None)[:2]
            )
            result = value(given[0])
            result = result if low is None else put("max", result, value(low))
            return result if high is None else put("min", result, value(high))
        case "relu":
            return put("max", value(given[0]), ZERO)
        case "threshold_backward":
            return put("where", put("le", value(given[1]), value(given[2])), ZERO, value(given[0]))
        case "sgn" | "sign":
            x = value(given[0])
            return put("where", put("gt", x, ZERO), ONE, put("where", put("lt", x, ZERO), Constant(-1.0), ZERO))
        case "reciprocal":
            return put("div", ONE, value(given[0]))
        case "pow" if given[1] == 2:
            return put("mul", value(given[0]), value(given[0]))
        case "softplus" if len(given) == 1:
            x = value(given[0])
            return put("where", put("gt", x, Constant(20.0)), x, put("log1p", put("exp", x)))
        case "softplus_backward" if given[2:] == [1.0, 20.0] or given[2:] == [1, 20]:
            grad, x = value(given[0]), value(given[1])
            return put("where", put("gt", x, Constant(20.0)), grad, put("mul", grad, put("sigmoid", x)))
        case "sigmoid_backward":
            grad, s = value(given[0]), value(given[1])
            return put("mul", grad, put("mul", s, put("sub", ONE, s)))
        case "tanh_backward":
            grad, y = value(given[0]), value(given[1])
            return put("mul", grad, put("sub", ONE, put("mul", y, y)))
    raise UnknownOperationError(str(node.target))


_CONSTANT: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
}
_BOOLEAN = {"gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not"}


class _Writer:
    """Instructions without those that repeat, do nothing, or work on constants alone."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.instructions: list[Instruction] = []
        self.known: dict[Instruction, int] = {}

    def put(self, name: str, *values: Value) -> Value:
        """The result of one more instruction."""
        simple = self._simplify(name, values)
        if simple is not None:
            return simple
        instruction = Instruction(name, values)
        if instruction not in self.known:
            self.known[instruction] = self.inputs + len(self.instructions)
            self.instructions.append(instruction)
        return self.known[instruction]

    def number(self, value: Value) -> Value:
        """What is true or false as 1 or 0."""
        made = self._maker(value)
        return self.put("where", value, ONE, ZERO) if made is not None and made.name in _BOOLEAN else value

    def _maker(self, value: Value) -> Instruction | None:
        return self.instructions[value - self.inputs] if isinstance(value, int) and value >= self.inputs else None

    def _simplify(self, name: str, values: tuple[Value, ...]) -> Value | None:
        """A value that is the same without a new instruction, or from a simpler one; None: there is none."""
        if name in _CONSTANT and all(isinstance(value, Constant) for value in values):
            return Constant(_CONSTANT[name](*(value.number for value in values if isinstance(value, Constant))))
        if name == "where":
            return values[1] if values[1] == values[2] else None
        a, b = values[0], values[-1]
        made_a, made_b = self._maker(a), self._maker(b)
        if name in ("add", "mul") and isinstance(a, Constant):  # constants on the right
            return self.put(name, b, a)
        if name == "neg" and made_a is not None and made_a.name == "neg":
            return made_a.values[0]
        if name == "sub" and a == ZERO:
            return self.put("neg", b)
        if name in ("add", "sub") and made_b is not None and made_b.name == "neg":
            return self.put("sub" if name == "add" else "add", a, made_b.values[0])
        if (name in ("add", "sub") and b == ZERO) or (name == "div" and a == ZERO):
            return a
        if name == "div" and isinstance(b, Constant):
            return self.put("mul", a, Constant(1 / b.number))
        if name != "mul" or not isinstance(b, Constant):
            return None
        if abs(b.number - 1) < 1e-12:
            return a
        if b == ZERO:
            return ZERO
        if made_a is not None and made_a.name == "mul" and isinstance(made_a.values[1], Constant):
            return self.put("mul", made_a.values[0], Constant(made_a.values[1].number * b.number))
        return None

    def finish(self, results: tuple[Value, ...]) -> Program:
        """The program, without what no result needs."""
        needed = {value for value in results if isinstance(value, int)}
        for i in reversed(range(len(self.instructions))):
            if self.inputs + i in needed:
                needed.update(value for value in self.instructions[i].values if isinstance(value, int))
        places = {i: i for i in range(self.inputs)}
        kept: list[Instruction] = []

        def moved(value: Value) -> Value:
            return places[value] if isinstance(value, int) else value

        for i, instruction in enumerate(self.instructions):
            if self.inputs + i in needed:
                places[self.inputs + i] = self.inputs + len(kept)
                kept.append(Instruction(instruction.name, tuple(map(moved, instruction.values))))
        return Program(self.inputs, tuple(kept), tuple(map(moved, results)))
