"""Estimates of energy: what was counted of each layer, times what a named target needs for it. Nothing is measured.

    E = sum over layers of  MACs e_mac + ACs e_ac + updates e_update                     (arithmetic)
                          + bytes_local e_local + bytes_on_chip e_on + bytes_off_chip e_off      (memory: ``traffic``)

A layer is run in the cheaper of its two ways, ``dense`` or ``events``; on a target that is not event-driven only
``dense`` exists, and spikes are then numbers like others: every product is made, also with weights that are zero. Where
the figures of a target include the memory that they need, the second line is left out and only events exist. On a chip
that knows only events a number is an event that carries it, at the price of a spike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snn_action.core.errors import ConfigError
from snn_action.evaluation.energy.layers import Layer, total
from snn_action.evaluation.energy.targets import Target
from snn_action.evaluation.energy.traffic import (
    Bytes,
    Level,
    Traffic,
    Way,
    count_dense,
    measure_traffic,
    place_traffic,
    size_of_states,
    size_of_weights,
)

MICROJOULE = 1e6  # pJ


@dataclass(frozen=True)
class LayerEnergy:
    """The estimate of one layer, in microjoules a clip.

    Attributes:
        layer: What was counted.
        way: How it is run.
        arithmetic: Of products, accumulates and updates; with their memory where the target's figures include it.
        local: Of bytes beside the arithmetic.
        on_chip: Of bytes on chip.
        off_chip: Of bytes off chip.
        traffic: The bytes.
        levels: The same at each level; where the figures include memory, where they would lie by the memory model.
    """

    layer: Layer
    way: Way
    arithmetic: float
    local: float
    on_chip: float
    off_chip: float
    traffic: Traffic
    levels: Mapping[Level, Bytes]

    @property
    def total(self) -> float:
        """Of all of it."""
        return self.arithmetic + self.local + self.on_chip + self.off_chip


@dataclass(frozen=True)
class Estimate:
    """The estimate of a network on a target, in microjoules a clip; the true value is thought to lie in ``range``."""

    target: Target
    bits: int
    layers: tuple[LayerEnergy, ...]

    @property
    def total(self) -> float:
        """Of all layers."""
        return sum(layer.total for layer in self.layers)

    @property
    def range(self) -> tuple[float, float]:
        """By the uncertainty of the target's figures."""
        return self.total / self.target.factor, self.total * self.target.factor

    @property
    def sums(self) -> dict[str, float]:
        """What the total is made of: arithmetic, and bytes by level."""
        parts = ("arithmetic", "local", "on_chip", "off_chip")
        return {part: sum(getattr(layer, part) for layer in self.layers) for part in parts}


def estimate(layers: Sequence[Layer], target: Target, bits: int = 8) -> Estimate:
    """The energy of one clip.

    Args:
        layers: Of a head, a backbone, or both; each part has memory of its own.
        target: What runs them.
        bits: Of weights and activations.

    Raises:
        ConfigError: the target has no figures for numbers of so many bits.
    """
    parts = {layer.part: size_of_weights([one for one in layers if one.part == layer.part], bits) for layer in layers}
    found = []
    for layer in layers:
        fits = target.on_chip_bytes is None or parts[layer.part] <= target.on_chip_bytes
        ways: list[Way] = ["events"] if target.includes_memory else ["dense", "events"]
        ways = ways if target.event_driven else ["dense"]
        found.append(min((_price(layer, target, bits, way, fits) for way in ways), key=lambda one: one.total))
    return Estimate(target, bits, tuple(found))


def find_price(target: Target, kind: str, bits: int) -> float:
    """Energy of one operation in pJ; ``kind`` is ``mac``, ``ac``, ``neuron_update`` or ``state_update``.

    Raises:
        ConfigError: the target has no figure for it.
    """
    known: Mapping[Any, float] = getattr(target, kind)
    if kind == "mac" and not known:  # a chip that knows only events: a number is an event that carries it
        known = target.ac
    price = known.get(str(bits))
    if price is None:
        widths = f", only for {', '.join(known)}" if known else ""
        raise ConfigError(f"target {target.name}: no figure of {kind} for {bits} bits{widths}")
    return price


def _price(layer: Layer, target: Target, bits: int, way: Way, fits: bool) -> LayerEnergy:
    """One layer, run in one way; ``fits`` says whether the weights are on chip."""
    if way == "dense":
        macs, acs = count_dense(layer, bits, skips_zeros=target.event_driven), 0.0
    else:
        macs, acs = layer.effective_macs, layer.effective_acs
    done = ((macs, "mac"), (acs, "ac"), (layer.neuron_updates, "neuron_update"), (layer.state_updates, "state_update"))
    arithmetic = sum(count * find_price(target, kind, bits) for count, kind in done if count)
    moved = measure_traffic(layer, bits, way, skips_zeros=target.event_driven)
    near: Level = (
        "local" if target.local_bytes is None or size_of_states(layer, bits) <= target.local_bytes else "on_chip"
    )
    levels = place_traffic(
        moved,
        products="local" if way == "dense" or layer.is_shared else near,
        states=near,
        weights="on_chip" if fits else "off_chip",
    )
    prices = {"local": target.local_byte, "on_chip": target.on_chip_byte, "off_chip": target.off_chip_byte}
    paid = {} if target.includes_memory else prices
    costs = {level: there.total * (paid.get(level) or 0.0) / MICROJOULE for level, there in levels.items()}
    return LayerEnergy(layer, way, arithmetic / MICROJOULE, **costs, traffic=moved, levels=levels)


def make_twin(layers: Sequence[Layer], active: float = 1.0) -> list[Layer]:
    """The same network with numbers in the place of spikes, of which a share ``active`` is not zero; no neurons.

    What spikes were decoded to is not zero either: the twin has the numbers that they stand for. What is sent as
    changes stays so, with the neurons that send it.
    """
    twin = []
    for layer in layers:
        if _spikes(layer):
            continue
        if layer.by_spikes or (layer.by_decoded and not layer.by_changes):
            stored = layer.nonzero / layer.parameters if layer.parameters else 1.0
            layer = replace(
                layer,
                by_spikes=False,
                by_decoded=False,
                active=layer.values * active,
                effective_macs=layer.dense_macs * stored * active,
                effective_acs=0.0,
            )
        twin.append(layer)
    return twin


def scale_spikes(layers: Sequence[Layer], factor: float) -> list[Layer]:
    """The same network, all of whose neurons send ``factor`` times as many spikes."""
    scaled = []
    for layer in layers:
        if layer.by_spikes:
            layer = replace(layer, active=layer.active * factor, effective_acs=layer.effective_acs * factor)
        elif _spikes(layer):
            layer = replace(layer, spikes=layer.spikes * factor)
        scaled.append(layer)
    return scaled


def spike_rate(layers: Sequence[Layer]) -> float | None:
    """Spikes a neuron and step, over all populations; None without neurons. Changes that are sent are no spikes."""
    populations = [layer for layer in layers if _spikes(layer)]
    updates = total(populations, "neuron_updates")
    return total(populations, "spikes") / updates if updates else None


def _spikes(layer: Layer) -> bool:
    """Whether it is a population of neurons that send spikes, and not changes of a value."""
    return layer.kind == "neurons" and not layer.by_changes


def _fire_always(layers: Sequence[Layer]) -> list[Layer]:
    """The same network, each of whose neurons sends one spike a step."""
    fired = []
    for layer in layers:
        if layer.by_spikes:
            layer = replace(layer, active=layer.values, effective_acs=layer.fan_out * layer.values)
        elif _spikes(layer):
            layer = replace(layer, spikes=layer.neuron_updates)
        fired.append(layer)
    return fired


def find_crossover(layers: Sequence[Layer], twin: Sequence[Layer], target: Target, bits: int = 8) -> float | None:
    """The spikes a neuron and step below which ``layers`` need less energy than ``twin``; None: they never do.

    All populations are made to spike more or less by one factor; if none spikes at all, all are made to spike alike.
    The estimate grows with it, so the place is found by bisection, to 1 part in 1000; 1.0 where spikes win at any rate
    up to one a neuron and step.
    """
    rate = spike_rate(layers)
    if rate is None:
        return None
    if rate == 0:
        layers, rate = _fire_always(layers), 1.0
    limit = estimate(twin, target, bits).total

    def wins(at: float) -> bool:
        return estimate(scale_spikes(layers, at / rate), target, bits).total < limit

    if not wins(0.0):
        return None
    if wins(1.0):
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-3 * max(high, 1e-3):
        middle = (low + high) / 2
        low, high = (middle, high) if wins(middle) else (low, middle)
    return low
