"""LIF rate neuron whose output builds up an adaptation that is taken from its current (Nengo's AdaptiveLIFRate).

    a = r(J - n),  r that of ``lif_rate``
    n = n + (dt / tau_n) (inc_n a - n)

At a constant current it settles at the rate ``a`` that solves ``a = r(J - inc_n a)``.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from snn_action.neurons.base import fill
from snn_action.neurons.lif_rate import LIFRate, LIFRateSettings, lif_rate
from snn_action.neurons.soft_lif_rate import soft_lif_slope
from snn_action.neurons.surrogate import pass_gradient

SOLVER_STEPS = 16
# Of J - 1 in the solver: far below what can be told from 0, yet with a reciprocal that float32 holds.
LEAST_OVER = 1e-30


class Settings(LIFRateSettings):
    """Leaky integrate-and-fire rate neuron with adaptation."""

    type: Literal["adaptive_lif_rate"] = "adaptive_lif_rate"
    tau_n: float = Field(1.0, gt=0, description="Time constant of the adaptation in seconds")
    inc_n: float = Field(0.01, ge=0, description="Adaptation that an output of 1 a second settles at")


class State(NamedTuple):
    """Adaptation (B, N), in units of the current."""

    adaptation: Tensor


def adapt(adaptation: Tensor, output: Tensor, dt: float, tau_n: float, inc_n: float) -> Tensor:
    """``n + (dt / tau_n) (inc_n output - n)``."""
    return adaptation + (dt / tau_n) * (inc_n * output - adaptation)


def _rate_and_slope(over: Tensor, tau_rc: float, tau_ref: float, amplitude: float) -> tuple[Tensor, Tensor]:
    """LIF rate and its slope at the current ``1 + over``, exact where ``over`` is too small to be added to 1."""
    over = over.clamp(min=LEAST_OVER)
    rate = amplitude / (tau_ref + tau_rc * torch.log1p(1 / over))
    return rate, rate.square() * (tau_rc / amplitude) / (over * (1 + over))


def settled_rate(
    current: Tensor, inc_n: float, tau_rc: float, tau_ref: float, amplitude: float, sigma: float = 0.0
) -> Tensor:
    """The ``a`` (...) that solves ``a = r(J - inc_n a)`` at a constant ``current`` (...).

    Its derivative is the implicit one, ``r' / (1 + inc_n r')`` at the adapted current, where r' is the slope of the
    LIF rate or, with a positive ``sigma``, that of the soft LIF rate.
    """
    shape = (tau_rc, tau_ref, amplitude)
    with torch.no_grad():
        # The unknown is j, the adapted current less 1: j + inc_n r(1 + j) = J - 1 is increasing and concave in j,
        # so Newton's steps close in from the left. A step that leaves the bracket is replaced by a tenth of it,
        # as the root can be many orders below J - 1.
        drive = (current - 1).clamp(min=LEAST_OVER)
        low, high, over = torch.zeros_like(drive), drive, drive
        for _ in range(SOLVER_STEPS):
            rate, slope = _rate_and_slope(over, *shape)
            excess = over + inc_n * rate - drive
            low, high = torch.where(excess > 0, low, over), torch.where(excess > 0, over, high)
            newton = over - excess / (1 + inc_n * slope)
            over = torch.where((newton > low) & (newton <= high), newton, low + (high - low) / 10)
        # One more step of Newton, in the rate itself: exact where the slope is steep as well as where it is flat.
        rate, slope = _rate_and_slope(over, *shape)
        rate = torch.where(current > 1, (rate + slope * (drive - over)) / (1 + inc_n * slope), 0)
        if not current.requires_grad:
            return rate
        adapted = current - inc_n * rate
        slope = soft_lif_slope(adapted, sigma, *shape) if sigma else torch.where(current > 1, slope, 0)
        slope = slope / (1 + inc_n * slope)
    return pass_gradient(rate, current * slope)


def step(current: Tensor, state: State, settings: Settings) -> tuple[Tensor, State]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second times amplitude, and the state after it."""
    s = settings
    output = lif_rate(current - state.adaptation, s.tau_rc, s.tau_ref, s.amplitude)
    return output, State(adapt(state.adaptation, output, s.dt, s.tau_n, s.inc_n))


class AdaptiveLIFRate(LIFRate):
    """Module around ``step``, whose gradient runs through the adaptation over time.

    ``gain_bias`` is that without adaptation (as Nengo): ``max_rates`` are met before it sets in.
    """

    settings: Settings

    def advance(self, current: Tensor, state: State) -> tuple[Tensor, State]:
        """See ``step``."""
        return step(current, state, self.settings)

    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> State:
        """No adaptation."""
        return State(fill(0.0, batch, shape, device, dtype))

    def rate(self, current: Tensor) -> Tensor:
        """See ``settled_rate``."""
        s = self.settings
        return settled_rate(current, s.inc_n, s.tau_rc, s.tau_ref, s.amplitude)


build = AdaptiveLIFRate
