"""Spikes at regular intervals from any rate curve (Nengo 3.2's RegularSpiking).

    v' = v + r(J) dt
    n = floor(v'),  output n amplitude / dt
    v = v' - n

The curve ``r`` is one of

    relu       max(J, 0)
    tanh       tanh(J) / tau_ref                   (below zero it gives spikes of negative sign)
    sigmoid    1 / (tau_ref (1 + exp(-J)))
    lif_rate   1 / (tau_ref + tau_rc ln(1 + 1 / (J - 1))) for J > 1, else 0

Without feedback the spike counts are exactly ``diff(floor(v0 + cumsum(r(J) dt)))``.
"""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.snn.neurons.base import OutputUnit, check_rates
from snn_action.snn.neurons.lif_rate import lif_gain_bias, lif_rate
from snn_action.snn.neurons.spiking import Voltage, VoltageNeuron, fire_often
from snn_action.snn.settings import Gradient, RegularSpikingSettings, SurrogateName

# The current at which a curve starts; the sigmoid never reaches zero, Nengo takes -2.
START = {"relu": 0.0, "tanh": 0.0, "sigmoid": -2.0, "lif_rate": 1.0}


def curve(current: Tensor, settings: RegularSpikingSettings) -> Tensor:
    """Spikes a second ``(...)`` at ``current`` (...)."""
    match settings.rate_function:
        case "relu":
            return current.relu()
        case "tanh":
            return current.tanh() / settings.tau_ref
        case "sigmoid":
            return current.sigmoid() / settings.tau_ref
    return lif_rate(current, settings.tau_rc, settings.tau_ref, 1.0)


def inverse(rates: Tensor, settings: RegularSpikingSettings) -> Tensor:
    """The current ``(...)`` at which ``curve``, not that of lif_rate, gives ``rates`` (...), below 1 / tau_ref."""
    match settings.rate_function:
        case "relu":
            return rates
        case "tanh":
            return torch.atanh(rates * settings.tau_ref)
    return torch.logit(rates * settings.tau_ref)


def dynamics(current: Tensor, state: Voltage, settings: RegularSpikingSettings) -> tuple[Tensor, Voltage]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second, and the state after it; see ``fire_often``."""
    voltage = state.voltage + curve(current, settings) * settings.dt
    return fire_often(voltage, settings, signed=settings.rate_function == "tanh")


class RegularSpiking(VoltageNeuron):
    """Module around ``dynamics``."""

    Settings = RegularSpikingSettings
    settings: RegularSpikingSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            amplitude: float = 1.0,
            initial_voltage: Literal["zero", "uniform"] = "zero",
            seed: int = 0,
            surrogate: SurrogateName = "arctan",
            rate_function: Literal["relu", "tanh", "sigmoid", "lif_rate"] = "relu",
            tau_ref: float = 0.0025,
            tau_rc: float = 0.02,
            settings: RegularSpikingSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    @property
    def signed(self) -> bool:
        """Whether spikes may be negative."""
        return self.settings.rate_function == "tanh"

    def dynamics(self, current: Tensor, state: Voltage) -> tuple[Tensor, Voltage]:
        """One step, computed by the module's function ``dynamics``."""
        return dynamics(current, state, self.settings)

    def rate(self, current: Tensor) -> Tensor:
        """``amplitude r(J)``."""
        return curve(current, self.settings) * self.amplitude

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """``gain = (J_max - J_0) / (1 - intercept)``, ``bias = J_0 - gain intercept``; rates are spikes a second.

        ``r(J_max)`` is the maximal rate; ``J_0`` is 0 of relu and tanh, 1 of lif_rate, -2 of sigmoid.

        Raises:
            ConfigError: a rate or an intercept is out of range, or a rate cannot be reached.
        """
        name = self.settings.rate_function
        if name == "lif_rate":
            return lif_gain_bias(max_rates, intercepts, self.settings.tau_rc, self.settings.tau_ref)
        check_rates(max_rates, intercepts)
        if name != "relu" and bool((max_rates * self.settings.tau_ref >= 1).any()):
            highest = 1 / self.settings.tau_ref
            raise ConfigError(f"max_rates must be below 1 / tau_ref = {highest:g} spikes a second, as {name} is")
        start = START[name]
        above = inverse(max_rates, self.settings) - start
        if not bool((above > 0).all()):
            lowest = float(curve(torch.tensor(start), self.settings))
            raise ConfigError(f"max_rates must be above {lowest:g}, the rate of {name} at an intercept")
        gain = above / (1 - intercepts)
        return gain, start - gain * intercepts
