"""Layers of a temporal model and of a backbone, counted on real input; see ``evaluation.operations``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.evaluation.energy.counter import Counter, evaluating
from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.traffic import STATE_BITS
from snn_action.models import TemporalModel, find_spikes
from snn_action.models.rounding import find_matrices, has_matrices, rounded

HEAD, BACKBONE = "head", "backbone"
CARRIED = "carried values"
AS_THEY_ARE = 32  # bits of weights that are not rounded
_COUNTS = {"spikes", "steps", "number"}  # fields of states that only count


def count_network(network: nn.Module, *examples: Tensor, times: float = 1) -> list[Layer]:
    """Layers of ``network``, run on each of ``examples``, times ``times``, for a network that does not spike.

    It is run in evaluation mode.
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

    Synapses that carry numbers come first, then for each population its neurons and the synapses behind them, then all
    other values that are carried from step to step.

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
    membranes = list(_find_neurons(state)) if model.populations else []
    for population, count, membrane in zip(model.populations, fired, membranes, strict=True):
        neurons, synapses = population.neurons, population.neurons * population.fan_out
        targets = population.targets or population.fan_out
        weights = synapses if population.weights is None else population.weights
        layers.append(
            Layer(
                f"{population.name} neurons",
                HEAD,
                "neurons",
                float(steps),
                outputs=neurons,
                neuron_updates=float(neurons * steps),
                states=membrane,
                spikes=count,
            )
        )
        layers.append(
            Layer(
                f"{population.name} spikes",
                HEAD,
                "synapses",
                float(steps),
                parameters=weights,
                nonzero=weights,
                fan_out=float(population.fan_out),
                fan_in=synapses // targets,
                outputs=targets,
                values=float(neurons * steps),
                active=count,
                by_spikes=True,
                dense_macs=float(synapses * steps),
                effective_acs=population.fan_out * count,
            )
        )
    used = keep_used(model, clip[:, -1], state)
    carried = _count_values(used) - sum(membranes)
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


def _find_neurons(state: Any) -> Iterator[int]:
    """Values of the neurons' states, one number a population: fields ``neurons`` beside fields ``spikes``."""
    if isinstance(state, tuple):
        fields = getattr(state, "_fields", ())
        if "spikes" in fields:
            yield _count_values(state.neurons)  # type: ignore[attr-defined]
        else:
            for value in state:
                yield from _find_neurons(value)


def keep_used(model: TemporalModel, features: Tensor, state: Any) -> Any:
    """``state`` without the tensors that nothing depends on: neither the next logits nor any tensor of the next state.

    Such a tensor tells what was, and need not be carried. Each is changed in turn, and a step is made.
    """
    with evaluating(model):
        plain = flatten_state(model.step(features, state))
        used = []
        for place, tensor in enumerate(flatten_state(state)):
            other = ~tensor if tensor.dtype == torch.bool else tensor + 1
            changed = flatten_state(model.step(features, replace_tensor(state, place, other)))
            used.append(any(not torch.equal(one, other) for one, other in zip(plain, changed, strict=True)))
    for place, kept in reversed(list(enumerate(used))):
        if not kept:
            state = replace_tensor(state, place, None)
    return state


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


def _count_values(state: Any) -> int:
    """Numbers of a clip's state, but for those that only count."""
    if isinstance(state, Tensor):
        return state.numel()
    if not isinstance(state, tuple):
        return 0
    names = getattr(state, "_fields", (None,) * len(state))
    return sum(_count_values(value) for name, value in zip(names, state, strict=True) if name not in _COUNTS)
