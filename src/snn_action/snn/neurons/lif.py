"""Spiking leaky integrate-and-fire neuron with the exact time of a spike within its step (Nengo's LIF).

    w = w - dt,  d = clip(dt - w, 0, dt)                      time left after the refractory time w
    v = v + (J - v) (1 - exp(-d / tau_rc))
    s = 1 if v > 1 else 0,  output s amplitude / dt
    t = dt + tau_rc log(1 - (v - 1) / (J - 1))                time of the spike within the step
    v = 0 if s else max(v, min_voltage),  w = tau_ref + t if s else w

Its rate is that of ``lif_rate``: one spike a step at most, so rates near or above ``1 / dt`` are out of reach.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from snn_action.snn.neurons.base import Neuron, OutputUnit, fill
from snn_action.snn.neurons.lif_rate import lif_gain_bias, lif_rate
from snn_action.snn.neurons.soft_lif_rate import soft_lif_rate
from snn_action.snn.neurons.spiking import draw_voltage
from snn_action.snn.neurons.surrogate import SURROGATES, attach, pass_gradient
from snn_action.snn.settings import Gradient, LIFFamilySettings, LIFSettings, SurrogateName

# The slope of a spike's time is about tau_rc / (J - 1): backward, J - 1 counts as this much at least.
LEAST_OVER = 0.1


class LIFState(NamedTuple):
    """Voltage (B, N) in units of the threshold; time (B, N) in seconds that the neuron is still refractory."""

    voltage: Tensor
    refractory_time: Tensor


def dynamics(current: Tensor, state: LIFState, settings: LIFFamilySettings) -> tuple[Tensor, LIFState]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second, and the state after it.

    Backward, a spike's derivative is the surrogate's at ``v - 1``, the gradient runs through the voltage, its reset,
    the refractory time and the time of the spike; for a spike that did not happen that time is the step's end.
    """
    s = settings
    waiting = state.refractory_time - s.dt
    left = (s.dt - waiting).clamp(0, s.dt)
    voltage = state.voltage - (current - state.voltage) * torch.expm1(left * (-1 / s.tau_rc))
    spiked = voltage > 1
    spikes = spiked.to(voltage.dtype)
    over = torch.where(spiked, current - 1, 1)
    excess = torch.where(spiked, voltage - 1, 0)
    late = excess / over
    if torch.is_grad_enabled() and voltage.requires_grad:
        spikes = attach(spikes, voltage - 1, SURROGATES[s.surrogate])
        late = pass_gradient(late.detach(), excess / over.clamp(min=LEAST_OVER))
    # A membrane far faster than the step gives late = 1, whose logarithm is infinite.
    time = s.dt + s.tau_rc * torch.log1p(-late.clamp(max=1 - torch.finfo(late.dtype).eps))
    after = spikes * (s.tau_ref + time) + (1 - spikes) * waiting
    return spikes * (s.amplitude / s.dt), LIFState(voltage.clamp(min=s.min_voltage) * (1 - spikes), after)


def rate_of(current: Tensor, settings: LIFFamilySettings) -> Tensor:
    """The exact LIF rate; its derivative is that of the soft one where ``rate_sigma`` is positive."""
    shape = (settings.tau_rc, settings.tau_ref, settings.amplitude)
    if not settings.rate_sigma or not current.requires_grad:
        return lif_rate(current, *shape)
    return pass_gradient(lif_rate(current.detach(), *shape), soft_lif_rate(current, settings.rate_sigma, *shape))


class LIF(Neuron):
    """Module around ``dynamics``; modes ``rate``, ``spike_aware`` and ``surrogate``."""

    Settings: ClassVar[type[LIFFamilySettings]] = LIFSettings
    settings: LIFFamilySettings

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
            settings: LIFSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def dynamics(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step, computed by the module's function ``dynamics``."""
        return dynamics(current, state, self.settings)

    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Any:
        """Not refractory; voltage zero, or one random value a neuron, the same in every clip."""
        voltage = draw_voltage(self.settings, batch, shape, device, dtype)
        return LIFState(voltage, fill(0.0, batch, shape, device, dtype))

    def rate(self, current: Tensor) -> Tensor:
        """See ``rate_of``."""
        return rate_of(current, self.settings)

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """See ``lif_gain_bias``."""
        return lif_gain_bias(max_rates, intercepts, self.settings.tau_rc, self.settings.tau_ref)
