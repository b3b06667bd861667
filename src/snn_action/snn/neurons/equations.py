"""A neuron's equations for fused kernels: its ``dynamics`` (or its ``rate``), traced once for all equal neurons.

Two neurons are equal where their class, settings, parts and attributes are. What may change without being seen (a
buffer, a tensor, a dict) is not fused.
"""

import logging
from collections.abc import Callable
from copy import copy
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snn_action.core.errors import ConfigError
from snn_action.core.settings import Settings
from snn_action.snn.fused.ir import Equations, Step, UnknownOperationError
from snn_action.snn.fused.trace import trace

if TYPE_CHECKING:
    from snn_action.snn.neurons.base import Neuron

logger = logging.getLogger(__name__)

Unit = Literal["output", "count", "rate_count"]  # of what equations give: spikes as the neuron does, spikes counted

_equations: dict[Any, Equations | None] = {}  # of neurons, by all that they are made of
_MOST_EQUATIONS = 256
_unfused: set[type["Neuron"]] = set()  # of which it was said


def find_equations(neuron: "Neuron", unit: Unit) -> Equations | None:
    """See ``Neuron.equations``; a class of neurons that has none is named once, with the reason."""
    try:
        key = type(neuron), unit, torch.get_default_dtype(), _describe(neuron)
        if key not in _equations:
            if len(_equations) >= _MOST_EQUATIONS:
                _equations.clear()
            _equations[key] = None  # until it is known better
            _equations[key] = _trace(neuron, unit)
        return _equations[key]
    except ConfigError:  # it has no closed form of its rate, say, which is no fault of the kernels
        return None
    except UnknownOperationError as error:
        if type(neuron) not in _unfused:
            _unfused.add(type(neuron))
            logger.warning(
                "%s has no fused kernel, so PyTorch's own operations are used, which are slower: %s",
                neuron.settings.type,
                error,
            )
        return None


class _Loose(NamedTuple):
    """A neuron's step as a function of the current, the states and the parameters.

    ``copied`` is the copy of the neuron that it runs on; ``clear`` takes the parameters out of it.
    """

    step: Step
    states: int
    parameters: int
    copied: Any
    clear: Callable[[], None]


def loosen(neuron: "Neuron", unit: Unit) -> _Loose:
    """One step of a copy of the neuron, so that the neuron stays as it is while parameters are put in."""
    names = [name for name, _ in neuron.named_parameters()]
    copied = _copy(neuron)
    places = [(copied.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
    layout = type(copied.initial_state(1, (1,), torch.device("meta"), torch.float32))
    states = 0 if unit == "rate_count" else len(layout._fields)

    def step(current: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        for (owner, name), value in zip(places, values[states:], strict=True):
            vars(owner)[name] = value
        if unit == "rate_count":
            return (copied.count(copied.rate(current)),)
        output, after = copied.dynamics(current, layout(*values[:states]))
        return output if unit == "output" else copied.count(output), *after

    def clear() -> None:
        for owner, name in places:
            del vars(owner)[name]

    return _Loose(step, states, len(names), copied, clear)


def _trace(neuron: "Neuron", unit: Unit) -> Equations:
    """The equations of the neuron's step, whose parameters are inputs of it like states.

    Raises:
        UnknownOperationError: kernels do not know it to be exactly PyTorch's; the reason is given.
    """
    if any(parameter.numel() != 1 for parameter in neuron.parameters()):
        raise UnknownOperationError("a parameter that is not a single number")
    loose = loosen(neuron, unit)
    equations = trace(loose.step, loose.states, loose.parameters)
    loose.clear()
    if _describe(loose.copied) != _describe(neuron):
        raise UnknownOperationError("a step that changes the neuron's own attributes")
    return equations


def _copy(module: nn.Module) -> Any:
    """A module and those in it, without parameters, so that what takes their places leaves the module as it is."""
    copied = copy(module)
    copied._parameters = {}
    copied._modules = {name: None if part is None else _copy(part) for name, part in module._modules.items()}
    return copied


_OF_ANY_MODULE = frozenset(vars(nn.Module())) - {"training"}


def _describe(module: nn.Module) -> tuple[Any, ...]:
    """All that a traced step of a module may depend on, but for its parameters, as something that can be compared.

    Raises:
        UnknownOperationError: an attribute may change without being seen.
    """
    if any(buffer is not None for buffer in module._buffers.values()):
        raise UnknownOperationError(f"its buffer {next(iter(module._buffers))!r}, which may change")
    own = [(name, _describe_value(name, value)) for name, value in vars(module).items() if name not in _OF_ANY_MODULE]
    parts = [(name, type(part), _describe(part)) for name, part in module._modules.items() if part is not None]
    return (*own, *parts)


def _describe_value(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | bytes | type):
        return type(value), repr(value)
    if isinstance(value, Settings) or (isinstance(value, FunctionType) and not value.__closure__):
        return value
    if isinstance(value, tuple | list):
        return type(value), *(_describe_value(name, each) for each in value)
    raise UnknownOperationError(f"its attribute {name!r}, a {type(value).__name__} that may change")
