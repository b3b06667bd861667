"""What a counter adds up of each layer, and the layers that this makes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from snn_action.evaluation.energy.layers import Layer
from snn_action.evaluation.energy.spiking import list_spiking
from snn_action.models.populations import Population, Synapses


class Product(NamedTuple):
    """One product of inputs and weights.

    Attributes:
        dense: All multiplications.
        effective: Those of two numbers that are not zero.
        inputs: What comes in.
        weight: By what it is multiplied.
        fan_in: Multiplications of one result.
        results: How many there are.
        bias: That is added; None: that which the network keeps beside the weight, if there is one.
    """

    dense: float
    effective: float
    inputs: Tensor
    weight: Tensor
    fan_in: int
    results: int
    bias: Tensor | None = None


@dataclass
class Sums:
    """What was counted of one layer."""

    weights: Sequence[Tensor]
    fan_in: int
    results: int
    calls: int = 0
    dense: float = 0.0
    effective: float = 0.0
    values: float = 0.0
    active: float = 0.0
    by_changes: bool = False
    by_decoded: bool = False

    def describe(self, name: str, part: str) -> Layer:
        """The layer."""
        return Layer(
            name,
            part,
            "synapses",
            float(self.calls),
            parameters=sum(weight.numel() for weight in self.weights),
            nonzero=sum(int(weight.count_nonzero()) for weight in self.weights),
            biases=sum(int(bias.count_nonzero()) for bias in self.weights[1:]),
            fan_in=self.fan_in,
            fan_out=self.dense / self.values if self.values else 0.0,
            outputs=self.results,
            values=self.values,
            active=self.active,
            by_changes=self.by_changes,
            by_decoded=self.by_decoded,
            dense_macs=self.dense,
            effective_macs=self.effective,
        )


@dataclass
class Events:
    """What neurons that send changes did, each with so many ``states``."""

    neurons: int
    states: int
    steps: int = 0
    sent: int = 0

    def describe(self, name: str, part: str) -> Layer:
        """The neurons."""
        return Layer(
            f"{name} neurons",
            part,
            "neurons",
            float(self.steps),
            outputs=self.neurons,
            by_changes=True,
            neuron_updates=float(self.neurons * self.steps),
            states=self.states * self.neurons,
            spikes=float(self.sent),
        )


@dataclass
class Firing:
    """What layers that spike did, each time from rest."""

    populations: Sequence[Population]
    synapses: Sequence[Synapses]
    states: Sequence[int]
    fired: list[float] = field(default_factory=list)
    steps: int = 0

    def add(self, spikes: Sequence[float], steps: int) -> None:
        """So many ``spikes`` of each population in so many steps."""
        before = self.fired or [0.0] * len(spikes)
        self.fired = [one + more for one, more in zip(before, spikes, strict=True)]
        self.steps += steps

    def describe(self, part: str) -> list[Layer]:
        """Neurons and synapses."""
        return list_spiking(part, self.populations, self.synapses, self.steps, self.fired, self.states)
