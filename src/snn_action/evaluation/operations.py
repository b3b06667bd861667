"""Operations of a network on one clip, in NeuroBench's terms (Yik et al. 2023).

dense_macs      every synapse at every step: a weight of a layer, whatever it and its input are
effective_macs  of those whose input is a number: both input and weight are non-zero
effective_acs   of those whose input is spikes: one accumulate a spike and synapse, no multiplication is needed
neuron_updates  one a spiking neuron and step: its membrane is moved on, whether anything reached it or not
state_updates   one a step for each other value that is carried from step to step and multiplied without a synapse:
                the state of a lowpass filter, an LSTM's cell, a running sum

Every synapse is counted once: as MACs where its input is numbers, as ACs where it is spikes, never as both. A spike is
binary, or graded: n spikes of one neuron in one step are n accumulates. What spikes decode to is a number again, and
what comes after it is MACs.

A temporal model is counted as it streams, one step after another, as a chip does that sees one frame after another.
Where our own code computes in another way, it is counted as the network that it equals (``neurons.counting``): a
Legendre memory as the products ``A m`` and ``B u`` of each step, not as a convolution; an ensemble as one weight from
its value to each neuron and one from each neuron to what is decoded; spikes behind a linear synapse (a lowpass filter)
as accumulates, since the filter can be moved behind the weights, where it has one state a target: these are the
``state_updates`` then. The scale of spikes (spikes a second, a unit of rate) is thought to be part of the weights.

Effective MACs are exact: each product is counted again on indicators of its non-zero inputs. Effective ACs are the
spikes of each population times its fan-out, with no weight of zero. Fused layers (LSTM, attention) are run by the plain
operators that they are made of. What else is done value by value (standardization, activations, gates, biases) is not
counted, as in NeuroBench.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from snn_action.evaluation.energy.count import count_head, count_network
from snn_action.evaluation.energy.layers import Layer, total
from snn_action.models import TemporalModel


@dataclass(frozen=True)
class Operations:
    """Operations of one clip; see the module."""

    dense_macs: float
    effective_macs: float
    effective_acs: float
    neuron_updates: float = 0.0
    state_updates: float = 0.0

    @classmethod
    def of(cls, layers: Iterable[Layer]) -> "Operations":
        """Those of all ``layers``."""
        layers = list(layers)
        return cls(**{name: total(layers, name) for name in cls.__dataclass_fields__})

    def to_dict(self) -> dict[str, float]:
        """For ``metrics.json``."""
        return asdict(self)


def count_operations(network: nn.Module, example: Tensor) -> Operations:
    """Operations of ``network(example)`` in evaluation mode, for a network that does not spike."""
    return Operations.of(count_network(network, example))


def count_model_operations(model: TemporalModel, clip: Tensor, spikes: Mapping[str, Any] | None) -> Operations:
    """Operations of a temporal model on one ``clip`` (1, T, D), step by step: see ``count_head``."""
    return Operations.of(count_head(model, clip, spikes))
