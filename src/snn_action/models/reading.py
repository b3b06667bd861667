"""From the input by way of the Legendre memory to hidden units, for every LMU whose memory is a linear filter.

    u_t = W_u x_t                                       (memory_d)
    m_t = A m_{t-1} + B u_t                             (memory_d, order)
    z_t = W_m m_t + W_x x_t + b                         (units)

With ``input_threshold`` x, with ``memory_threshold`` m reach the weights behind them as changes (``transmission``).
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from snn_action.models.settings import ReaderSettings
from snn_action.models.transmission import Received, start, transmit, transmit_once
from snn_action.snn.legendre import LegendreMemory

INPUT, MEMORY = "sent input", "sent memory"  # of senders, for whoever counts


class Reader(Protocol):
    """What such a model has."""

    settings: Any
    encoder: nn.Linear
    memory: LegendreMemory
    memory_kernel: nn.Linear
    input_kernel: nn.Linear | None


class Sent(Protocol):
    """What such a model's state has."""

    @property
    def memory(self) -> Tensor:
        """Of each value, (B, memory_d, order)."""

    @property
    def sent_input(self) -> Received | None:
        """What was received of the input, where it is sent as changes."""

    @property
    def sent_memory(self) -> Received | None:
        """The same of the memory."""


def start_receivers(
    model: Reader, settings: ReaderSettings, batch: int, device: torch.device, dtype: torch.dtype
) -> tuple[Received | None, Received | None]:
    """What was received of input and memory before the first step; None: it is not sent as changes."""
    given = settings.input_threshold is not None, settings.memory_threshold is not None
    layers = _entrances(model), (model.memory_kernel,)
    sent = (start(batch, behind, device, dtype) if coded else None for coded, behind in zip(given, layers, strict=True))
    return next(sent), next(sent)


def enter_memory(
    model: Reader, x: Tensor, state: Sent, mask: Tensor | None
) -> tuple[Tensor, Tensor | None, Received | None]:
    """``u`` (B, T, memory_d) and ``W_x x`` (B, T, units) of the input ``x`` (B, T, D), and what was received of it."""
    (u, *push), sent = transmit(x, state.sent_input, mask, model.settings.input_threshold, INPUT, *_entrances(model))
    return u, push[0] if push else None, sent


def leave_memory(
    model: Reader, memories: Tensor, push: Tensor | None, state: Sent, mask: Tensor | None
) -> tuple[Tensor, Received | None]:
    """``z`` (B, T, units) of memories (B, T, memory_d, order), and what was received of them."""
    threshold = model.settings.memory_threshold
    (z,), sent = transmit(memories.flatten(2), state.sent_memory, mask, threshold, MEMORY, model.memory_kernel)
    return z if push is None else z + push, sent


def read(
    model: Reader, x: Tensor, state: Sent, mask: Tensor | None
) -> tuple[Tensor, Tensor, Received | None, Received | None]:
    """The memory after each clip's last real step, z (B, T, units), and what was received of input and memory."""
    u, push, sent_input = enter_memory(model, x, state, mask)
    memories, memory = model.memory(u, state.memory, mask)
    z, sent_memory = leave_memory(model, memories, push, state, mask)
    return memory, z, sent_input, sent_memory


def read_once(model: Reader, x: Tensor, state: Sent) -> tuple[Tensor, Tensor, Received | None, Received | None]:
    """``read`` of one step ``x`` (B, D), z being (B, units); the memory is one small product."""
    thresholds = model.settings.input_threshold, model.settings.memory_threshold
    (u, *push), sent_input = transmit_once(x, state.sent_input, thresholds[0], INPUT, *_entrances(model))
    memory = model.memory.step(u, state.memory)
    (z,), sent_memory = transmit_once(memory.flatten(1), state.sent_memory, thresholds[1], MEMORY, model.memory_kernel)
    return memory, z + push[0] if push else z, sent_input, sent_memory


def _entrances(model: Reader) -> tuple[nn.Linear, ...]:
    return (model.encoder,) if model.input_kernel is None else (model.encoder, model.input_kernel)
