"""Rectified linear rate neuron (Nengo): output ``amplitude max(J, 0)``, without state."""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from snn_action.neurons.base import Gradient, Neuron, NeuronSettings, check_rates


class Settings(NeuronSettings):
    """Rectified linear rate neuron."""

    type: Literal["rectified_linear"] = "rectified_linear"
    amplitude: float = Field(1.0, gt=0, description="Factor of the output")


class State(NamedTuple):
    """Empty: the output depends on the present current alone."""


def step(current: Tensor, state: State, amplitude: float) -> tuple[Tensor, State]:
    """Output (B, N) of ``current`` (B, N), in units a second, and the state as it was."""
    return current.relu() * amplitude, state


class RectifiedLinear(Neuron):
    """Module around ``step``; its one mode is ``rate``."""

    gradients: ClassVar[tuple[Gradient, ...]] = ("rate",)
    spiking: ClassVar[bool] = False

    def __init__(self, settings: Settings, gradient: Gradient) -> None:
        super().__init__(gradient, settings.dt, settings.amplitude)
        self.settings = settings

    def advance(self, current: Tensor, state: State) -> tuple[Tensor, State]:
        """See ``step``."""
        return step(current, state, self.amplitude)

    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> State:
        """Empty."""
        del batch, shape, device, dtype  # nothing to lay out
        return State()

    def rate(self, current: Tensor) -> Tensor:
        """``amplitude max(J, 0)``."""
        return current.relu() * self.amplitude

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """``gain = max_rate / (1 - intercept)``, ``bias = -intercept gain``; rates are before the amplitude."""
        check_rates(max_rates, intercepts)
        gain = max_rates / (1 - intercepts)
        return gain, -intercepts * gain


def build(settings: Settings, gradient: Gradient = "rate") -> RectifiedLinear:
    """The neuron that ``settings`` describe.

    Raises:
        ConfigError: the neuron has no such gradient mode.
    """
    return RectifiedLinear(settings, gradient)
