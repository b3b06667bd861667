"""LIF rate neuron whose output builds up an adaptation that is taken from its current (Nengo's AdaptiveLIFRate).

    a = r(J - n),  r that of ``lif_rate``
    n = n + (dt / tau_n) (inc_n a - n)

At a constant current it settles at the rate ``a`` that solves ``a = r(J - inc_n a)``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from snn_action.snn.neurons.base import OutputUnit, fill
from snn_action.snn.neurons.lif_rate import LIFRate, lif_rate
from snn_action.snn.neurons.soft_lif_rate import soft_lif_slope
from snn_action.snn.neurons.surrogate import pass_gradient
from snn_action.snn.settings import AdaptiveLIFRateSettings, Gradient

SOLVER_STEPS = 6  # of Newton's method, after which nothing changes in float64
LARGEST = 80.0  # of y in exp: beyond it j is as good as 0, and in float32 a subnormal number, a hundred times as slow


class AdaptiveLIFRateState(NamedTuple):
    """Adaptation (B, N), in units of the current."""

    adaptation: Tensor


def adapt(adaptation: Tensor, output: Tensor, dt: float, tau_n: float, inc_n: float) -> Tensor:
    """``n + (dt / tau_n) (inc_n output - n)``."""
    return adaptation + (dt / tau_n) * (inc_n * output - adaptation)


def settled_rate(
    current: Tensor, inc_n: float, tau_rc: float, tau_ref: float, amplitude: float, sigma: float = 0.0
) -> Tensor:
    """The ``a`` (...) that solves ``a = r(J - inc_n a)`` at a constant ``current`` (...).

    Its derivative is the implicit one, ``r' / (1 + inc_n r')`` at the adapted current, where r' is the slope of the
    LIF rate or, with a positive ``sigma``, that of the soft LIF rate.
    """
    shape = (tau_rc, tau_ref, amplitude)
    with torch.no_grad():
        # The unknown is y = log(1 + 1 / j), j the adapted current less 1, in which both r = amplitude / (tau_ref +
        # tau_rc y) and j = 1 / (exp(y) - 1) are exact however small. Of j + inc_n r = J - 1 the left side falls with y
        # and is convex, so Newton's steps from below the root stay below it. Below it are the roots of each term alone,
        # and, nearest where both matter at small y, that with 1 / y - 1 / 2 < j in the place of j.
        drive, height = torch.where(current > 1, current - 1, 1.0), inc_n * amplitude  # below 1: any, it is not used
        least = torch.maximum(torch.log1p(1 / drive), (height / drive - tau_ref) / tau_rc)
        half = drive + 0.5
        b = half * tau_ref - (tau_rc + height)
        root = torch.sqrt(b * b + half * (4 * tau_rc * tau_ref))
        both = torch.where(b > 0, 2 * tau_ref / (root + b), (root - b) / (half * (2 * tau_rc)))
        y = torch.maximum(least, both)
        for _ in range(SOLVER_STEPS):
            over = 1 / torch.expm1(y.clamp(max=LARGEST))
            rate = amplitude / (tau_ref + tau_rc * y)
            y = y + (over + inc_n * rate - drive) / (over * (1 + over) + inc_n * (tau_rc / amplitude) * rate * rate)
        rate = torch.where(current > 1, amplitude / (tau_ref + tau_rc * y), 0)
        if not current.requires_grad:
            return rate
        if sigma:
            slope = soft_lif_slope(current - inc_n * rate, sigma, *shape)
            slope = slope / (1 + inc_n * slope)
        else:
            over = 1 / torch.expm1(y.clamp(max=LARGEST))
            steep = (tau_rc / amplitude) * rate * rate
            slope = torch.where(current > 1, steep / (over * (1 + over) + inc_n * steep), 0)
    return pass_gradient(rate, current * slope)


def dynamics(
    current: Tensor, state: AdaptiveLIFRateState, settings: AdaptiveLIFRateSettings
) -> tuple[Tensor, AdaptiveLIFRateState]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second times amplitude, and the state after it."""
    s = settings
    output = lif_rate(current - state.adaptation, s.tau_rc, s.tau_ref, s.amplitude)
    return output, AdaptiveLIFRateState(adapt(state.adaptation, output, s.dt, s.tau_n, s.inc_n))


class AdaptiveLIFRate(LIFRate):
    """Module around ``dynamics``, whose gradient runs through the adaptation over time.

    ``gain_bias`` is that without adaptation (as Nengo): ``max_rates`` are met before it sets in.
    """

    Settings = AdaptiveLIFRateSettings
    settings: AdaptiveLIFRateSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            tau_rc: float = 0.02,
            tau_ref: float = 0.002,
            amplitude: float = 1.0,
            tau_n: float = 1.0,
            inc_n: float = 0.01,
            settings: AdaptiveLIFRateSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def dynamics(self, current: Tensor, state: AdaptiveLIFRateState) -> tuple[Tensor, AdaptiveLIFRateState]:
        """One step, computed by the module's function ``dynamics``."""
        return dynamics(current, state, self.settings)

    def initial_state(
        self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> AdaptiveLIFRateState:
        """No adaptation."""
        return AdaptiveLIFRateState(fill(0.0, batch, shape, device, dtype))

    def rate(self, current: Tensor) -> Tensor:
        """See ``settled_rate``."""
        s = self.settings
        return settled_rate(current, s.inc_n, s.tau_rc, s.tau_ref, s.amplitude)
