"""Encoders: networks from frames, or from what a frozen network made of them, to features; trained with what follows.

An encoder takes ``(B, T, D)`` as a temporal model does, each step a frame or an activation that was laid flat, and
gives features ``(B, T, E)``. Most see each frame alone; one that spikes carries a state from frame to frame.

Memory: the network is run on some frames at a time. While it trains, ``recompute`` keeps of each such part its input
alone, and goes forward again when gradients are asked for (Chen et al. 2016).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from snn_action.models.populations import Population, Synapses


class Encoder(nn.Module, ABC):
    """The contract of encoders.

    Args:
        shape: Of one frame, or of what a frozen network made of it: ``(C, H, W)``, say.
        feature_dim: E of the features ``(B, T, E)``.
        mean: Of each channel of RGB / 255, which is subtracted; None: the input is no image of numbers up to 255.
        std: Of each channel, by which this is divided.
        is_drawn: Its weights are drawn, not learned.

    Attributes:
        frames_together: Frames that go through it at once; see the module.
        recompute: In training, keep the input of each such part alone.
        populations: Of spiking neurons, in the order of the state's fields ``spikes``.
        synapses: Behind them, see ``TemporalModel``.
    """

    populations: tuple[Population, ...] = ()
    synapses: tuple[Synapses, ...] = ()

    def __init__(
        self,
        shape: Sequence[int],
        feature_dim: int,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] = (1.0,),
        is_drawn: bool = False,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.feature_dim = feature_dim
        self.is_drawn = is_drawn
        self.is_image = mean is not None
        self.frames_together = 64
        self.recompute = False
        self.register_buffer("mean", torch.tensor(mean or (0.0,)).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    def normalize(self, frames: Tensor) -> Tensor:
        """Frames ``(N, D)`` in their shape ``(N, C, H, W)``, images as ``(x / 255 - mean) / std``."""
        frames = frames.view(len(frames), *self.shape)
        return (frames / 255 - self.mean) / self.std if self.is_image else frames

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Any:
        """The state before a clip's first frame, of tensors with the batch first; ``()`` where there is none."""

    @abstractmethod
    def forward(self, x: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        """Features ``(B, T, E)`` of ``x`` (B, T, D), and the state after each clip's last real step.

        Padded steps, where ``mask`` (B, T) is false, change nothing.
        """

    def run_part(self, function: Any, *given: Any) -> Any:
        """``function`` of some frames, forgotten and done again for gradients where ``recompute`` says so."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return function(*given)
        return checkpoint(function, *given, use_reentrant=False, context_fn=self._make_contexts)

    def _make_contexts(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), keep_statistics(self)


class FrameEncoder(Encoder):
    """A network that sees each frame alone: ``network`` from ``(N, *shape)`` to ``(N, E)``."""

    def __init__(self, network: nn.Module, shape: Sequence[int], feature_dim: int, **options: Any) -> None:
        super().__init__(shape, feature_dim, **options)
        self.network = network

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Any:
        """None of its own."""
        del batch, device, dtype
        return ()

    def forward(self, x: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        """See the contract. Real frames alone go through the network."""
        real = x.flatten(0, 1) if mask is None else x[mask]
        whole = self.training and not self.recompute
        parts = [real] if whole else real.tensor_split(max(1, math.ceil(len(real) / self.frames_together)))
        found = torch.cat([self.run_part(self._encode, part) for part in parts])
        if mask is None:
            return found.view(*x.shape[:2], -1), state
        return found.new_zeros(*mask.shape, found.shape[-1]).index_put((mask,), found), state

    def _encode(self, frames: Tensor) -> Tensor:
        images = self.normalize(frames)
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        with nullcontext() if len(frames) > 1 else use_statistics(self.network):
            return self.network(images).flatten(1).to(frames.dtype)  # type: ignore[no-any-return]


@contextmanager
def use_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, batch normalization uses its running statistics: those of a single frame may not exist."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


@contextmanager
def keep_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, batch normalization computes as ever and leaves its running statistics as they are."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted


def join_clips(states: Sequence[Any]) -> Any:
    """States of several streams (or parts of a batch) as one, whose batch holds them one after another."""
    first = states[0]
    if len(states) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(states))
    return _like(first, [join_clips(values) for values in zip(*states, strict=True)])


def split_clips(state: Any, parts: int) -> tuple[Any, ...]:
    """The opposite of ``join_clips``, for parts of equal size."""
    if parts == 1:
        return (state,)
    if isinstance(state, Tensor):
        return state.chunk(parts)
    values = [split_clips(value, parts) for value in state]
    return tuple(_like(state, [value[part] for value in values]) for part in range(parts))


def _like(state: Any, values: Sequence[Any]) -> Any:
    return type(state)(*values) if hasattr(state, "_fields") else tuple(values)


def take_clips(state: Any, clips: slice) -> Any:
    """Some clips of a state, through nested NamedTuples of batch-first tensors."""
    if isinstance(state, Tensor):
        return state[clips]
    return _like(state, [take_clips(value, clips) for value in state])
