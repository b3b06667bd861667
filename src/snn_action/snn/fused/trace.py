"""The equations of a neuron, taken from the very PyTorch code that defines them.

A neuron's step is a function of tensors, ``(current, *state, *parameters) -> (output, *state)``. PyTorch records what
that function and its gradient do to one number (``make_fx``); ``builder`` makes a program of the record.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.snn.fused.builder import Builder
from snn_action.snn.fused.ir import Equations, Program, Step, UnknownOperationError, Value, constant
from snn_action.snn.fused.operations import BOOL, FLOAT, OVERLOADS, Operation, Type

SHAPES = (2, 3), (2, 3, 5)  # of the examples with which a step is recorded

# Operations of PyTorch that become no instruction.
LITERAL = "aten.lift_fresh_copy.default"  # a tensor that the step makes from a number
CONVERT = "aten._to_copy.default"  # between float32 and bool
NO_GRADIENT = "aten._efficientzerotensor.default"  # zeros that PyTorch adds to nothing: known as a result alone
# What gives its argument as it is: shape and type are looked at.
SAME = {"aten.detach.default", "aten.view.default", "aten.alias.default", "aten.clone.default", "aten.expand.default"}
# What makes a constant: the number, or the argument that is it.
FACTORIES: dict[str, float | str] = {
    "aten.scalar_tensor.default": "s",
    NO_GRADIENT: 0.0,
    **dict.fromkeys(("aten.full.default", "aten.full_like.default", "aten.new_full.default"), "fill_value"),
    **dict.fromkeys(("aten.zeros.default", "aten.zeros_like.default", "aten.new_zeros.default"), 0.0),
    **dict.fromkeys(("aten.ones.default", "aten.ones_like.default", "aten.new_ones.default"), 1.0),
}


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


def _record(function: Step, count: int, shape: tuple[int, ...]) -> Program:
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
    builder = Builder(inputs)
    values: dict[torch.fx.Node, Value] = {}
    results: tuple[Value, ...] = ()
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = len(values)
        elif node.op == "output":
            results = tuple(_take_result(node, argument, values, shape) for argument in node.args[0])
        elif node.op == "call_function":
            values[node] = _translate(builder, node, values, shape)
        elif any(str(user.target) != LITERAL for user in node.users):
            raise UnknownOperationError("a tensor from outside of the step, which may change")
    if any(builder.find_type(result) is not FLOAT for result in results):
        raise UnknownOperationError("a result of another type than float32")
    return builder.finish(results)


_TYPES = {torch.float32: FLOAT, torch.bool: BOOL}
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


def _find_type(node: torch.fx.Node, shape: tuple[int, ...]) -> Type:
    """The type of a node's result.

    Raises:
        UnknownOperationError: it has another type or shape than kernels have.
    """
    meta = node.meta.get("tensor_meta")
    if meta is None:
        raise UnknownOperationError(f"{node.target} gives no tensor")
    if meta.dtype not in _TYPES:
        raise UnknownOperationError(f"{node.target} gives {meta.dtype}")
    if tuple(meta.shape) not in (shape, ()):
        raise UnknownOperationError(f"{node.target} changes the shape")
    return _TYPES[meta.dtype]


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
    builder: Builder, node: torch.fx.Node, values: dict[torch.fx.Node, Value], shape: tuple[int, ...]
) -> Value:
    name = str(node.target)
    builder.source = name
    if name == LITERAL:
        type_ = _find_type(node, ())
        literal = getattr(node.graph.owning_module, str(node.args[0].target))  # type: ignore[union-attr]
        return constant(bool(literal) if type_ is BOOL else float(literal))
    known = OVERLOADS.get(name)
    if known is None and name not in SAME and name not in FACTORIES and name != CONVERT:
        raise UnknownOperationError(name)
    if name == NO_GRADIENT and any(user.op != "output" for user in node.users):
        raise UnknownOperationError(f"{name} in the gradient")
    type_ = _find_type(node, shape)
    taken = _bind(node, values, known)
    if known is not None:
        if node.target._schema.is_mutable:  # type: ignore[union-attr]
            _check_overwritten(node)
        result = builder.translate(known, taken)
    elif name in FACTORIES:
        number: Any = taken[0].number if taken else FACTORIES[name]
        result = constant(bool(number) if type_ is BOOL else number)
    elif name == CONVERT and builder.find_type(taken[0]) is not type_:
        result = builder.emit("to_float", taken[0]) if type_ is FLOAT else builder.emit("ne", taken[0], 0.0)
    else:
        result = taken[0]
    if builder.find_type(result) is not type_:
        raise builder.refuse(f"a result of type {node.meta['tensor_meta'].dtype}")
    return result


def _bind(node: torch.fx.Node, values: dict[torch.fx.Node, Value], known: Operation | None) -> list[Any]:
    """The arguments that are taken, numbers as constants; all others have their default value.

    Raises:
        UnknownOperationError: one has not.
    """
    name = str(node.target)
    source = FACTORIES.get(name)
    count = known.aten[name.removeprefix("aten.")] if known else int(name in SAME or name == CONVERT)
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
