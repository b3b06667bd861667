"""Spiking rectified linear neuron: integrates ``max(J, 0)`` and may fire several times in a step (Nengo).

    v' = v + max(J, 0) dt
    n = floor(v'),  output n amplitude / dt
    v = v' - n

Without feedback the spike counts are exactly ``diff(floor(v0 + cumsum(max(J, 0) dt)))``. Its rate is
``amplitude max(J, 0)``.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snn_action.neurons.base import Gradient, Neuron, SpikingSettings, check_rates, draw_voltage
from snn_action.neurons.surrogate import SURROGATES, Surrogate, attach


class Settings(SpikingSettings):
    """Spiking rectified linear neuron."""

    type: Literal["spiking_rectified_linear"] = "spiking_rectified_linear"


class State(NamedTuple):
    """Voltage (B, N) in [0, 1), in units of the threshold."""

    voltage: Tensor


def step(current: Tensor, state: State, dt: float, amplitude: float, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second, and the state after it.

    Backward, a spike's derivative is the surrogate's at the nearest threshold 1, 2, ..., and the membrane's
    gradient runs through ``v' - n``.
    """
    voltage = state.voltage + current.relu() * dt
    spikes = voltage.detach().floor()
    if torch.is_grad_enabled() and voltage.requires_grad:
        nearest = voltage.detach().round().clamp(min=1)
        spikes = attach(spikes, voltage - nearest, surrogate)
    return spikes * (amplitude / dt), State(voltage - spikes)


class SpikingRectifiedLinear(Neuron):
    """Module around ``step``; modes ``rate``, ``spike_aware`` and ``surrogate``."""

    def __init__(self, settings: Settings, gradient: Gradient) -> None:
        super().__init__(gradient, settings.dt, settings.amplitude)
        self.settings = settings
        self.surrogate = SURROGATES[settings.surrogate]

    def advance(self, current: Tensor, state: State) -> tuple[Tensor, State]:
        """See ``step``."""
        return step(current, state, self.dt, self.amplitude, self.surrogate)

    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> State:
        """Zero, or one random voltage a neuron, the same in every clip."""
        return State(draw_voltage(self.settings, batch, shape, device, dtype))

    def rate(self, current: Tensor) -> Tensor:
        """``amplitude max(J, 0)``."""
        return current.relu() * self.amplitude

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """``gain = max_rate / (1 - intercept)``, ``bias = -intercept gain``; rates are spikes a second."""
        check_rates(max_rates, intercepts)
        gain = max_rates / (1 - intercepts)
        return gain, -intercepts * gain


def build(settings: Settings, gradient: Gradient = "spike_aware") -> SpikingRectifiedLinear:
    """The neuron that ``settings`` describe.

    Raises:
        ConfigError: the neuron has no such gradient mode.
    """
    return SpikingRectifiedLinear(settings, gradient)
