"""Synapses: linear filters over time, discretised as Nengo does (zero-order hold, no delay of a step)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn_action.neurons.base import hold


class LowpassState(NamedTuple):
    """Filtered value (B, N)."""

    value: Tensor


class Lowpass(nn.Module):
    """First-order filter ``y_t = a y_{t-1} + (1 - a) x_t``, ``a = exp(-dt / tau)``, of time constant ``tau`` seconds.

    Raises:
        ValueError: ``tau`` or ``dt`` is not positive.
    """

    def __init__(self, tau: float, dt: float = 0.001) -> None:
        super().__init__()
        if not tau > 0 or not dt > 0:
            raise ValueError(f"tau {tau} and dt {dt} must be positive")
        self.tau = tau
        self.decay = math.exp(-dt / tau)

    def initial_state(self, batch: int, size: int, device: torch.device, dtype: torch.dtype) -> LowpassState:
        """Zero, (B, N)."""
        return LowpassState(torch.zeros(batch, size, device=device, dtype=dtype))

    def forward(
        self, x: Tensor, state: LowpassState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, LowpassState]:
        """Filtered ``x`` (B, T, N), and the state after the last step where ``mask`` (B, T) is true.

        Raises:
            ValueError: a wrong shape.
        """
        if x.ndim != 3 or x.shape[1] < 1:
            raise ValueError(f"x must be (batch, at least one step, size), not {tuple(x.shape)}")
        if state is None:
            state = self.initial_state(x.shape[0], x.shape[2], x.device, x.dtype)
        filtered = []
        for t, now in enumerate(x.unbind(1)):
            value = torch.lerp(now, state.value, self.decay)
            filtered.append(value)
            state = LowpassState(value) if mask is None else hold(LowpassState(value), state, mask[:, t])
        return torch.stack(filtered, 1), state
