"""Synapses: linear filters over time, discretized as Nengo does (zero-order hold, no delay of a step).

All take ``(B, T, N)`` to ``(B, T, N)``, with explicit state, and start from zero. Time constants are in seconds; a
learnable one is kept as its logarithm, so that it stays positive.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn_action.snn.counting import count_elsewhere, count_updates
from snn_action.snn.masks import hold
from snn_action.snn.neurons.base import check_state


class Synapse(nn.Module, ABC):
    """Base of all synapses, which write ``dynamics`` and ``initial_state``."""

    def __init__(self, dt: float) -> None:
        if not 0 < dt < math.inf:
            raise ValueError(f"dt must be positive and finite, not {dt}")
        super().__init__()
        self.dt = dt

    def forward(self, x: Tensor, state: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        """Filtered ``x`` (B, T, N), and the state after the last step where ``mask`` (B, T) is true.

        Raises:
            ValueError: a wrong shape or type, or a state that does not fit or is not finite.
        """
        if not x.is_floating_point():
            raise ValueError(f"x must be of a floating-point type, not {x.dtype}")
        if x.ndim != 3 or x.shape[1] < 1:
            raise ValueError(f"x must be (batch, at least one step, size), not {tuple(x.shape)}")
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(f"mask must have shape {tuple(x.shape[:2])}, not {tuple(mask.shape)}")
        mask = None if mask is None else mask.bool()
        if state is None:
            state = self.initial_state(x.shape[0], x.shape[2], x.device, x.dtype)
        elif not torch.compiler.is_compiling():
            check_state(state, self.initial_state(x.shape[0], x.shape[2], torch.device("meta"), x.dtype), x.device)
        filtered = []
        with count_elsewhere():
            for t, now in enumerate(x.unbind(1)):
                value, new = self.dynamics(now, state)
                filtered.append(value)
                state = new if mask is None else hold(new, state, mask[:, t])
        count_updates(x.shape[1] * sum(tensor.numel() for tensor in state))
        return torch.stack(filtered).transpose(0, 1), state  # in memory as it was made, one step after another

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """``forward`` on one time step: filtered ``x`` (B, N), and the state after it."""
        filtered, state = self(x.unsqueeze(1), state)
        return filtered.squeeze(1), state

    @abstractmethod
    def dynamics(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step: filtered ``x`` (B, N), and the state after it."""

    @abstractmethod
    def initial_state(self, batch: int, size: int, device: torch.device, dtype: torch.dtype) -> Any:
        """Zero."""


class _TimeConstant(Synapse):
    """A synapse with one time constant ``tau``, fixed or learnable."""

    def __init__(self, tau: float, dt: float, learnable: bool) -> None:
        if not 0 < tau < math.inf:
            raise ValueError(f"tau must be positive and finite, not {tau}")
        super().__init__(dt)
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau))) if learnable else None
        self._tau = tau

    @property
    def tau(self) -> float:
        """Time constant in seconds, as it is now."""
        return self._tau if self.log_tau is None else float(self.log_tau.detach().exp())

    def ratio(self, like: Tensor) -> Tensor:
        """``dt / tau``, with a gradient where it is learnable."""
        if self.log_tau is None:
            return like.new_tensor(self.dt / self._tau)
        return (self.dt * torch.exp(-self.log_tau)).to(like)


class LowpassState(NamedTuple):
    """Filtered value (B, N)."""

    value: Tensor


class Lowpass(_TimeConstant):
    """First-order filter ``y_t = a y_{t-1} + (1 - a) x_t``, ``a = exp(-dt / tau)``.

    Raises:
        ValueError: ``tau`` or ``dt`` is not positive.
    """

    def __init__(self, tau: float, dt: float = 0.001, learnable: bool = False) -> None:
        super().__init__(tau, dt, learnable)

    def initial_state(self, batch: int, size: int, device: torch.device, dtype: torch.dtype) -> LowpassState:
        """Zero, (B, N)."""
        return LowpassState(torch.zeros(batch, size, device=device, dtype=dtype))

    def dynamics(self, x: Tensor, state: LowpassState) -> tuple[Tensor, LowpassState]:
        """See the class."""
        value = torch.lerp(x, state.value, torch.exp(-self.ratio(x)))
        return value, LowpassState(value)


class AlphaState(NamedTuple):
    """Values (B, N) after the first and after the second of two filters in a row."""

    first: Tensor
    value: Tensor


class Alpha(_TimeConstant):
    """Second-order filter ``1 / (tau s + 1)^2``, with ``h = dt / tau`` and ``a = exp(-h)``.

        y_t = a y_{t-1} + h a z_{t-1} + (1 - a - h a) x_t,  z_t = a z_{t-1} + (1 - a) x_t

    Raises:
        ValueError: ``tau`` or ``dt`` is not positive.
    """

    def __init__(self, tau: float, dt: float = 0.001, learnable: bool = False) -> None:
        super().__init__(tau, dt, learnable)

    def initial_state(self, batch: int, size: int, device: torch.device, dtype: torch.dtype) -> AlphaState:
        """Zero, (B, N) each."""
        zero = torch.zeros(batch, size, device=device, dtype=dtype)
        return AlphaState(zero, zero)

    def dynamics(self, x: Tensor, state: AlphaState) -> tuple[Tensor, AlphaState]:
        """See the class."""
        h = self.ratio(x)
        a = torch.exp(-h)
        value = a * state.value + h * a * state.first + (1 - a - h * a) * x
        return value, AlphaState(torch.lerp(x, state.first, a), value)


class LinearFilterState(NamedTuple):
    """State-space vector (B, N, order), in a unit of time that the filter chooses."""

    vector: Tensor


class LinearFilter(Synapse):
    """Any proper transfer function ``num(s) / den(s)``, highest power first, of time in seconds.

    In state space ``v' = A v + B x``, ``y = C v + D x`` (controllable form), held over a step:
    ``v_t = exp(A dt) v_{t-1} + A^-1 (exp(A dt) - I) B x_t``, ``y_t = C v_t + D x_t``. With a direct part D, ``y_t`` is
    taken before the update, as Nengo does. With ``learnable`` all its time constants learn together: the filter is
    ``num(c s) / den(c s)``, with a factor ``c = exp(log_stretch)`` that begins at 1.

    Raises:
        ValueError: ``num`` is empty or of higher order than ``den``, a coefficient is not finite, the first of ``den``
            is zero, or ``dt`` is not positive.
    """

    system: Tensor
    transition: Tensor
    drive: Tensor
    readout: Tensor

    def __init__(self, num: Sequence[float], den: Sequence[float], dt: float = 0.001, learnable: bool = False) -> None:
        super().__init__(dt)
        if not all(map(math.isfinite, (*num, *den))):
            raise ValueError(f"num {list(num)} and den {list(den)} must be finite")
        if len(den) < 1 or den[0] == 0:
            raise ValueError(f"den must begin with a coefficient other than zero, not {list(den)}")
        if not 1 <= len(num) <= len(den):
            raise ValueError(f"num must have 1 to {len(den)} coefficients, as many as den at most, not {len(num)}")
        order = len(den) - 1
        # In a unit of time in which no coefficient is large; in seconds their powers would cost exp() its digits.
        pace = max((abs(c / den[0]) ** (1 / k) for k, c in enumerate(den) if k), default=0.0)
        unit = 2.0 ** round(math.log2(pace)) if pace else 1.0
        units = unit ** torch.arange(order + 1, dtype=torch.float64)
        below = (torch.tensor(den, dtype=torch.float64) / den[0] / units)[1:]
        above = torch.tensor([*[0.0] * (len(den) - len(num)), *num], dtype=torch.float64) / den[0] / units
        self.direct = float(above[0])
        system = torch.zeros(order + 1, order + 1, dtype=torch.float64)  # exp of [[A, B], [0, 0]] holds x over a step
        if order:
            system[0, :order] = -below
            system[0, order] = 1
            system[1:order, : order - 1] = torch.eye(order - 1, dtype=torch.float64)
        self.log_stretch = nn.Parameter(torch.zeros(())) if learnable else None
        self.register_buffer("system", system * (dt * unit), persistent=False)
        transition, drive = _hold_step(self.system)
        self.register_buffer("transition", transition)
        self.register_buffer("drive", drive)
        self.register_buffer("readout", above[1:] - self.direct * below)

    def initial_state(self, batch: int, size: int, device: torch.device, dtype: torch.dtype) -> LinearFilterState:
        """Zero, (B, N, order)."""
        return LinearFilterState(torch.zeros(batch, size, len(self.drive), device=device, dtype=dtype))

    def dynamics(self, x: Tensor, state: LinearFilterState) -> tuple[Tensor, LinearFilterState]:
        """See the class."""
        transition, drive = self.transition, self.drive
        if self.log_stretch is not None:
            transition, drive = _hold_step(self.system * torch.exp(-self.log_stretch.double()))
        vector = state.vector @ transition.to(x).mT + x.unsqueeze(-1) * drive.to(x)
        seen = state.vector if self.direct else vector
        return seen @ self.readout.to(x) + self.direct * x, LinearFilterState(vector)


def _hold_step(system: Tensor) -> tuple[Tensor, Tensor]:
    """``exp(A)`` and ``A^-1 (exp(A) - I) B`` of ``[[A, B], [0, 0]]``."""
    held = torch.linalg.matrix_exp(system)
    return held[:-1, :-1].clone(), held[:-1, -1].clone()
