"""Stacked parallel Legendre Memory Units (Chilkuri and Eliasmith 2021), with residuals and normalization between them.

    h0_t = W_in x_t + b_in                                      (units)
    block l = 1, ..., layers:
        n_t = norm(h_t)                                         of the block below, over features
        u_t = W_u n_t                                           (memory_d)
        m_t = A m_{t-1} + B u_t                                 (memory_d, order): ``legendre``
        h_t = h_t + dropout(tanh(W_m m_t + W_x n_t + b))        (units), h of this block
    logits_t = W_out dropout(norm(h_t)) + c

``norm`` is layer normalization, ``g (h - mean) / deviation + o`` with mean and deviation over the features of one step,
never over steps: nothing comes from later ones, and a step gives the same alone as in its clip. ``W_x``
(``input_to_hidden``) may be absent. A block adds to what the block below gave, so that the last readout sees all of
them. Each block's memory reads what the block below made of its own, so ``layers`` memories in a row reach back
``layers`` times theta.

Nothing feeds back into a memory: over a clip each block is one convolution and matrix products, and streaming is one
small step a block.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from snn_action.models.base import InputStandardizer, TemporalModel, drop, perturb
from snn_action.models.lmu import glorot
from snn_action.models.settings import Input, Scaling, StackedLMUSettings
from snn_action.snn.legendre import LegendreMemory
from snn_action.snn.settings import Discretizer, Trained


class BlockState(NamedTuple):
    """Memory (B, memory_d, order)."""

    memory: Tensor


class StackedLMUState(NamedTuple):
    """Of each block, the lowest first."""

    blocks: tuple[BlockState, ...]


class Block(nn.Module):
    """One parallel LMU on normalized input; see the module. Glorot's uniform initialization, zero biases."""

    def __init__(self, settings: StackedLMUSettings) -> None:
        super().__init__()
        s = settings
        size = s.memory_d * s.order
        self.share = s.dropout
        self.norm = nn.LayerNorm(s.units)
        self.encoder = nn.Linear(s.units, s.memory_d, bias=False)
        self.memory = LegendreMemory(s.order, s.theta, s.discretizer, s.trained)
        self.memory_kernel = nn.Linear(size, s.units)
        self.input_kernel = nn.Linear(s.units, s.units, bias=False) if s.input_to_hidden else None
        glorot(self.encoder, s.units, s.memory_d)
        seen = size + (s.units if s.input_to_hidden else 0)
        glorot(self.memory_kernel, seen, s.units)
        nn.init.zeros_(self.memory_kernel.bias)
        if self.input_kernel is not None:
            glorot(self.input_kernel, seen, s.units)

    def forward(self, h: Tensor, state: BlockState, mask: Tensor | None) -> tuple[Tensor, BlockState]:
        """``h`` (B, T, units) of this block from that of the block below, and the state after the last real step."""
        normal = self.norm(h)
        memories, memory = self.memory(self.encoder(normal), state.memory, mask)
        return h + drop(self._activate(memories, normal), self.share, self.training), BlockState(memory)

    def step(self, h: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """``forward`` on one step (B, units): one small product in the place of the convolution, and no dropout."""
        normal = self.norm(h)
        memory = self.memory.step(self.encoder(normal), state.memory)
        return h + self._activate(memory, normal), BlockState(memory)

    def _activate(self, memory: Tensor, normal: Tensor) -> Tensor:
        total: Tensor = self.memory_kernel(memory.flatten(-2))
        return (total if self.input_kernel is None else total + self.input_kernel(normal)).tanh()


class StackedLMU(TemporalModel):
    """A stack of parallel LMUs, each of which adds to the one below: ``h_t = h_t + tanh(W_m m_t + W_x n_t + b)``."""

    Settings = StackedLMUSettings
    settings: StackedLMUSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            in_features: int,
            num_classes: int,
            *,
            inputs: tuple[Input, ...] = ("features",),
            lags: tuple[int, ...] = (1,),
            windows: tuple[int, ...] = (4, 8, 16),
            scaling: Scaling = "global",
            normalize: bool = False,
            units: int = 128,
            order: int = 4,
            theta: float = 28.0,
            memory_d: int = 128,
            discretizer: Discretizer = "zoh",
            trained: Trained = "none",
            input_to_hidden: bool = True,
            input_dropout: float = 0.0,
            input_noise: float = 0.0,
            dropout: float = 0.3,
            layers: int = 2,
            settings: StackedLMUSettings | None = None,
        ) -> None: ...

    def make_parts(self) -> None:
        """See the class."""
        s = self.settings
        self.standardizer = InputStandardizer(self.in_features, s.scaling, s.normalize)
        self.entry = nn.Linear(self.in_features, s.units)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.norm = nn.LayerNorm(s.units)
        self.readout = nn.Linear(s.units, self.num_classes)
        for layer, fan_in, fan_out in (
            (self.entry, self.in_features, s.units),
            (self.readout, s.units, self.num_classes),
        ):
            glorot(layer, fan_in, fan_out)
            nn.init.zeros_(layer.bias)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> StackedLMUState:
        """Empty memories."""
        s = self.settings
        shape = batch, s.memory_d, s.order
        return StackedLMUState(tuple(BlockState(torch.zeros(shape, device=device, dtype=dtype)) for _ in self.blocks))

    def forward_steps(self, x: Tensor, state: StackedLMUState, mask: Tensor | None) -> tuple[Tensor, StackedLMUState]:
        """Logits of all steps, and the state after them, block by block."""
        s = self.settings
        if self.training:
            x = perturb(x, s.input_dropout, s.input_noise)
        h = self.entry(x)
        after = []
        for block, before in zip(self.blocks, state.blocks, strict=True):
            h, new = block(h, before, mask)
            after.append(new)
        return self.readout(drop(self.norm(h), s.dropout, self.training)), StackedLMUState(tuple(after))

    def step_once(self, x: Tensor, state: StackedLMUState) -> tuple[Tensor, StackedLMUState]:
        """One step, as in evaluation: what is dropped is one draw a clip, which a single step cannot know."""
        h = self.entry(x)
        after = []
        for block, before in zip(self.blocks, state.blocks, strict=True):
            h, new = block.step(h, before)  # type: ignore[operator]
            after.append(new)
        return self.readout(self.norm(h)), StackedLMUState(tuple(after))
