"""Spiking LIF neuron whose spikes build up an adaptation that is taken from its current (Nengo's AdaptiveLIF).

    one step of ``lif`` at the current J - n, with output o
    n = n + (dt / tau_n) (inc_n o - n)

At a constant current its mean output ``a`` comes close to the solution of ``a = r(J - inc_n a)``, r that of
``lif_rate``, once the adaptation has settled (a few tau_n).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from snn_action.snn.neurons import lif
from snn_action.snn.neurons.adaptive_lif_rate import adapt, settled_rate
from snn_action.snn.neurons.base import OutputUnit, fill
from snn_action.snn.settings import AdaptiveLIFSettings, Gradient, SurrogateName


class AdaptiveLIFState(NamedTuple):
    """Voltage (B, N) in units of the threshold, refractory time (B, N) in seconds, adaptation (B, N) of the current."""

    voltage: Tensor
    refractory_time: Tensor
    adaptation: Tensor


def dynamics(
    current: Tensor, state: AdaptiveLIFState, settings: AdaptiveLIFSettings
) -> tuple[Tensor, AdaptiveLIFState]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second, and the state after it.

    Backward as in ``lif``, and through the adaptation.
    """
    s = settings
    output, membrane = lif.dynamics(current - state.adaptation, lif.LIFState(state.voltage, state.refractory_time), s)
    return output, AdaptiveLIFState(*membrane, adapt(state.adaptation, output, s.dt, s.tau_n, s.inc_n))


class AdaptiveLIF(lif.LIF):
    """Module around ``dynamics``; modes ``rate`` and ``spike_aware`` see the settled rate: adaptation at once.

    ``gain_bias`` is that without adaptation (as Nengo): ``max_rates`` are met before it sets in.
    """

    Settings = AdaptiveLIFSettings
    settings: AdaptiveLIFSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            amplitude: float = 1.0,
            initial_voltage: Literal["zero", "uniform"] = "zero",
            seed: int = 0,
            surrogate: SurrogateName = "arctan",
            tau_rc: float = 0.02,
            tau_ref: float = 0.002,
            min_voltage: float = 0.0,
            rate_sigma: float = 0.02,
            tau_n: float = 1.0,
            inc_n: float = 0.01,
            settings: AdaptiveLIFSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def dynamics(self, current: Tensor, state: AdaptiveLIFState) -> tuple[Tensor, AdaptiveLIFState]:
        """One step, computed by the module's function ``dynamics``."""
        return dynamics(current, state, self.settings)

    def initial_state(
        self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> AdaptiveLIFState:
        """Neither refractory nor adapted; voltage zero, or one random value a neuron, the same in every clip."""
        voltage, refractory_time = super().initial_state(batch, shape, device, dtype)
        return AdaptiveLIFState(voltage, refractory_time, fill(0.0, batch, shape, device, dtype))

    def rate(self, current: Tensor) -> Tensor:
        """See ``settled_rate``; ``rate_sigma`` smooths its derivative."""
        s = self.settings
        return settled_rate(current, s.inc_n, s.tau_rc, s.tau_ref, s.amplitude, s.rate_sigma)
