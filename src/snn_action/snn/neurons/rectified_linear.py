"""Rectified linear rate neuron (Nengo): output ``amplitude max(J, 0)``, without state."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from snn_action.snn.neurons.base import NeuronSettings, check_rates
from snn_action.snn.neurons.rate_neuron import RateNeuron


class Settings(NeuronSettings):
    """Rectified linear rate neuron."""

    type: Literal["rectified_linear"] = Field("rectified_linear", description="Which neuron this is")
    amplitude: float = Field(1.0, gt=0, description="Factor of the output")


def linear_gain_bias(max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
    """``gain = max_rate / (1 - intercept)``, ``bias = -intercept gain``; rates are before the amplitude.

    Raises:
        ConfigError: a rate or an intercept is out of range.
    """
    check_rates(max_rates, intercepts)
    gain = max_rates / (1 - intercepts)
    return gain, -intercepts * gain


class RectifiedLinear(RateNeuron):
    """See the module."""

    settings: Settings

    def rate(self, current: Tensor) -> Tensor:
        """``amplitude max(J, 0)``."""
        return current.relu() * self.amplitude

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """See ``linear_gain_bias``."""
        return linear_gain_bias(max_rates, intercepts)


build = RectifiedLinear
