"""Spikes by stochastic rounding of the output of a rate neuron (Nengo's StochasticSpiking).

    r = output of the base,  e = |r| dt
    n = floor(e) + (1 if u < e - floor(e) else 0),  u uniform in [0, 1)
    output sign(r) n amplitude / dt

``n`` has the mean ``e`` and the least variance that a whole number of that mean can have. How ``u`` is drawn:
``random_spiking``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from snn_action.snn.neurons.base import OutputUnit
from snn_action.snn.neurons.random_spiking import RandomSpiking
from snn_action.snn.settings import Gradient, NeuronSettings, StochasticSpikingSettings


def count(mean: Tensor, uniform: Tensor) -> Tensor:
    """``floor(mean)``, plus 1 where ``uniform`` is below what ``mean`` has beyond it; any shape."""
    whole = mean.floor()
    return whole + (uniform < mean - whole)


class StochasticSpiking(RandomSpiking):
    """Module around ``count``; modes ``rate`` and ``spike_aware``."""

    Settings = StochasticSpikingSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            amplitude: float = 1.0,
            seed: int = 0,
            base: NeuronSettings | Mapping[str, Any] = ...,
            settings: StochasticSpikingSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def draw_counts(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """See ``count``."""
        return count(mean, uniform)
