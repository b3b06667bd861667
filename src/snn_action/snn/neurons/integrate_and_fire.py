"""Integrate-and-fire neuron without leak, which fires once in a step at most.

    v' = v + J dt
    s  = 1 if v' >= 1 else 0,  output s amplitude / dt
    v  = v' - s  (reset "soft")   or   v' (1 - s)  (reset "hard")

A soft reset keeps what the voltage had above the threshold, so at a constant current its mean output is
``amplitude clamp(J, 0, 1 / dt)``; below zero the voltage falls without a floor, above ``1 / dt`` it rises without a
ceiling. A hard reset loses it: then ``amplitude / (dt ceil(1 / (J dt)))``. Source of both: Rueckauer et al. 2017.
"""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.snn.neurons.base import OutputUnit
from snn_action.snn.neurons.rectified_linear import linear_gain_bias
from snn_action.snn.neurons.spiking import Voltage, VoltageNeuron
from snn_action.snn.neurons.surrogate import SURROGATES, Surrogate, attach, pass_gradient
from snn_action.snn.settings import Gradient, IntegrateAndFireSettings, Reset, SurrogateName


def fire(voltage: Tensor, reset: Reset, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    """Spikes (B, N), 0 or 1, where ``voltage`` (B, N) is 1 or more, and the voltage after its reset.

    Backward, a spike's derivative is the surrogate's at ``v' - 1``, and the gradient runs through the reset too.
    """
    spikes = (voltage.detach() >= 1).to(voltage.dtype)
    if torch.is_grad_enabled() and voltage.requires_grad:
        spikes = attach(spikes, voltage - 1, surrogate)
    return spikes, voltage - spikes if reset == "soft" else voltage * (1 - spikes)


def dynamics(current: Tensor, state: Voltage, settings: IntegrateAndFireSettings) -> tuple[Tensor, Voltage]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second, and the state after it; see ``fire``."""
    s = settings
    spikes, voltage = fire(state.voltage + current * s.dt, s.reset, SURROGATES[s.surrogate])
    return spikes * (s.amplitude / s.dt), Voltage(voltage)


class IntegrateAndFire(VoltageNeuron):
    """Module around ``dynamics``."""

    Settings = IntegrateAndFireSettings
    settings: IntegrateAndFireSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            amplitude: float = 1.0,
            initial_voltage: Literal["zero", "uniform"] = "zero",
            seed: int = 0,
            surrogate: SurrogateName = "arctan",
            reset: Reset = "soft",
            settings: IntegrateAndFireSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def dynamics(self, current: Tensor, state: Voltage) -> tuple[Tensor, Voltage]:
        """One step, computed by the module's function ``dynamics``."""
        return dynamics(current, state, self.settings)

    def rate(self, current: Tensor) -> Tensor:
        """``amplitude clamp(J, 0, 1 / dt)``; with a hard reset ``amplitude / (dt ceil(1 / (J dt)))`` for J > 0, else 0.

        The latter is a staircase; its derivative, zero or infinite, is that of the former.
        """
        soft = current.clamp(0, 1 / self.dt) * self.amplitude
        if self.settings.reset == "soft":
            return soft
        gain = current.detach() * self.dt
        periods = torch.where(gain > 0, 1 / torch.where(gain > 0, gain, 1), torch.inf).ceil()
        hard = (self.amplitude / self.dt) / periods
        return pass_gradient(hard, soft) if soft.requires_grad else hard

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """See ``linear_gain_bias``: a soft reset's.

        Raises:
            ConfigError: a rate or an intercept is out of range, or a rate is above one spike a step.
        """
        solved = linear_gain_bias(max_rates, intercepts)
        if bool((max_rates * self.dt > 1).any()):
            raise ConfigError(f"max_rates must be at most {1 / self.dt:g}, one spike a step")
        return solved
