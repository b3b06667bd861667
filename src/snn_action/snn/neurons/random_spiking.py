"""What neurons share that draw their spikes at random from the output of a rate neuron, their base (Nengo).

    r = output of the base,  n = random count of mean |r| dt,  output sign(r) n amplitude / dt

The sign is Nengo's rule for a base whose output may be negative. What is drawn is a pure function of the seed, the
clip, the neuron and the step (``random``): the same whether steps are taken one by one or all at once, and whatever
else is in the batch. In evaluation every clip is clip 0. In training each clip draws a number of its own from PyTorch's
global generator, so that noise differs from clip to clip and from epoch to epoch; ``seed`` tells layers apart.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from snn_action.snn.fused.ir import Equations
from snn_action.snn.masks import silence
from snn_action.snn.neurons.base import Neuron
from snn_action.snn.neurons.equations import Unit
from snn_action.snn.neurons.random import draw_uniform
from snn_action.snn.settings import Gradient, RandomSpikingSettings

STREAM_BITS = 31


class RandomSpikingState(NamedTuple):
    """The random stream of each neuron, clip times 2^31 plus index, and its steps so far, both (B, N) int64."""

    stream: Tensor
    step: Tensor


class RandomSpikingStateWithBase(NamedTuple):
    """``RandomSpikingState``, and that of a base which has one."""

    stream: Tensor
    step: Tensor
    base: Any


class RandomSpiking(Neuron):
    """Base of random spiking neurons, which write ``draw_counts``; modes ``rate`` and ``spike_aware``.

    There is no ``surrogate``: no membrane has a distance from a threshold.
    """

    gradients: ClassVar[tuple[Gradient, ...]] = ("rate", "spike_aware")
    settings: RandomSpikingSettings

    def make_parts(self) -> None:
        """The rate neuron."""
        self.base: Neuron = self.settings.base.build("rate")

    @abstractmethod
    def draw_counts(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """Whole random numbers (...) of that ``mean`` (...), from values ``uniform`` (...) in [0, 1)."""

    def equations(self, unit: Unit) -> Equations | None:
        """Of the rate alone: fused kernels have no integers to draw from."""
        return super().equations(unit) if unit == "rate_count" else None

    def dynamics(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step, computed as a sequence of one: spikes drawn at random from the output of the base."""
        spikes, state = self._run(current.unsqueeze(1), state, None)
        return spikes.squeeze(1), state

    def _run(self, current: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        """All steps at once, but for a base that has a state of its own."""
        if isinstance(state, RandomSpikingStateWithBase):
            rates, base = self.base(current, state.base, mask)
            state = state._replace(base=base)
        else:
            rates = self.base.rate(current)
        ones = torch.ones(1, current.shape[1], dtype=torch.long, device=current.device)
        real = (ones if mask is None else mask.long()).view(-1, current.shape[1], *(1,) * (current.ndim - 2))
        passed = real.cumsum(1)
        steps = state.step.unsqueeze(1) + (passed - real)
        clip, neuron = state.stream >> STREAM_BITS, state.stream & (2**STREAM_BITS - 1)
        uniform = draw_uniform(self.settings.seed, clip.unsqueeze(1), neuron.unsqueeze(1), steps)
        counts = self.draw_counts(rates.abs() * self.dt, uniform).to(rates.dtype)
        state = state._replace(step=state.step + passed[:, -1])
        return silence(counts * rates.sign(), mask) * (self.amplitude / self.dt), state

    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Any:
        """No step yet; clip 0 in evaluation, a clip of random number each in training."""
        draw = self.training and device.type != "meta"  # there a state is only laid out
        clips = torch.randint(2**STREAM_BITS, (batch,)) if draw else torch.zeros(batch, dtype=torch.long)
        index = torch.arange(torch.Size(shape).numel(), device=device).view(*shape)
        stream = (clips.to(device) << STREAM_BITS).view(-1, *(1,) * len(shape)) + index
        base = self.base.initial_state(batch, shape, device, dtype)
        step = torch.zeros_like(stream)
        return RandomSpikingStateWithBase(stream, step, base) if base else RandomSpikingState(stream, step)

    def rate(self, current: Tensor) -> Tensor:
        """``amplitude`` times the rate of the base."""
        return self.base.rate(current) * self.amplitude

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the base."""
        return self.base.gain_bias(max_rates, intercepts)
