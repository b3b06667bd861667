"""Leaky integrate-and-fire neuron whose time constant is learned (PLIF, Fang et al. 2021).

    k  = dt / tau = 1 / (1 + exp(-w))                         w is the parameter, one of a layer; so tau stays above dt
    v' = v + k (J - v)
    s  = 1 if v' >= 1 else 0,  output s amplitude / dt
    v  = v' (1 - s)  (reset "hard", the paper's)   or   v' - s  (reset "soft")

The current is in units of the threshold: a constant one fires above 1. There is no refractory time and one spike a
step at most; ``lif`` follows continuous time more closely.
"""

import math
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from snn_action.core.errors import ConfigError
from snn_action.snn.neurons.base import OutputUnit, check_rates
from snn_action.snn.neurons.integrate_and_fire import fire
from snn_action.snn.neurons.rate_curve import InverseCurve, find_currents, find_rates, simulate_inverse
from snn_action.snn.neurons.spiking import Voltage, VoltageNeuron
from snn_action.snn.neurons.surrogate import SURROGATES, Surrogate
from snn_action.snn.settings import Gradient, ParametricLIFSettings, Reset, SurrogateName

CURVE_POINTS = 4000
RHEOBASE = 1.0


def dynamics(
    current: Tensor, state: Voltage, k: Tensor, dt: float, amplitude: float, reset: Reset, surrogate: Surrogate
) -> tuple[Tensor, Voltage]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second, and the state after it.

    Backward, a spike's derivative is the surrogate's at ``v' - 1``, and the gradient runs through the reset too.
    """
    spikes, voltage = fire(state.voltage + k * (current - state.voltage), reset, surrogate)
    return spikes * (amplitude / dt), Voltage(voltage)


class ParametricLIF(VoltageNeuron):
    """Module around ``dynamics``; mode ``surrogate`` only.

    With a soft reset the rate has no closed form, and with a hard one it is a staircase; neither has a derivative by
    the time constant that it could be learned from.
    """

    Settings = ParametricLIFSettings
    gradients: ClassVar[tuple[Gradient, ...]] = ("surrogate",)
    settings: ParametricLIFSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            amplitude: float = 1.0,
            initial_voltage: Literal["zero", "uniform"] = "zero",
            seed: int = 0,
            surrogate: SurrogateName = "arctan",
            tau: float = 0.02,
            learnable: bool = True,
            reset: Reset = "hard",
            settings: ParametricLIFSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def make_parts(self) -> None:
        """The time constant's parameter ``w``."""
        w = torch.tensor(-math.log(self.settings.tau / self.settings.dt - 1))
        self.w = nn.Parameter(w, requires_grad=self.settings.learnable)  # frozen, too: kernels are given parameters

    @property
    def tau(self) -> Tensor:
        """The time constant in seconds, as it is now."""
        return self.dt / self.w.sigmoid()

    def dynamics(self, current: Tensor, state: Voltage) -> tuple[Tensor, Voltage]:
        """One step, computed by the module's function ``dynamics``."""
        s = self.settings
        return dynamics(current, state, self.w.sigmoid(), s.dt, s.amplitude, s.reset, SURROGATES[s.surrogate])

    def rate(self, current: Tensor) -> Tensor:  # noqa: ARG002 - the contract names it
        """Not defined.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("plif has no closed form of its rate; use gradient mode 'surrogate'")

    def tuning(self, current: Tensor) -> Tensor:
        """``amplitude`` times spikes a second of the simulated rate curve, at the present time constant."""
        return find_rates(current, self._curve()) * self.amplitude

    def _curve(self) -> InverseCurve:
        return _inverse_curve(self.w.double().sigmoid().item(), self.dt, self.settings.reset)

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """``gain = (J_max - 1) / (1 - intercept)``, ``bias = 1 - gain intercept``, from a simulated rate curve.

        ``J_max`` gives the maximal rate at the present time constant. Rates are spikes a second, before the amplitude.

        Raises:
            ConfigError: a rate or an intercept is out of range, a rate is above one spike a step, or so low that its
                current is not told from the threshold.
        """
        check_rates(max_rates, intercepts)
        curve = self._curve()
        lowest = curve.rates[1]  # 0 is the first
        if bool((max_rates < lowest).any()):
            raise ConfigError(f"max_rates must be at least {lowest:g}, the lowest of the neuron's simulated rate curve")
        highest = find_currents(max_rates, curve)
        gain = (highest - RHEOBASE) / (1 - intercepts)
        return gain, RHEOBASE - gain * intercepts


@lru_cache(maxsize=16)
def _inverse_curve(k: float, dt: float, reset: Reset) -> InverseCurve:
    """Of spikes in one second, and 1000 steps at least, after 5 time constants in which a neuron settles."""
    over = torch.logspace(-6, math.log10(1 / k), CURVE_POINTS - 1, dtype=torch.float64)
    grid = RHEOBASE + torch.cat([torch.tensor([-1e-6], dtype=torch.float64), over])
    weight = torch.tensor(k, dtype=torch.float64)

    def advance(current: Tensor, state: Voltage) -> tuple[Tensor, Voltage]:
        return dynamics(current, state, weight, dt, 1.0, reset, SURROGATES["arctan"])

    state = Voltage(torch.zeros(1, len(grid), dtype=torch.float64))
    return simulate_inverse(advance, state, grid, math.ceil(5 / k), max(round(1 / dt), 1000))
