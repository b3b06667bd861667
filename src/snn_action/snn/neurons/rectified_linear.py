"""Rectified linear rate neuron (Nengo): output ``amplitude max(J, 0)``, without state."""

from typing import TYPE_CHECKING

from torch import Tensor

from snn_action.snn.neurons.base import OutputUnit, check_rates
from snn_action.snn.neurons.rate_neuron import RateNeuron
from snn_action.snn.settings import Gradient, RectifiedLinearSettings


def linear_gain_bias(max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
    """``gain = max_rate / (1 - intercept)``, ``bias = -intercept gain``; rates are before the amplitude.

    Raises:
        ConfigError: a rate or an intercept is out of range.
    """
    check_rates(max_rates, intercepts)
    gain = max_rates / (1 - intercepts)
    return gain, -intercepts * gain


class RectifiedLinear(RateNeuron):
    """Rate neuron: ``amplitude max(J, 0)``."""

    Settings = RectifiedLinearSettings
    settings: RectifiedLinearSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            amplitude: float = 1.0,
            settings: RectifiedLinearSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def rate(self, current: Tensor) -> Tensor:
        """``amplitude max(J, 0)``."""
        return current.relu() * self.amplitude

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """See ``linear_gain_bias``."""
        return linear_gain_bias(max_rates, intercepts)
