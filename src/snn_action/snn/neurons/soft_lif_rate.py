"""LIF rate with a smoothed threshold (NengoDL's SoftLIFRate; Hunsberger and Eliasmith 2015), without state.

    z = sigma log(1 + exp((J - 1) / sigma))
    r(J) = amplitude / (tau_ref + tau_rc log(1 + 1 / z))

As sigma goes to 0 it becomes the LIF rate. Its slope is finite and positive everywhere, so no neuron is without a
gradient.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import softplus

from snn_action.snn.neurons.base import OutputUnit
from snn_action.snn.neurons.lif_rate import LIFRate
from snn_action.snn.settings import Gradient, SoftLIFRateSettings

# Below this (J - 1) / sigma, z is so small that log(1 + 1 / z) is -log(z) to the last bit, and z may underflow.
TAIL = -20.0


def soft_lif_rate(current: Tensor, sigma: float, tau_rc: float, tau_ref: float, amplitude: float) -> Tensor:
    """``r(J)`` of any shape."""
    x = (current - 1) / sigma
    near = x > TAIL
    z = softplus(torch.where(near, x, 0)) * sigma
    wait = torch.where(near, torch.log1p(1 / z), -x - math.log(sigma))
    return amplitude / (tau_ref + tau_rc * wait)


def soft_lif_slope(current: Tensor, sigma: float, tau_rc: float, tau_ref: float, amplitude: float) -> Tensor:
    """``dr/dJ = r^2 tau_rc s / (amplitude z (1 + z))``, s the logistic curve at (J - 1) / sigma."""
    x = (current - 1) / sigma
    near = x > TAIL
    z = softplus(torch.where(near, x, 0)) * sigma
    period = tau_ref + tau_rc * torch.where(near, torch.log1p(1 / z), -x - math.log(sigma))
    share = torch.where(near, torch.sigmoid(x) / (z * (1 + z)), 1 / sigma)
    return amplitude * tau_rc * share / period.square()


class SoftLIFRate(LIFRate):
    """Rate neuron: that of LIF with ``z = sigma log(1 + exp((J - 1) / sigma))`` in the place of ``J - 1``.

    ``gain_bias`` is that without smoothing (as NengoDL), which is met as sigma goes to 0.
    """

    Settings = SoftLIFRateSettings
    settings: SoftLIFRateSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            tau_rc: float = 0.02,
            tau_ref: float = 0.002,
            amplitude: float = 1.0,
            sigma: float = 1.0,
            settings: SoftLIFRateSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def rate(self, current: Tensor) -> Tensor:
        """``r(J)``."""
        s = self.settings
        return soft_lif_rate(current, s.sigma, s.tau_rc, s.tau_ref, self.amplitude)
