"""One step of a stream in compiled code, for LMUs whose memory is a linear filter: few clips, no gradient, the CPU.

A step in PyTorch's operations takes as long as its few dozen calls, whatever they do. Here it is a handful of compiled
functions (``snn.fused.cpu.events``), which also read only those weights that matter: behind spikes, and behind changes
where input or memory are sent as changes (``transmission``).
"""

import logging
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from snn_action.models.reading import Sent
from snn_action.models.selection import find_selection, project
from snn_action.models.transmission import Received
from snn_action.snn.counting import is_counting
from snn_action.snn.fused import dispatch
from snn_action.snn.neurons.base import Neuron

logger = logging.getLogger(__name__)

CLIPS = 4  # up to which number a step is faster clip by clip

Array = npt.NDArray[np.float32]


class Product(NamedTuple):
    """``W x + b`` as ``events.multiply`` takes it, with its arguments from ``columns`` to ``bias``.

    They are None where all weights are read at each step: PyTorch's product is as fast, and needs no copy of them.
    """

    layer: nn.Linear
    threshold: float
    arguments: tuple[Any, ...] | None


class Plan(NamedTuple):
    """What a step needs of a model's weights as they are.

    Attributes:
        made_of: These weights: what they are, where they lie, and how often they were changed.
        alive: The same, so that nothing else can come to lie where they are.
        enter: From the input to the memory.
        a: Of the memory.
        b: Of the memory.
        leave: From the memory to hidden units.
        columns: Output weights (units, K), those of a unit side by side.
        bias: Of the output.
    """

    made_of: tuple[Any, ...]
    alive: tuple[Tensor, ...]
    enter: Product
    a: Array
    b: Array
    leave: Product
    columns: Array
    bias: Array


_plans: WeakKeyDictionary[nn.Module, Plan] = WeakKeyDictionary()


def find_plan(model: Any, x: Tensor) -> Plan | None:
    """The plan of an LMU for a step of ``x`` (B, D); None: the step is none for compiled code."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or x.shape[0] > CLIPS or model.input_kernel is not None:
        return None
    if model.training or is_counting() or torch.is_autocast_enabled("cpu"):
        return None
    if x.device.type != "cpu" or not dispatch.is_available(x):
        return None
    if any(part is not None and (part._forward_hooks or part._forward_pre_hooks) for part in model._modules.values()):
        return None  # somebody wants to see what goes through a part
    leave, read_out = model.memory_kernel, model.readout
    weights = model.encoder.weight, leave.weight, leave.bias, read_out.weight, read_out.bias, *model.memory.made_of()
    if any(weight.is_inference() or weight.dtype != torch.float32 or weight.is_meta for weight in weights):
        return None
    made_of = tuple((id(weight), weight.data_ptr(), weight._version) for weight in weights)
    known = _plans.get(model)
    if known is None or known.made_of != made_of:
        a, b = (_read(matrix) for matrix in model.memory.matrices(x))
        enter = _prepare(model.encoder, model.settings.input_threshold, x)
        through = _prepare(leave, model.settings.memory_threshold, x)
        last, alive = (_read(read_out.weight.T), _read(read_out.bias)), tuple(weight.detach() for weight in weights)
        _plans[model] = known = Plan(made_of, (*weights, *alive), enter, a, b, through, *last)
    return known


def _prepare(layer: nn.Linear, threshold: float | None, like: Tensor) -> Product:
    bias = np.zeros(layer.out_features, np.float32) if layer.bias is None else _read(layer.bias)
    found, columns = find_selection(like, layer.weight), np.zeros((0, layer.out_features), np.float32)
    chosen, weights = np.zeros(0, np.intp), np.zeros(0, np.float32)
    if found is not None:
        chosen, weights = found[0].numpy(), _read(found[1])
    elif threshold is None:
        return Product(layer, 0.0, None)
    else:
        columns = _read(layer.weight.T)
    return Product(layer, threshold or 0.0, (columns, chosen, weights, bias))


def read_in(plan: Plan, x: Tensor, state: Sent) -> tuple[Tensor, Tensor, Received | None, Received | None]:
    """See ``reading.read_once``."""
    u, sent_input = _multiply(plan.enter, x, state.sent_input)
    memory = torch.empty_like(state.memory, memory_format=torch.contiguous_format)
    _load().remember(plan.a, plan.b, _read(u), _read(state.memory), memory.numpy())
    z, sent_memory = _multiply(plan.leave, memory.flatten(1), state.sent_memory)
    return memory, z, sent_input, sent_memory


def _multiply(product: Product, values: Tensor, state: Received | None) -> tuple[Tensor, Received | None]:
    if product.arguments is None:
        return project(values, product.layer), None
    if state is None:
        held, sums = values, values.new_empty(values.shape[0], product.layer.out_features)
    else:
        held, sums = (part.clone(memory_format=torch.contiguous_format) for part in (state.held, state.products[0]))
    _load().multiply(_read(values), product.threshold, _read(held), *product.arguments, sums.numpy())
    return sums, None if state is None else Received(held, (sums,))


def fire(neuron: Neuron, current: Tensor, unit: float, state: Any) -> tuple[Tensor, Any]:
    """Spikes (B, 1, N) of ``unit`` times ``current`` (B, N), and the state after this step.

    Raises:
        ValueError: a current or a state is not finite.
    """
    equations, scaled = neuron.equations("output"), torch.empty_like(current).unsqueeze(1)
    finite = _load().scale(_read(current), unit, scaled.numpy())
    if equations is None or not finite:
        return neuron(scaled, state)  # type: ignore[no-any-return]
    parts = [part.numpy() for part in state]
    states = np.array(parts, order="C") if parts else np.empty((0, *current.shape), np.float32)
    if not np.isfinite(states.sum()):
        return neuron(scaled, state)  # type: ignore[no-any-return]
    cpu, strips = dispatch.load()
    width, (batch, _, size) = strips.choose_width(equations.forward), scaled.shape
    spikes = torch.empty_like(scaled)
    cpu.neurons_forward(
        0,
        batch * -(-size // (strips.LANES * width)),
        scaled.numpy(),
        np.ones(batch, np.int64),
        states,
        dispatch.join(tuple(neuron.parameters()), scaled).numpy(),
        width,
        *(strips.neurons_forward(equations, each) for each in (width, 1)),
        spikes.numpy(),
    )
    return spikes, type(state)(*torch.from_numpy(states).unbind(0))


def read_out(plan: Plan, spikes: Tensor, factor: float, keep: float, leaky: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, K), the leaky values (B, K) after this step, and the sum of ``|spikes|`` (B, 1, N) of each clip (B,).

    ``leaky`` are the values before; what comes in is ``factor W_out spikes``, ``keep`` what stays of them.
    """
    after = leaky.clone(memory_format=torch.contiguous_format)
    logits, sums = torch.empty_like(after), leaky.new_empty(len(spikes))
    _load().read_out(_read(spikes), factor, plan.columns, keep, after.numpy(), plan.bias, logits.numpy(), sums.numpy())
    return logits, after, sums


def _read(values: Tensor) -> Array:
    """The memory of a tensor; that of a copy where it does not lie in one piece."""
    found: Array = values.detach().contiguous().numpy()
    return found


@cache
def _load() -> ModuleType:
    logger.info("loading compiled steps; the first time on a machine they are compiled, for a few seconds")
    from snn_action.snn.fused.cpu import events

    return events
