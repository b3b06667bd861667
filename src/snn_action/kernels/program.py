"""The equations of a neuron as a list of instructions, taken from the very PyTorch code that defines them.

A neuron's step is a function of tensors, ``(current, *state, *parameters) -> (output, *state)``. PyTorch records what
that function and its gradient do to one number (``make_fx``); what is kept here is the record, cleaned: each
instruction has a name and takes numbers or the results of earlier ones. Kernels for a processor and for a GPU are
written from the same list, so nothing is derived or typed twice.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_action.errors import ConfigError
from snn_action.kernels.operations import (
    CONVERT,
    FACTORIES,
    FLAG,
    FLOAT,
    INSTRUCTIONS,
    NEAR,
    NO_GRADIENT,
    OVERLOADS,
    SAME,
    Operation,
)

Step = Callable[..., tuple[Tensor, ...]]


class Constant(NamedTuple):
    """A number, or true or false, that is the same in all neurons; ``text`` tells 0 from -0, and 1 from true."""

    number: float
    text: str


def constant(number: float) -> Constant:
    """True or false as it is, any other number as float32 has it."""
    if not isinstance(number, bool):
        number = ctypes.c_float(number).value
        number = math.nan if math.isnan(number) else number  # the one that is equal to itself
    return Constant(number, repr(number))


Value = int | Constant  # an int is the number of an input or of an instruction's result
Range = tuple[float, float]


class UnknownOperationError(Exception):
    """The equations use what kernels do not have, or do not know to be exactly PyTorch's."""


class Instruction(NamedTuple):
    """One operation on single numbers."""

    name: str
    values: tuple[Value, ...]


class Program(NamedTuple):
    """Values 0 to ``inputs - 1`` are what is given, instruction ``i`` makes value ``inputs + i``.

    What is given and the results are numbers; in between there are flags too.
    """

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

    def ranges(self) -> list[Range]:
        """The least and the greatest that each value can be where it is a number."""
        ranges: list[Range] = [(-math.inf, math.inf)] * self.inputs
        for instruction in self.instructions:
            given = [(v.number, v.number) if isinstance(v, Constant) else ranges[v] for v in instruction.values]
            ranges.append(_find_range(instruction.name, given))
        return ranges


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


SHAPES = (2, 3), (2, 3, 5)  # of the examples with which a step is recorded


def trace(step: Step, states: int, parameters: int) -> Equations:
    """The equations of ``step(current, *state, *parameters) -> (output, *state)``, all tensors of one shape.

    Raises:
        UnknownOperationError: the step does what kernels do not know to be exactly PyTorch's; the reason is given.
    """
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

    # Recorded twice, with other shapes and numbers: what is not the same both times came from outside of the step.
    first, second = (
        [_record(function, count, shape) for function, count in ((forward, given), (backward, given + 1 + states))]
        for shape in SHAPES
    )
    if first != second:
        raise UnknownOperationError("a number in it that depends on the shape, or changes from call to call")
    return Equations(states, parameters, *first)


def _record(function: Step, count: int, shape: tuple[int, ...]) -> "Program":
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.inference_mode(False):  # in it nothing has a gradient, and what is traced is kept for trainings to come
        examples = [torch.full(shape, 1 / sum(shape), dtype=torch.float32, device="cpu") for _ in range(count)]
        try:
            graph = make_fx(function)(*examples).graph
        except (ConfigError, UnknownOperationError):
            raise
        except Exception as error:  # of any kind: PyTorch's own operations meet it again, or do without the recording
            reason = str(error).strip().split("\n")[0]
            raise UnknownOperationError(f"it cannot be recorded: {type(error).__name__}: {reason}") from error
        return _read(graph, count, shape)


def _read(graph: torch.fx.Graph, inputs: int, shape: tuple[int, ...]) -> Program:
    writer = _Writer(inputs)
    values: dict[torch.fx.Node, Value] = {}
    results: tuple[Value, ...] = ()
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = len(values)
        elif node.op == "output":
            results = tuple(_take_result(node, argument, values, shape) for argument in node.args[0])
        elif node.op == "call_function":
            values[node] = _translate(writer, node, values, shape)
        elif any(str(user.target) != _LITERAL for user in node.users):
            raise UnknownOperationError("a tensor from outside of the step, which may change")
    if any(writer.kind(result) != FLOAT for result in results):
        raise UnknownOperationError("a result of another type than float32")
    return writer.finish(results)


_LITERAL = "aten.lift_fresh_copy.default"  # a tensor that the step makes from a number
_KINDS = {torch.float32: FLOAT, torch.bool: FLAG}
# Arguments that say nothing of the numbers, and the values of them that all tensors here have
_LAYOUTS: dict[str, Callable[[Any], bool]] = {
    "dtype": lambda _: True,  # that of the result is looked at
    "layout": lambda value: value in (None, torch.strided),
    "device": lambda value: value is None or torch.device(value).type == "cpu",
    "pin_memory": lambda value: not value,
    "non_blocking": lambda _: True,
    "memory_format": lambda _: True,
    "size": lambda _: True,  # the shape of the result is looked at
    "implicit": lambda _: True,
}


def _look_at(node: torch.fx.Node, shape: tuple[int, ...]) -> str:
    """The type of a node's result.

    Raises:
        UnknownOperationError: it has another type or shape than kernels have.
    """
    meta = node.meta.get("tensor_meta")
    if meta is None:
        raise UnknownOperationError(f"{node.target} gives no tensor")
    if meta.dtype not in _KINDS:
        raise UnknownOperationError(f"{node.target} gives {meta.dtype}")
    if tuple(meta.shape) not in (shape, ()):
        raise UnknownOperationError(f"{node.target} changes the shape")
    return _KINDS[meta.dtype]


def _take_result(
    node: torch.fx.Node, argument: Any, values: dict[torch.fx.Node, Value], shape: tuple[int, ...]
) -> Value:
    if not isinstance(argument, torch.fx.Node):
        raise UnknownOperationError(f"a result that is no tensor: {argument}")
    meta = argument.meta.get("tensor_meta")
    if meta is None or tuple(meta.shape) != shape:
        raise UnknownOperationError(f"a result of another shape than the current: {node.target}")
    return values[argument]


def _translate(
    writer: "_Writer", node: torch.fx.Node, values: dict[torch.fx.Node, Value], shape: tuple[int, ...]
) -> Value:
    name = str(node.target)
    writer.now = name
    if name == _LITERAL:
        kind = _look_at(node, ())
        literal = getattr(node.graph.owning_module, str(node.args[0].target))  # type: ignore[union-attr]
        return constant(bool(literal) if kind == FLAG else float(literal))
    known = OVERLOADS.get(name)
    if known is None and name not in SAME and name not in FACTORIES and name != CONVERT:
        raise UnknownOperationError(name)
    if name == NO_GRADIENT and any(user.op != "output" for user in node.users):
        raise UnknownOperationError(f"{name} in the gradient")
    kind = _look_at(node, shape)
    taken = _bind(node, values, known)
    if known is not None:
        if node.target._schema.is_mutable:  # type: ignore[union-attr]
            _check_overwritten(node)
        result = writer.apply(known, taken)
    elif name in FACTORIES:
        number: Any = taken[0].number if taken else FACTORIES[name]
        result = constant(bool(number) if kind == FLAG else number)
    elif name == CONVERT and writer.kind(taken[0]) != kind:
        result = writer.put("number", taken[0]) if kind == FLOAT else writer.put("ne", taken[0], 0.0)
    else:
        result = taken[0]
    if writer.kind(result) != kind:
        raise writer.refuse(f"a result of type {node.meta['tensor_meta'].dtype}")
    return result


def _bind(node: torch.fx.Node, values: dict[torch.fx.Node, Value], known: Operation | None) -> list[Any]:
    """The arguments that are taken, numbers as constants; all others have their default value.

    Raises:
        UnknownOperationError: one has not.
    """
    name = str(node.target)
    source = FACTORIES.get(name)
    count = known.overloads[name.removeprefix("aten.")] if known else int(name in SAME or name == CONVERT)
    taken: list[Any] = []
    for i, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        value = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
        if i < count or argument.name == source:
            if isinstance(value, torch.fx.Node):
                taken.append(values[value])
            elif value is None:
                taken.append(None)
            elif isinstance(value, int | float) and not (isinstance(value, int) and abs(value) > 2**53):
                taken.append(constant(float(value)))
            else:
                raise UnknownOperationError(f"{name} with {argument.name} = {value}")
        elif name in FACTORIES and i == 0 and argument.name == "self":
            continue  # whose shape it takes
        elif argument.name in _LAYOUTS and known is None:
            if not _LAYOUTS[argument.name](value):
                raise UnknownOperationError(f"{name} with {argument.name} = {value}")
        elif value != argument.default_value:
            raise UnknownOperationError(f"{name} with {argument.name} = {value}")
    return taken


def _check_overwritten(node: torch.fx.Node) -> None:
    """An operation in place is one that makes a new value, where nothing else sees the old one."""
    old = node.args[0]
    if not isinstance(old, torch.fx.Node) or old.op != "call_function" or str(old.target) in SAME or len(old.users) > 1:
        raise UnknownOperationError(f"{node.target} overwrites what may be used elsewhere")


_SWAPPED = {"add", "mul", "max", "min", "eq", "ne", "and", "or", "xor"}  # the same with its values swapped
_FOLDED = {"clamp_min": "maximum.default", "clamp_max": "minimum.default", "where": "where.self"}


class _Writer:
    """Instructions without those that repeat, do nothing, or work on constants alone.

    What is left out changes no bit of a result but the sign of a NaN.
    """

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.instructions: list[Instruction] = []
        self.known: dict[Instruction, int] = {}
        self.kinds = [FLOAT] * inputs
        self.now = ""  # PyTorch's operation, for messages

    def constant(self, number: float) -> Constant:
        """See ``constant``."""
        return constant(number)

    def refuse(self, reason: str) -> UnknownOperationError:
        """What to raise for these arguments of the operation."""
        return UnknownOperationError(f"{self.now} with {reason}")

    def kind(self, value: Value) -> str:
        """The type of a value."""
        if isinstance(value, Constant):
            return FLAG if isinstance(value.number, bool) else FLOAT
        return self.kinds[value]

    def apply(self, operation: Operation, given: Sequence[Any]) -> Value:
        """The result of an operation of the table on values of the types that it takes."""
        if operation.made is None:
            return self.put(operation.name, *given)
        kinds = operation.takes or ()
        values = [self._fit(value, kind) for value, kind in zip(given, kinds, strict=False)]
        result: Value = operation.made(self, *values, *given[len(values) :])
        return result

    def put(self, name: str, *values: Any) -> Value:
        """The result of one more instruction."""
        operation = INSTRUCTIONS[name]
        values = tuple(constant(value) if isinstance(value, float | bool) else value for value in values)
        takes = operation.takes
        if takes is None:  # a choice: of flags, or of numbers
            both = FLAG if self.kind(values[1]) == self.kind(values[2]) == FLAG else FLOAT
            takes = (FLAG, both, both)
        values = tuple(self._fit(value, kind) for value, kind in zip(values, takes, strict=True))
        simple = self._simplify(name, values)
        if simple is not None:
            return simple
        instruction = Instruction(name, values)
        if instruction not in self.known:
            self.known[instruction] = self.inputs + len(self.instructions)
            self.instructions.append(instruction)
            self.kinds.append(operation.gives or takes[-1])
        return self.known[instruction]

    def _fit(self, value: Value, kind: str) -> Value:
        """A flag as the number 0 or 1, where a number is taken."""
        if self.kind(value) == kind:
            return value
        if kind == FLAG:
            raise self.refuse("a number in the place of true or false")
        return constant(float(value.number)) if isinstance(value, Constant) else self.put("number", value)

    def _maker(self, value: Value) -> Instruction | None:
        return self.instructions[value - self.inputs] if isinstance(value, int) and value >= self.inputs else None

    def _simplify(self, name: str, values: tuple[Value, ...]) -> Value | None:
        """A value that is the same without a new instruction, or from a simpler one; None: there is none."""
        if all(isinstance(value, Constant) for value in values):
            return _fold(name, values)  # type: ignore[arg-type]
        if name == "where":
            if isinstance(values[0], Constant):
                return values[1] if values[0].number else values[2]
            return values[1] if values[1] == values[2] else None
        a, b = values[0], values[-1]
        made_a, made_b = self._maker(a), self._maker(b)
        if name in _SWAPPED and isinstance(a, Constant):  # constants on the right
            return self.put(name, b, a)
        if name == "neg" and made_a is not None and made_a.name == "neg":
            return made_a.values[0]
        if name in ("add", "sub") and made_b is not None and made_b.name == "neg":
            return self.put("sub" if name == "add" else "add", a, made_b.values[0])
        if name == "add" and made_a is not None and made_a.name == "neg":
            return self.put("sub", b, made_a.values[0])
        if not isinstance(b, Constant):
            return None
        if name in ("max", "min") and not math.isnan(b.number):
            return self.put("clamp_min" if name == "max" else "clamp_max", a, b)
        if b.text == {"add": "-0.0", "sub": "0.0", "mul": "1.0", "div": "1.0", "xor": "False"}.get(name):
            return a
        if name == "div" and _is_power_of_two(b.number):
            return self.put("mul", a, constant(1 / b.number))
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
        program = Program(self.inputs, tuple(kept), tuple(map(moved, results)))
        ranges = program.ranges()
        simpler = [instruction._replace(name=_find_name(instruction, ranges)) for instruction in kept]
        return program._replace(instructions=tuple(simpler))


def _find_name(instruction: Instruction, ranges: Sequence[Range]) -> str:
    """That of the instruction which does the same with less, where its value's range lets it."""
    value = instruction.values[0]
    low, high = (value.number, value.number) if isinstance(value, Constant) else ranges[value]
    if instruction.name == "log1p" and low > -1:
        return "log1p_above"
    if instruction.name == "expm1" and low >= NEAR[0] and high <= NEAR[1]:
        return "expm1_near"
    return instruction.name


def _is_power_of_two(number: float) -> bool:
    """Whether a product with the inverse is the quotient, to the last bit."""
    return abs(math.frexp(number)[0]) == 0.5 and 2.0**-100 <= abs(number) <= 2.0**100


def _fold(name: str, values: Sequence[Constant]) -> Constant:
    """What PyTorch makes of constants."""
    if name == "number":
        return constant(float(values[0].number))
    overload = _FOLDED.get(name) or next(iter(INSTRUCTIONS[name].overloads))
    function, variant = overload.split(".")
    kinds = [torch.bool if isinstance(value.number, bool) else torch.float32 for value in values]
    tensors = [torch.tensor(value.number, dtype=kind, device="cpu") for value, kind in zip(values, kinds, strict=True)]
    number = getattr(getattr(torch.ops.aten, function), variant)(*tensors).item()
    return constant(number)


def _find_range(name: str, given: Sequence[Range]) -> Range:
    """The range of an instruction's result; that of a flag is any."""
    (low, high), (first, last) = given[0], given[-1]
    match name:
        case "number" | "sigmoid":
            return 0.0, 1.0
        case "tanh":
            return -1.0, 1.0
        case "exp" | "sqrt":
            return 0.0, math.inf
        case "expm1":
            return -1.0, math.inf if high > 0 else 0.0
        case "where":
            return min(given[1][0], first), max(given[1][1], last)
        case "neg":
            return -high, -low
        case "abs":
            return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
        case "clamp_min" | "max":
            return max(low, first), max(high, last)
        case "clamp_max" | "min":
            return min(low, first), min(high, last)
        case "add":
            return _enclose(low + first, high + last)
        case "sub":
            return _enclose(low - last, high - first)
        case "mul":
            return _enclose(low * first, low * last, high * first, high * last)
    return -math.inf, math.inf


def _enclose(*ends: float) -> Range:
    """Of results with and without rounding to float32."""
    if any(math.isnan(end) for end in ends):
        return -math.inf, math.inf
    every = [*ends, *(ctypes.c_float(end).value for end in ends)]
    return min(every), max(every)
