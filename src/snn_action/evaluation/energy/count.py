"""Layers of a temporal model and of a backbone, counted on real input; see ``evaluation.operations``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.evaluation.energy.counter import Counter, evaluating
from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.spiking import count_values, find_neurons, list_spiking
from snn_action.evaluation.energy.traffic import STATE_BITS
from snn_action.models import TemporalModel, find_spikes
from snn_action.models.rounding import find_matrices, has_matrices, rounded
from snn_action.models.transmission import Received

HEAD, BACKBONE = "head", "backbone"
CARRIED = "carried values"
AS_THEY_ARE = 32  # bits of weights that are not rounded


def count_network(network: nn.Module, *examples: Tensor, times: float = 1) -> list[Layer]:
    """Layers of ``network``, run on each of ``examples``, times ``times``, in evaluation mode.

    Of a network that spikes, neurons and the synapses behind them come last; it tells of them (``count_spiking``).
    """
    counter = Counter(network)
    with evaluating(network), counter:
        for example in examples:
            network(example)
    layers = counter.layers(BACKBONE)
    if counter.updates:
        layers.append(Layer(CARRIED, BACKBONE, "states", float(len(examples)), state_updates=counter.updates))
    return [repeat(layer, times) for layer in layers]


def repeat(layer: Layer, times: float) -> Layer:
    """What a layer does in so many runs."""
    counts = ("steps", "values", "active", "dense_macs", "effective_macs", "effective_acs")
    more = ("neuron_updates", "state_updates", "spikes")
    raw = layer.to_dict()
    return Layer.from_dict({**raw, **{name: raw[name] * times for name in (*counts, *more)}})


def count_head(model: TemporalModel, clip: Tensor, spikes: Mapping[str, Any] | None) -> list[Layer]:
    """Layers of a temporal model on one ``clip`` (1, T, D), step by step.

    Synapses that carry numbers come first, then for each population its neurons and the synapses behind them, then
    synapses that populations share, then all other values that are carried from step to step.

    ``spikes`` is what ``measure_spikes`` says of the test clips, by whose mean accumulates are counted; None: by those
    of this clip.
    """
    counter = Counter(model)
    state = None
    with evaluating(model), counter:
        for features in clip.unbind(1):
            _, state = model.step(features, state)
    steps = clip.shape[1]
    layers = counter.layers(HEAD)
    if not model.populations:
        fired = []
    elif spikes is None:
        fired = [float(count.sum()) for count in find_spikes(state)]
    else:
        fired = [spikes["populations"][population.name]["per_clip"] for population in model.populations]
    membranes = list(find_neurons(state)) if model.populations else []
    layers += list_spiking(HEAD, model.populations, model.synapses, steps, fired, membranes)
    used = keep_used(model, clip[:, -1], state)
    carried = count_values(used) - sum(layer.states for layer in layers)
    if carried or counter.updates:
        layers.append(Layer(CARRIED, HEAD, "states", float(steps), states=carried, state_updates=counter.updates))
    return layers


def count_heads(
    model: TemporalModel, clip: Tensor, spikes: Mapping[str, Any] | None, trained: int | None
) -> dict[int, tuple[Layer, ...]]:
    """``count_head`` by bits that weights may have, each with the model's matrices rounded to them for the count.

    Rounding sets small weights to zero, and these are neither stored nor multiplied. With 32 bits the model is counted
    as it is, and with any number of bits if it was ``trained`` to have fewer or has no matrices.
    """
    plain = tuple(mark_rounded(count_head(model, clip, spikes), model, trained))
    heads = dict.fromkeys(STATE_BITS, plain)
    if trained is None and has_matrices(model):
        for bits in STATE_BITS:
            if bits < AS_THEY_ARE:
                with rounded(model, bits):
                    heads[bits] = tuple(count_head(model, clip, spikes))
    return heads


def mark_rounded(layers: Sequence[Layer], model: TemporalModel, bits: int | None) -> list[Layer]:
    """Layers of ``model``, those whose weights are rounded matrices with their ``bits``; None: it has none of those.

    The synapses behind a population have its name in the place of the weights': theirs is the matrix of their shape.
    """
    if bits is None:
        return [*layers]
    matrices = find_matrices(model)
    shapes = {tuple(weight.shape) for weight in matrices.values()}

    def is_rounded(layer: Layer) -> bool:
        if layer.by_spikes:
            return (layer.outputs, layer.fan_in) in shapes
        return layer.name in matrices or f"{layer.name}.weight" in matrices

    return [replace(layer, weight_bits=bits) if is_rounded(layer) else layer for layer in layers]


def keep_used(model: TemporalModel, features: Tensor, state: Any) -> Any:
    """``state`` without the tensors that nothing depends on: neither the next logits nor any tensor of the next state.

    Such a tensor tells what was, and need not be carried. Each is changed in turn, and a step is made. What receivers
    of changes hold and made of it is kept in any case: a chip adds changes to it, where we may compute it anew.
    """
    with evaluating(model):
        plain = flatten_state(model.step(features, state))
        used = []
        for place, (tensor, is_held) in enumerate(zip(flatten_state(state), _find_received(state), strict=True)):
            if is_held:
                used.append(True)
                continue
            other = ~tensor if tensor.dtype == torch.bool else tensor + 1
            changed = flatten_state(model.step(features, replace_tensor(state, place, other)))
            used.append(any(not torch.equal(one, other) for one, other in zip(plain, changed, strict=True)))
    for place, kept in reversed(list(enumerate(used))):
        if not kept:
            state = replace_tensor(state, place, None)
    return state


def _find_received(state: Any, inside: bool = False) -> list[bool]:
    """Of each tensor in ``flatten_state``, whether it is what receivers of changes hold or made of it."""
    if isinstance(state, Tensor):
        return [inside]
    inside = inside or isinstance(state, Received)
    return [found for value in state for found in _find_received(value, inside)] if isinstance(state, tuple) else []


def flatten_state(state: Any) -> list[Tensor]:
    """All tensors of nested tuples, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for value in state for tensor in flatten_state(value)] if isinstance(state, tuple) else []


def replace_tensor(state: Any, place: int, new: Tensor | None) -> Any:
    """``state`` with another tensor at a place in ``flatten_state``."""
    if isinstance(state, Tensor):
        return new if place == 0 else state
    values = []
    for value in state:
        size = len(flatten_state(value))
        values.append(replace_tensor(value, place, new) if 0 <= place < size else value)
        place -= size
    return type(state)(*values) if hasattr(state, "_fields") else tuple(values)
