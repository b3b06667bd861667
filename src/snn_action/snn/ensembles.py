"""Ensembles of neurons with PyTorch's own operations, some after others, so that memory stays small.

An ensemble's neurons get the current ``e v + b`` of the value ``v`` that it stands for, ``e`` the encoder times the
gain; its decoded value is the sum of decoders times spikes. Values have D dimensions, decoded values F.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from snn_action.snn.counting import Connection, count_as, is_counting
from snn_action.snn.decoders import solve_decoders
from snn_action.snn.fused import autograd
from snn_action.snn.fused import ensemble_array as fused
from snn_action.snn.fused.ir import Equations
from snn_action.snn.neurons.base import Neuron, check_finite
from snn_action.snn.settings import Gradient

CHUNK_VALUES = 2**21  # values of a (B, T, chunk, N) tensor: 8 MiB in float32


def run_ensembles(
    neuron: Neuron, mask: Tensor | None, state: Any, values: Tensor, encoders: Tensor, bias: Tensor, decoders: Tensor
) -> tuple[Tensor, Tensor, Any]:
    """Decoded values (B, T, e) or (B, T, e, F), spikes (B,) and state (B, e, N) of ``e`` ensembles.

    Args:
        neuron: Of all ensembles.
        mask: True on real steps (B, T); None: all.
        state: Of the neurons, before the first step.
        values: (B, T, e), or (B, T, e, D).
        encoders: Gain times encoder, (e, N), or (e, N, D).
        bias: Bias current (e, N).
        decoders: (e, N), or (e, N, F).
    """

    def tell() -> list[Connection]:
        sizes = encoders.shape[2:].numel(), decoders.shape[1]
        entered = Connection(values, encoders, 1, "encoders", sizes[0], bias)
        fired = Connection(spikes, decoders, None if encoders.ndim == 2 else 2, "decoders", sizes[1])
        return [entered, *([] if neuron.spiking else [fired])]

    with count_as(tell):
        spikes, state = neuron(drive(values, encoders, bias), state, mask)
        if encoders.ndim == 2:
            decoded = (spikes * decoders).sum(-1)
        else:
            decoded = torch.einsum("bten,enf->btef", spikes, decoders)
    return decoded, neuron.count_all(spikes, (1, 2, 3)), state


def drive(values: Tensor, encoders: Tensor, bias: Tensor) -> Tensor:
    """Currents (B, T, e, N) of the neurons; see ``run_ensembles``."""
    if encoders.ndim == 2:
        return torch.addcmul(bias, values.unsqueeze(-1), encoders)
    return torch.einsum("bted,end->bten", values, encoders) + bias


def run_in_chunks(
    neuron: Neuron, mask: Tensor | None, state: Any, values: Tensor, encoders: Tensor, bias: Tensor, decoders: Tensor
) -> tuple[Tensor, Tensor, Any]:
    """``run_ensembles``, a chunk after another where they are many; gradients to all tensors but the state."""
    inputs = values, encoders, bias, decoders
    if len(split_ensembles(values, bias.shape[1])) == 1:
        return run_ensembles(neuron, mask, state, *inputs)
    decoded, spikes, *after = _Chunked.apply(neuron, mask, state, *inputs, *neuron.parameters())  # type: ignore[no-untyped-call]
    return decoded, spikes, _build(state, iter(after))


def split_ensembles(values: Tensor, n_neurons: int) -> list[slice]:
    """Chunks of the ensembles of ``values`` (B, T, E, ...), so that (B, T, chunk, N) has at most ``CHUNK_VALUES``."""
    batch, steps, ensembles = values.shape[:3]
    size = max(1, CHUNK_VALUES // max(1, batch * steps * n_neurons))
    return [slice(start, min(start + size, ensembles)) for start in range(0, ensembles, size)]


class _Chunked(torch.autograd.Function):
    """All ensembles, one chunk after another; the backward pass computes each chunk again.

    Results are written where they belong: were each chunk to leave tensors of its own behind, they would lie between
    the large ones and keep the allocator from using that memory again (20 GiB at the original's size). No gradient
    runs through the states.
    """

    @staticmethod
    def forward(ctx: Any, neuron: Neuron, mask: Tensor | None, state: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        values, *weights = inputs[:4]
        decoders = weights[2]
        decoded = values.new_empty(*values.shape[:3], *decoders.shape[2:])
        spikes = values.new_zeros(len(values))
        before = _flatten(state)
        after = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in before]
        for chunk in split_ensembles(values, decoders.shape[1]):
            part = run_ensembles(
                neuron,
                mask,
                _build(state, iter([tensor[:, chunk] for tensor in before])),
                values[:, :, chunk],
                *(weight[chunk] for weight in weights),
            )
            decoded[:, :, chunk] = part[0]
            spikes += part[1]
            for whole, tensor in zip(after, _flatten(part[2]), strict=True):
                whole[:, chunk] = tensor
        ctx.neuron, ctx.mask, ctx.like = neuron, mask, state
        ctx.save_for_backward(*inputs, *before)
        ctx.mark_non_differentiable(*after)
        return decoded, spikes, *after

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        every = list(ctx.neuron.parameters())
        own = [parameter for parameter in every if parameter.requires_grad]
        values, *weights = ctx.saved_tensors[:4]
        before = ctx.saved_tensors[4 + len(every) :]
        if autograd.is_asked():  # of all ensembles at once: every chunk's operations are kept in any case
            state = _build(ctx.like, iter(before))

            def replay(*leaves: Tensor) -> tuple[Tensor, Tensor]:
                return run_ensembles(ctx.neuron, ctx.mask, state, *leaves)[:2]

            return None, None, None, *autograd.differentiate(replay, ctx.saved_tensors[:4], grads[:2], own=every)
        totals = [torch.zeros_like(tensor) for tensor in (values, *weights, *own)]
        for chunk in split_ensembles(values, weights[2].shape[1]):
            places = [totals[0][:, :, chunk], *(total[chunk] for total in totals[1:4]), *totals[4:]]
            leaves = [values[:, :, chunk], *(weight[chunk] for weight in weights)]
            leaves = [leaf.detach().requires_grad_() for leaf in leaves]
            state = _build(ctx.like, iter([tensor[:, chunk] for tensor in before]))
            with torch.enable_grad():
                decoded, spikes, _ = run_ensembles(ctx.neuron, ctx.mask, state, *leaves)
            parts = torch.autograd.grad(
                (decoded, spikes), [*leaves, *own], (grads[0][:, :, chunk], grads[1]), allow_unused=True
            )
            for place, part in zip(places, parts, strict=True):
                if part is not None:
                    place += part
        of_own = iter(totals[4:])
        return None, None, None, *totals[:4], *(next(of_own) if one.requires_grad else None for one in every)


def _flatten(state: Any) -> list[Tensor]:
    """The tensors of a state, through nested NamedTuples."""
    return [state] if isinstance(state, Tensor) else [tensor for part in state for tensor in _flatten(part)]


def _build(like: Any, tensors: Any) -> Any:
    """A state as ``like`` of the next of ``tensors``."""
    if isinstance(like, Tensor):
        return next(tensors)
    build: Callable[..., Any] = type(like)
    return build(*(_build(part, tensors) for part in like))


class Parts(NamedTuple):
    """Encoders (E, N) or (E, N, D), gain and bias (E, N), decoders (E, N) or (E, N, F), and two units.

    Gains and biases are in units of ``current``, which lifts a neuron from silence to the mean maximal rate ``rate``,
    and decoders in units of the inverse of that rate: all are near 1, so that one learning rate suits all.
    """

    encoders: Tensor
    gain: Tensor
    bias: Tensor
    decoders: Tensor
    current: float
    rate: float


def draw_parts(
    neuron: Neuron,
    n_ensembles: int,
    n_neurons: int,
    dimensions: int,
    max_rates: tuple[float, float],
    intercepts: tuple[float, float],
    function: Callable[[Tensor], Tensor],
) -> Parts:
    """Encoders, maximal rates and intercepts drawn by PyTorch's generator; decoders solved for ``function``.

    Raises:
        ConfigError: the neuron cannot reach a rate.
    """
    shape = (n_ensembles, n_neurons)
    rates = torch.empty(shape).uniform_(*max_rates)
    starts = torch.empty(shape).uniform_(*intercepts)
    if dimensions == 1:
        encoders = torch.randint(0, 2, shape).to(rates) * 2 - 1
    else:
        encoders = F.normalize(torch.randn(*shape, dimensions), dim=-1)
    gain, bias = neuron.gain_bias(rates, starts)
    rate = sum(max_rates) / 2
    current = float(neuron.gain_bias(torch.tensor([rate]), torch.zeros(1))[0])
    decoders = solve_decoders(neuron.tuning, scale(gain, encoders), bias, function)
    return Parts(encoders, gain / current, bias / current, decoders * rate, current, rate)


def scale(gain: Tensor, encoders: Tensor) -> Tensor:
    """Gains (E, N) times encoders, (E, N) or (E, N, D)."""
    return gain * encoders if encoders.ndim == 2 else gain.unsqueeze(-1) * encoders


def check_currents(values: Tensor, gain: Tensor, bias: Tensor, first: int = 0) -> None:
    """Check ``values`` (B, T, E) and their currents, of which only the kernel knows: one pass, where all is well.

    Raises:
        ValueError: as ``check_finite``.
    """
    if values.device.type != "cpu" and not torch.is_anomaly_enabled():
        return
    values, gain, bias = values.detach(), gain.detach(), bias.detach()
    low, high = values.aminmax()
    if not bool((torch.maximum(-low, high) * gain.abs().max() + bias.abs().max()).isfinite()):
        check_finite(values, "value of ensemble", first)
        check_finite(torch.addcmul(bias, values.unsqueeze(-1), gain), "current of neuron", first)


class Plan(NamedTuple):
    """Mode and equations with which the fused kernel does what is asked now."""

    mode: Gradient
    equations: Equations
    rates: Equations | None


def plan_fused(neuron: Neuron, x: Tensor, state: Any, dimensions: int, training: bool) -> Plan | None:
    """How the fused kernel runs ensembles on input ``x`` (B, T, ...) from ``state``; None where it cannot."""
    if dimensions > 1 or neuron.signed or is_counting() or x.dtype != torch.float32:
        return None  # of a signed neuron the kernel would add up spikes with their signs
    if any(not isinstance(tensor, Tensor) or tensor.requires_grad for tensor in state):
        return None
    mode: Gradient = "surrogate"  # that of a rate neuron too: back through time as its steps are
    if neuron.spiking and neuron.gradient == "rate" and training:
        mode = "rate"
    elif neuron.spiking and neuron.gradient != "surrogate" and torch.is_grad_enabled():
        mode = "spike_aware"
    equations = neuron.equations("count")
    rates = None if mode == "surrogate" else neuron.equations("rate_count")
    if equations is None or (rates is None and mode != "surrogate") or not fused.is_available(x):
        return None
    return Plan(mode, equations, rates)
