"""The contract of neurons: currents ``(B, T, N)`` to spikes ``(B, T, N)``, each ``amplitude / dt`` high (Nengo)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from snn_action.errors import ConfigError
from snn_action.neurons.surrogate import SurrogateName, pass_gradient
from snn_action.registry import Settings

Gradient = Literal["rate", "spike_aware", "surrogate"]


class NeuronSettings(Settings):
    """What every neuron can be asked."""

    type: str
    dt: float = Field(0.001, gt=0, description="Length of a time step in seconds")


class SpikingSettings(NeuronSettings):
    """What every neuron that spikes can be asked."""

    amplitude: float = Field(1.0, gt=0, description="Area of one spike")
    initial_voltage: Literal["zero", "uniform"] = Field(
        "zero", description="Voltage at a clip's start; 'uniform': each neuron its own in [0, 1), drawn from 'seed'"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Of everything that the neuron draws")
    surrogate: SurrogateName = Field("arctan", description="Derivative of a spike in gradient mode 'surrogate'")


class Neuron(nn.Module, ABC):
    """Base of all neurons.

    A neuron writes ``advance``, ``initial_state``, ``rate`` and ``gain_bias``; how gradients flow is decided here:

    - ``rate``: rates in training (state stays as it is), spikes in evaluation;
    - ``spike_aware``: spikes forward, the derivative of ``rate`` backward, none through the state;
    - ``surrogate``: spikes forward, backward through time as ``advance`` defines it.

    A rate neuron (``spiking`` false) has the one mode ``rate``, and its output is that of ``advance``.

    State is a NamedTuple of tensors with the batch first. Neurons may lie along several axes, ``(B, T, E, N)``.
    """

    gradients: ClassVar[tuple[Gradient, ...]] = ("rate", "spike_aware", "surrogate")
    spiking: ClassVar[bool] = True

    def __init__(self, gradient: Gradient, dt: float, amplitude: float = 1.0) -> None:
        if gradient not in self.gradients:
            known = ", ".join(self.gradients)
            raise ConfigError(f"{type(self).__name__} has no gradient mode {gradient!r}; it has {known}")
        super().__init__()
        self.gradient = gradient
        self.dt = dt
        self.amplitude = amplitude

    def forward(self, current: Tensor, state: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        """Spikes ``(B, T, N)`` of ``current`` (B, T, N), and the state after the last step where ``mask`` is true.

        Args:
            current: Input current (B, T, N), in the units of ``gain_bias``.
            state: State before the first step; None: ``initial_state``.
            mask: (B, T), true on real steps; the others leave the state as it is.

        Raises:
            ValueError: a wrong shape.
        """
        if current.ndim < 3 or current.shape[1] < 1:
            raise ValueError(f"current must be (batch, at least one step, neurons), not {tuple(current.shape)}")
        if mask is not None and mask.shape != current.shape[:2]:
            raise ValueError(f"mask must have shape {tuple(current.shape[:2])}, not {tuple(mask.shape)}")
        if state is None:
            state = self.initial_state(current.shape[0], current.shape[2:], current.device, current.dtype)
        else:
            check_state(state, current)
        if self.gradient == "rate" and self.training and self.spiking:
            return self.rate(current), state
        if self.gradient == "surrogate" or not self.spiking or not torch.is_grad_enabled():
            return self._run(current, state, mask)
        with torch.no_grad():
            spikes, state = self._run(current, state, mask)
        return pass_gradient(spikes, self.rate(current)), state

    def step(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """``forward`` on one time step: spikes (B, N) of ``current`` (B, N), and the state after it."""
        spikes, state = self(current.unsqueeze(1), state)
        return spikes.squeeze(1), state

    def count(self, spikes: Tensor) -> Tensor:
        """How many spikes stand for the output ``spikes``: ``spikes dt / amplitude``."""
        return spikes * (self.dt / self.amplitude)

    def _run(self, current: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        spikes = []
        for t, now in enumerate(current.unbind(1)):
            spike, new = self.advance(now, state)
            state = new if mask is None else hold(new, state, mask[:, t])
            spikes.append(spike)
        return torch.stack(spikes, 1), state

    @abstractmethod
    def advance(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of the equations, without regard to the gradient mode: spikes (B, N) and the state after it."""

    @abstractmethod
    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Any:
        """The state before a clip's first step, of neurons that lie along the axes ``shape``."""

    @abstractmethod
    def rate(self, current: Tensor) -> Tensor:
        """Output ``(...)`` averaged over time at a constant ``current`` (...): amplitude times spikes a second."""

    @abstractmethod
    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and bias with which ``gain x + bias`` starts spikes at ``intercepts`` and gives ``max_rates`` at x = 1.

        Raises:
            ValueError: a rate or an intercept is out of range.
        """


def draw_voltage(
    settings: SpikingSettings, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Voltages (B, ...) at a clip's start: zero, or one random value in [0, 1) a neuron, the same in every clip."""
    if settings.initial_voltage == "zero":
        return torch.zeros(batch, *shape, device=device, dtype=dtype)
    generator = torch.Generator().manual_seed(settings.seed)
    return torch.rand(*shape, generator=generator).to(device, dtype).expand(batch, *shape)


def check_state(state: Any, current: Tensor) -> None:
    """Check that each tensor of a state is of the batch and the neurons of ``current`` (B, T, ...).

    Raises:
        ValueError: one is not; its name is given.
    """
    batch, shape = current.shape[0], current.shape[2:]
    for name, tensor in zip(getattr(state, "_fields", ()), state, strict=False):
        if isinstance(tensor, Tensor):
            if tensor.shape[0] != batch or (tensor.ndim > 1 and tensor.shape[-len(shape) :] != shape):
                wanted = f"{batch} clips of {tuple(shape)} neurons"
                raise ValueError(f"state.{name} has shape {tuple(tensor.shape)}, which is not that of {wanted}")
        else:
            check_state(tensor, current)


def check_rates(max_rates: Tensor, intercepts: Tensor) -> None:
    """Check what every ``gain_bias`` needs.

    Raises:
        ValueError: a maximal rate is not positive and finite, or an intercept is not in [-1, 1).
    """
    if not bool((max_rates.isfinite() & (max_rates > 0)).all()):
        raise ValueError("max_rates must be positive and finite")
    if not bool(((intercepts >= -1) & (intercepts < 1)).all()):
        raise ValueError("intercepts must be in [-1, 1)")


def hold(new: Any, old: Any, real: Tensor) -> Any:
    """``new`` where ``real`` (B,) is true and ``old`` elsewhere, through nested NamedTuples of batch-first tensors."""
    if isinstance(new, Tensor):
        return torch.where(real.view(-1, *(1,) * (new.ndim - 1)), new, old)
    held = [hold(n, o, real) for n, o in zip(new, old, strict=True)]
    return type(new)(*held) if hasattr(new, "_fields") else tuple(held)
