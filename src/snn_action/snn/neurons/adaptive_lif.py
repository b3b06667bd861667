"""Spiking LIF neuron whose spikes build up an adaptation that is taken from its current (Nengo's AdaptiveLIF).

    one step of ``lif`` at the current J - n, with output o
    n = n + (dt / tau_n) (inc_n o - n)

At a constant current its mean output ``a`` comes close to the solution of ``a = r(J - inc_n a)``, r that of
``lif_rate``, once the adaptation has settled (a few tau_n).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snn_action.snn.neurons import lif
from snn_action.snn.neurons.adaptive_lif_rate import adapt, check_adaptation, settled_rate
from snn_action.snn.neurons.base import fill


class Settings(lif.LIFSettings):
    """Spiking leaky integrate-and-fire neuron with adaptation."""

    type: Literal["adaptive_lif"] = Field("adaptive_lif", description="Which neuron this is")
    tau_n: float = Field(1.0, gt=0, description="Time constant of the adaptation in seconds")
    inc_n: float = Field(0.01, ge=0, description="Adaptation that an output of 1 a second settles at")

    @model_validator(mode="after")
    def _stable(self) -> Self:
        check_adaptation(self.tau_n, self.dt)
        return self


class State(NamedTuple):
    """Voltage (B, N) in units of the threshold, refractory time (B, N) in seconds, adaptation (B, N) of the current."""

    voltage: Tensor
    refractory_time: Tensor
    adaptation: Tensor


def step(current: Tensor, state: State, settings: Settings) -> tuple[Tensor, State]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second, and the state after it.

    Backward as in ``lif``, and through the adaptation.
    """
    s = settings
    output, membrane = lif.step(current - state.adaptation, lif.State(state.voltage, state.refractory_time), s)
    return output, State(*membrane, adapt(state.adaptation, output, s.dt, s.tau_n, s.inc_n))


class AdaptiveLIF(lif.LIF):
    """Module around ``step``; modes ``rate`` and ``spike_aware`` see the settled rate, as if adaptation were instant.

    ``gain_bias`` is that without adaptation (as Nengo): ``max_rates`` are met before it sets in.
    """

    settings: Settings

    def advance(self, current: Tensor, state: State) -> tuple[Tensor, State]:
        """See ``step``."""
        return step(current, state, self.settings)

    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> State:
        """Neither refractory nor adapted; voltage zero, or one random value a neuron, the same in every clip."""
        voltage, refractory_time = super().initial_state(batch, shape, device, dtype)
        return State(voltage, refractory_time, fill(0.0, batch, shape, device, dtype))

    def rate(self, current: Tensor) -> Tensor:
        """See ``settled_rate``; ``rate_sigma`` smooths its derivative."""
        s = self.settings
        return settled_rate(current, s.inc_n, s.tau_rc, s.tau_ref, s.amplitude, s.rate_sigma)


build = AdaptiveLIF
