"""An ensemble array of spiking rectified linear neurons, fused over time: one function, its gradients, its dispatch.

Only tensors ``(B, T, E)`` and ``(E, N)`` are made, and the voltages (B, E, N) once; none has B x T x E x N entries.
"""

import logging
from functools import cache
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

logger = logging.getLogger(__name__)

Mode = Literal["rate", "spike_aware", "surrogate"]


class Fused(NamedTuple):
    """Decoded values (B, T, E), spikes of each clip (B,), voltages (B, E, N) after each clip's last real step."""

    decoded: Tensor
    spikes: Tensor
    voltage: Tensor


def is_available(values: Tensor) -> bool:
    """Whether ``run`` takes such ``values`` (B, T, E): on the CPU, in float32, of clips enough to fill a vector."""
    return values.device.type == "cpu" and values.dtype == torch.float32 and len(values) >= 8


def run(
    values: Tensor,
    gain: Tensor,
    bias: Tensor,
    decoders: Tensor,
    voltage: Tensor,
    mask: Tensor | None = None,
    mode: Mode = "spike_aware",
    out: Tensor | None = None,
) -> Fused:
    """See ``cpu`` for the equations. Gradients go to the first four; none runs through voltages.

    Fastest where the memory of ``values`` lies as ``(E, T, B)``; what it returns lies so.

    Args:
        values: What each ensemble stands for, (B, T, E).
        gain: Gain times encoder, in thresholds a step (E, N).
        bias: Bias current, in thresholds a step (E, N).
        decoders: What one spike adds to the decoded value (E, N).
        voltage: Voltages in [0, 1) at the start (B, E, N).
        mask: True on real steps (B, T); on the others neurons get no current.
        mode: ``rate`` (rates in the place of spikes, voltages left), ``spike_aware`` or ``surrogate`` (arctan).
        out: Memory (E, N, B) for the voltages that are returned.

    Raises:
        ValueError: wrong shapes, or values that ``is_available`` does not admit.
    """
    if not is_available(values):
        raise ValueError(
            f"values must be float32 on the CPU, of 8 clips or more, not {values.dtype} on {values.device}"
        )
    batch, _, ensembles = values.shape
    if not gain.shape == bias.shape == decoders.shape or gain.shape[0] != ensembles:
        raise ValueError(
            f"gain, bias and decoders must be ({ensembles}, neurons), as values are of {ensembles} ensembles"
        )
    if voltage.shape != (batch, *gain.shape):
        raise ValueError(f"voltage must be {(batch, *gain.shape)}, not {tuple(voltage.shape)}")
    return Fused(*_Fused.apply(values, gain, bias, decoders, voltage, mask, mode, out))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        gain: Tensor,
        bias: Tensor,
        decoders: Tensor,
        voltage: Tensor,
        mask: Tensor | None,
        mode: Mode,
        out: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kernel = _load()
        x, weights, neurons = _lay(values), _pad(kernel, gain, bias, decoders), gain.shape[1]
        padded = weights[0].shape[1] - neurons
        padding = mask is not None and not bool(mask.all())
        real = mask.T.to(torch.float32).contiguous() if mask is not None and padding else values.new_zeros(0, 0)
        decoded, counts = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
        before = voltage if voltage.stride(0) else voltage[:1]  # the same in all clips
        before = (F.pad(before, (0, padded)) if padded else before).permute(1, 2, 0).contiguous()
        after = voltage.new_empty(*weights[0].shape, len(values)) if out is None or padded else out
        arguments = x, *weights, before, real
        kernel.forward(*_arrays(*arguments), mode == "rate", *_arrays(decoded, counts, after))
        ctx.mode, ctx.neurons = mode, neurons
        ctx.save_for_backward(*arguments)
        if out is not None and padded:
            after = out.copy_(after[:, :neurons])
        voltage = after.permute(2, 0, 1)[..., :neurons]
        ctx.mark_non_differentiable(voltage)
        return decoded.permute(2, 1, 0), counts.sum(0), voltage

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kernel = _load()
        x, gain, *rest = ctx.saved_tensors
        grad_x, grad_weights = torch.empty_like(x), gain.new_empty(3, *gain.shape)
        kernel.backward(
            *_arrays(x, gain, *rest),
            ctx.mode == "rate",
            ctx.mode == "surrogate",
            *_arrays(_lay(grads[0]), grads[1].contiguous().unsqueeze(0), grad_x, grad_weights),
        )
        return grad_x.permute(2, 1, 0), *grad_weights[..., : ctx.neurons].unbind(0), None, None, None, None


@cache
def _load() -> ModuleType:
    logger.info("loading fused kernels; the first time on a machine they are compiled, for about ten seconds")
    from snn_action.kernels import cpu

    return cpu


def _lay(values: Tensor) -> Tensor:
    """``(B, T, E)`` as a contiguous ``(E, T, B)``, without a copy where it lies so."""
    return values.permute(2, 1, 0).contiguous()


def _pad(kernel: ModuleType, *weights: Tensor) -> tuple[Tensor, ...]:
    """Silent neurons added, up to a multiple of those that a kernel takes together."""
    missing = -weights[0].shape[1] % kernel.NEURONS_MULTIPLE
    return tuple((F.pad(weight, (0, missing)) if missing else weight).contiguous() for weight in weights)


def _arrays(*tensors: Tensor) -> list[np.ndarray[Any, Any]]:
    return [tensor.detach().numpy() for tensor in tensors]
