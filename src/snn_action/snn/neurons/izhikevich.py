"""Izhikevich neuron: a quadratic membrane (mV) and a recovery variable, stepped as Nengo 3.2 does.

    J' = max(J, -30)                                         (below, the equations are unstable)
    v' = v + (0.04 v^2 + 5 v + 140 - u + J') 1000 dt
    s  = v' >= 30,  output s / dt
    v  = reset_voltage where s, else v'
    u  = u + tau_recovery (coupling v - u) 1000 dt + reset_recovery s

Backward (mode ``surrogate``), three choices keep the gradient finite over long clips: ``dv'/dv``, which is
``1 + (0.08 v + 5) 1000 dt`` and up to 8 on the way to a spike, is clamped to [-1, 1]; the reset of the voltage and
the jump of the recovery are constants; a spike's distance is ``(v' - 30) / (30 - reset_voltage)``, as a voltage of
0 to 1 has it in other neurons. There is no closed form of the rate. Source: Izhikevich 2003.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.snn.neurons.base import Neuron, OutputUnit, check_rates, fill
from snn_action.snn.neurons.rate_curve import InverseCurve, find_currents, find_rates, simulate_inverse
from snn_action.snn.neurons.surrogate import SURROGATES, attach
from snn_action.snn.settings import THRESHOLD, Gradient, IzhikevichSettings, SurrogateName

LOWEST_CURRENT = -30.0


class IzhikevichState(NamedTuple):
    """Voltage in mV and recovery, both (B, N)."""

    voltage: Tensor
    recovery: Tensor


class _Membrane(torch.autograd.Function):
    """``v'`` of the voltage and of the drive ``J' - u``, with ``dv'/dv`` clamped backward."""

    @staticmethod
    def forward(ctx: Any, voltage: Tensor, recovery: Tensor, current: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(voltage)
        ctx.scale = scale
        return voltage + (0.04 * voltage.square() + 5 * voltage + 140 - recovery + current) * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (voltage,) = ctx.saved_tensors
        slope = (1 + (0.08 * voltage + 5) * ctx.scale).clamp(-1, 1)
        drive = grads[0] * ctx.scale
        return grads[0] * slope, -drive, drive, None


def dynamics(current: Tensor, state: IzhikevichState, settings: IzhikevichSettings) -> tuple[Tensor, IzhikevichState]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second, and the state after it."""
    scale = 1000 * settings.dt
    current = current.clamp(min=LOWEST_CURRENT)
    voltage: Tensor = _Membrane.apply(state.voltage, state.recovery, current, scale)  # type: ignore[no-untyped-call]
    fired = voltage.detach() >= THRESHOLD
    jump = fired.to(voltage.dtype)
    spikes = jump
    if torch.is_grad_enabled() and voltage.requires_grad:
        distance = (voltage - THRESHOLD) / (THRESHOLD - settings.reset_voltage)
        spikes = attach(jump, distance, SURROGATES[settings.surrogate])
    voltage = voltage.masked_fill(fired, settings.reset_voltage)
    change = settings.tau_recovery * (settings.coupling * voltage - state.recovery) * scale
    recovery = state.recovery + change + settings.reset_recovery * jump
    return spikes / settings.dt, IzhikevichState(voltage, recovery)


class Izhikevich(Neuron):
    """Module around ``dynamics``; mode ``surrogate`` only, as the rate has no closed form."""

    Settings = IzhikevichSettings
    gradients: ClassVar[tuple[Gradient, ...]] = ("surrogate",)
    settings: IzhikevichSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            tau_recovery: float = 0.02,
            coupling: float = 0.2,
            reset_voltage: float = -65.0,
            reset_recovery: float = 8.0,
            surrogate: SurrogateName = "arctan",
            settings: IzhikevichSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def dynamics(self, current: Tensor, state: IzhikevichState) -> tuple[Tensor, IzhikevichState]:
        """One step, computed by the module's function ``dynamics``."""
        return dynamics(current, state, self.settings)

    def initial_state(
        self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> IzhikevichState:
        """``reset_voltage``, and the recovery to which it draws, ``coupling reset_voltage``.

        Nengo starts at a voltage in [0, 1) and recovery 0, from which every neuron fires in its first step.
        """
        voltage = fill(self.settings.reset_voltage, batch, shape, device, dtype)
        recovery = fill(self.settings.coupling * self.settings.reset_voltage, batch, shape, device, dtype)
        return IzhikevichState(voltage, recovery)

    def rate(self, current: Tensor) -> Tensor:  # noqa: ARG002 - the contract names it
        """Not defined.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("izhikevich has no closed form of its rate; use gradient mode 'surrogate'")

    def tuning(self, current: Tensor) -> Tensor:
        """Spikes a second of the simulated rate curve."""
        return find_rates(current, self._curve())

    def _curve(self) -> InverseCurve:
        return _inverse_curve(self.settings.model_dump_json(exclude={"surrogate"}))

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """``gain = (J_max - J_0) / (1 - intercept)``, ``bias = J_0 - gain intercept``, from a simulated rate curve.

        ``J_0`` is the largest current that gives no spikes, ``J_max`` the one that gives the maximal rate.

        Raises:
            ConfigError: a rate or an intercept is out of range, or a rate cannot be reached.
        """
        check_rates(max_rates, intercepts)
        curve = self._curve()
        highest = find_currents(max_rates, curve)
        start = float(curve.currents[0])
        gain = (highest - start) / (1 - intercepts)
        return gain, start - gain * intercepts


@lru_cache(maxsize=16)
def _inverse_curve(settings_json: str) -> InverseCurve:
    """Of spikes in one second, after 0.2 s in which a neuron settles."""
    settings = IzhikevichSettings.model_validate_json(settings_json)
    neuron = Izhikevich(settings=settings, gradient="surrogate")
    low = torch.arange(LOWEST_CURRENT, 30, 0.02, dtype=torch.float64)
    grid = torch.cat([low, torch.arange(30, 1000, 0.5, dtype=torch.float64)])
    state = neuron.initial_state(1, grid.shape, grid.device, grid.dtype)
    settle, steps = round(0.2 / settings.dt), max(round(1 / settings.dt), 1)
    return simulate_inverse(neuron.dynamics, state, grid, settle, steps)
