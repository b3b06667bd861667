"""Sliding parallel spiking neuron (Fang et al. 2023): a weighted window of past currents, without a membrane.

    H_t = sum_{i = 0 .. order - 1} W_i J_{t - i}              currents before a clip's start are zero
    s_t = 1 if H_t >= theta else 0,  output s_t amplitude / dt

No spike feeds back, so all steps of a sequence are computed at once; one weight a place in the window and the
threshold are learned. ``W_i = 2^-i`` and ``theta = 1`` at first. Source: Fang et al. 2023, "Parallel Spiking Neurons
with High Efficiency and Ability to Learn Long-term Dependencies".
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snn_action.core.errors import ConfigError
from snn_action.snn.masks import is_prefix, silence
from snn_action.snn.neurons.base import Neuron, OutputUnit
from snn_action.snn.neurons.equations import Unit
from snn_action.snn.neurons.surrogate import SURROGATES, Surrogate, attach
from snn_action.snn.settings import Gradient, SlidingPSNSettings, SurrogateName


class SlidingPSNState(NamedTuple):
    """The last ``order - 1`` currents (B, order - 1, N), the oldest first."""

    past: Tensor


def slide(window: Tensor, weights: Tensor) -> Tensor:
    """``H`` (B, T, ...) of currents ``window`` (B, order - 1 + T, ...), with ``weights`` (order,)."""
    last = len(weights) - 1
    steps = window.shape[1] - last
    membrane = weights[0] * window[:, last:]
    for i in range(1, len(weights)):
        membrane = membrane + weights[i] * window[:, last - i : last - i + steps]
    return membrane


def fire(membrane: Tensor, threshold: Tensor, surrogate: Surrogate) -> Tensor:
    """Spikes, 0 or 1, where ``membrane`` reaches ``threshold``; backward, the surrogate's at their difference."""
    distance = membrane - threshold
    spikes = (distance.detach() >= 0).to(membrane.dtype)
    if torch.is_grad_enabled() and distance.requires_grad:
        spikes = attach(spikes, distance, surrogate)
    return spikes


class SlidingPSN(Neuron):
    """Module around ``slide`` and ``fire``; mode ``surrogate`` only, as the neuron has no graded rate."""

    Settings = SlidingPSNSettings
    gradients: ClassVar[tuple[Gradient, ...]] = ("surrogate",)
    settings: SlidingPSNSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            amplitude: float = 1.0,
            order: int = 4,
            surrogate: SurrogateName = "arctan",
            settings: SlidingPSNSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def make_parts(self) -> None:
        """``weights`` of the window and ``threshold``."""
        self.weights = nn.Parameter(0.5 ** torch.arange(self.settings.order))
        self.threshold = nn.Parameter(torch.tensor(1.0))

    def equations(self, unit: Unit) -> None:  # noqa: ARG002 - the contract names it
        """None: all steps are one convolution over time."""
        return

    def dynamics(self, current: Tensor, state: SlidingPSNState) -> tuple[Tensor, SlidingPSNState]:
        """One step, computed as a sequence of one: ``s_t = 1 if H_t >= theta else 0``."""
        spikes, state = self._run(current.unsqueeze(1), state, None)
        return spikes.squeeze(1), state

    def _run(self, current: Tensor, state: SlidingPSNState, mask: Tensor | None) -> tuple[Tensor, SlidingPSNState]:
        lengths = None if mask is None else mask.sum(1)
        if lengths is not None and not is_prefix(mask, lengths):
            return super()._run(current, state, mask)  # real steps after others: the window skips those
        kept = self.settings.order - 1
        window = torch.cat([state.past, current], 1)
        spikes = fire(slide(window, self.weights), self.threshold, SURROGATES[self.settings.surrogate])
        if lengths is None:
            past = window[:, window.shape[1] - kept :]
        else:
            clips = torch.arange(len(window), device=window.device)
            places = lengths.unsqueeze(1) + torch.arange(kept, device=window.device)
            past = window[clips.unsqueeze(1), places]
        return silence(spikes, mask) * (self.amplitude / self.dt), SlidingPSNState(past)

    def initial_state(
        self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> SlidingPSNState:
        """No current yet."""
        return SlidingPSNState(torch.zeros(batch, self.settings.order - 1, *shape, device=device, dtype=dtype))

    def rate(self, current: Tensor) -> Tensor:  # noqa: ARG002 - the contract names it
        """Not defined.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("sliding_psn has no graded rate: at a constant current it fires in every step or in none")

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Not defined.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "sliding_psn has no gain and bias for a rate: at a constant current it fires in every step or in none"
        )
