"""Sigma-delta coding: a value is sent as quantized changes, which receivers add up."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn_action.core.errors import ConfigError
from snn_action.snn.fused import dispatch, neurons
from snn_action.snn.fused.ir import Equations
from snn_action.snn.fused.trace import trace
from snn_action.snn.neurons.base import check_finite
from snn_action.snn.neurons.surrogate import pass_gradient
from snn_action.snn.settings import CODED


class SigmaDeltaState(NamedTuple):
    """What receivers hold after the last step (B, ...)."""

    held: Tensor


class SigmaDelta(nn.Module):
    """Values over time as their receivers know them, from changes that reach a threshold.

        e_t = x_t - h_{t-1}
        d_t = theta round(e_t / theta)  where |e_t| >= theta, else 0
        h_t = h_{t-1} + d_t

    ``x`` is the value, ``d`` what is sent, a whole number of ``theta``, and ``h`` what receivers hold, 0 at first. So
    ``|x_t - h_t| < theta`` always, and at most ``theta / 2`` after a change was sent. With ``theta`` 0 every change is
    sent as it is, and ``h`` is ``x``. A linear layer behind it need not see ``h``: it adds up ``W d_t``.

    The gradient of ``h`` to ``x`` is taken to be 1 (straight through), none goes back through the state.

    Sources: O'Connor and Welling, "Sigma delta quantized networks", ICLR 2017; Yousefzadeh et al., "Asynchronous
    spiking neurons, the natural key to exploit temporal sparsity", 2019. The dead band of a whole ``theta`` around
    ``h`` (they round, or cut off) keeps noise smaller than it silent.

    Args:
        threshold: ``theta``, in the values' unit: 0, or from 1e-20 to 1e20.

    Raises:
        ConfigError: the threshold is another number.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        if threshold != 0 and not CODED[0] <= threshold <= CODED[1]:
            raise ConfigError(
                f"SigmaDelta: threshold must be 0 or from {CODED[0]:g} to {CODED[1]:g}, not {threshold:.6g}"
            )
        self.threshold = float(threshold)

    def forward(self, values: Tensor, state: SigmaDeltaState | None = None) -> tuple[Tensor, SigmaDeltaState]:
        """What receivers hold ``(B, T, ...)`` of ``values`` (B, T, ...), and the state after the last step.

        Raises:
            ValueError: the values or the state have a wrong shape or type, or are not finite.
        """
        if not values.is_floating_point() or values.ndim < 2 or values.shape[1] < 1:
            raise ValueError(
                f"values must be floating-point (B, T, ...) with a step at least, not {values.dtype} "
                f"{tuple(values.shape)}"
            )
        check_finite(values, "value of place")
        before = values.new_zeros(values[:, 0].shape) if state is None else state.held
        if before.shape != values[:, 0].shape or before.dtype != values.dtype:
            raise ValueError(
                f"state.held must be {values.dtype} {tuple(values[:, 0].shape)}, not {before.dtype} "
                f"{tuple(before.shape)}"
            )
        if not self.threshold:
            return values, SigmaDeltaState(values[:, -1].detach())
        with torch.no_grad():
            held = self._hold(values, before)
        last = held[:, -1]
        return pass_gradient(held, values) if values.requires_grad else held, SigmaDeltaState(last)

    def step(self, values: Tensor, state: SigmaDeltaState | None = None) -> tuple[Tensor, SigmaDeltaState]:
        """``forward`` on one time step: held (B, ...) of ``values`` (B, ...), and the state after it."""
        held, state = self(values.unsqueeze(1), state)
        return held.squeeze(1), state

    def _hold(self, values: Tensor, before: Tensor) -> Tensor:
        """In whole numbers of the threshold, so that no rounding adds up over a long stream."""
        threshold = values.new_tensor(self.threshold)
        sent = torch.round(before / threshold)
        if values.ndim > 2 and dispatch.is_available(values) and not torch.compiler.is_compiling():
            held, _ = neurons.run(values, (sent,), _equations(), (threshold,))
            return held
        steps = []
        for now in values.unbind(1):
            held, sent = _step(now, sent, threshold)
            steps.append(held)
        return torch.stack(steps, 1)

    def extra_repr(self) -> str:
        """The threshold."""
        return f"threshold={self.threshold:g}"


def _step(value: Tensor, sent: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    change = value / threshold - sent
    sent = sent + torch.where(change.abs() >= 1.0, torch.round(change), 0.0)
    return sent * threshold, sent


@cache
def _equations() -> Equations:
    return trace(_step, 1, 1)
