"""Layers of spiking neurons, and of the synapses that their spikes meet: of temporal models and of backbones alike.

Accumulates are spikes times the synapses that a neuron has on average. So those of a convolution count what lies beside
the image too, as its dense MACs do; exactly, a neuron at the edge has fewer.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from snn_action.evaluation.energy.layers import Layer
from snn_action.models.populations import Population, Synapses

_COUNTS = {"spikes", "steps", "number"}  # fields of states that only count


def list_spiking(
    part: str,
    populations: Sequence[Population],
    synapses: Sequence[Synapses],
    steps: float,
    fired: Sequence[float],
    states: Sequence[int],
) -> list[Layer]:
    """For each population its neurons, and behind them the synapses that are its own; then all other ``synapses``.

    Args:
        part: Of the network.
        populations: Of its spiking neurons.
        synapses: Those that several populations share, or of which one meets several sets of weights.
        steps: Of the clip.
        fired: Spikes of each population in it.
        states: Values of the neurons' states, of each population.
    """
    layers = []
    sources = {name for one in synapses for name in one.sources}
    for population, count, held in zip(populations, fired, states, strict=True):
        layers.append(_describe_neurons(part, population, steps, count, held))
        if population.name not in sources:
            layers.append(_describe_own(part, population, steps, count))
    counts = {population.name: count for population, count in zip(populations, fired, strict=True)}
    return [*layers, *(_describe(part, one, steps, sum(map(counts.__getitem__, one.sources))) for one in synapses)]


def _describe_neurons(part: str, population: Population, steps: float, count: float, states: int) -> Layer:
    return Layer(
        f"{population.name} neurons",
        part,
        "neurons",
        float(steps),
        outputs=population.neurons,
        neuron_updates=float(population.neurons * steps),
        states=states,
        spikes=count,
    )


def _describe_own(part: str, population: Population, steps: float, count: float) -> Layer:
    """Synapses behind one population, each neuron with as many, each with a weight of its own."""
    neurons, fan_out = population.neurons, population.fan_out
    parameters, targets = neurons * fan_out + population.biases, population.targets or fan_out
    return Layer(
        f"{population.name} spikes",
        part,
        "synapses",
        float(steps),
        parameters=parameters,
        nonzero=parameters,
        biases=population.biases,
        fan_out=float(fan_out),
        fan_in=neurons * fan_out // targets,
        outputs=targets,
        values=float(neurons * steps),
        active=count,
        by_spikes=True,
        dense_macs=float(neurons * fan_out * steps),
        effective_acs=fan_out * count,
    )


def _describe(part: str, synapses: Synapses, steps: float, count: float) -> Layer:
    """Synapses behind the sum of the ``count`` spikes of some populations: each is there once."""
    return Layer(
        f"spikes to {synapses.name}",
        part,
        "synapses",
        float(steps),
        parameters=synapses.weights,
        nonzero=synapses.weights,
        fan_out=synapses.fan_out,
        fan_in=synapses.number // synapses.outputs,
        outputs=synapses.outputs,
        values=float(synapses.inputs * steps),
        active=count,
        by_spikes=True,
        dense_macs=float(synapses.number * steps),
        effective_acs=synapses.fan_out * count,
    )


def find_neurons(state: Any) -> Iterator[int]:
    """Values of the neurons' states, one number a population: fields ``neurons`` beside fields ``spikes``."""
    if isinstance(state, tuple):
        fields = getattr(state, "_fields", ())
        if "spikes" in fields:
            yield count_values(state.neurons)  # type: ignore[attr-defined]
        else:
            for value in state:
                yield from find_neurons(value)


def count_values(state: Any) -> int:
    """Numbers of a state, but for those that only count."""
    if isinstance(state, Tensor):
        return state.numel()
    if not isinstance(state, tuple):
        return 0
    names = getattr(state, "_fields", (None,) * len(state))
    return sum(count_values(value) for name, value in zip(names, state, strict=True) if name not in _COUNTS)
