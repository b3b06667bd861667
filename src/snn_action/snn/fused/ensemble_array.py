"""An ensemble array fused over time, for any neuron: one function, its gradients, its dispatch.

For each neuron, with the value ``x_t`` that its ensemble stands for,

    n_t, state_t = step(gain x_t + bias, state_{t-1}),  decoded_t = sum over neurons of decoder n_t

Only tensors ``(B, T, E)`` and ``(E, N)`` are made, and the states (B, E, N) once; none has B x T x E x N entries.
Backward passes compute the spikes again.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from snn_action.snn.fused import autograd, dispatch
from snn_action.snn.fused.inputs import ArrayInputs
from snn_action.snn.fused.ir import Equations, Step

Mode = Literal["rate", "spike_aware", "surrogate"]


class Fused(NamedTuple):
    """Decoded values (B, T, E), spikes of each clip (B,), states (B, E, N) after each last real step, if kept."""

    decoded: Tensor
    spikes: Tensor
    states: tuple[Tensor, ...]


def is_available(values: Tensor) -> bool:
    """Whether ``run`` takes such ``values`` (B, T, E): float32, and on the CPU clips enough to fill a vector."""
    return dispatch.is_available(values) and (values.is_cuda or len(values) >= 8)


def run(
    values: Tensor,
    gain: Tensor,
    bias: Tensor,
    decoders: Tensor,
    states: tuple[Tensor, ...],
    equations: Equations,
    rates: Equations | None = None,
    parameters: tuple[Tensor, ...] = (),
    mask: Tensor | None = None,
    mode: Mode = "spike_aware",
    out: Tensor | None = None,
    keep_states: bool = True,
    steps: tuple[Step, Step | None] | None = None,
) -> Fused:
    """Gradients go to ``values``, the three weights and ``parameters``; none runs through the states given.

    Fastest where the memory of ``values`` lies as ``(E, T, B)``; what it returns lies so.

    Args:
        values: What each ensemble stands for, (B, T, E).
        gain: Gain times encoder (E, N).
        bias: Bias current (E, N).
        decoders: What one spike adds to the decoded value (E, N).
        states: The neurons' states at the start, each (B, E, N).
        equations: Of the neuron's step; its output counts spikes.
        rates: Of the neuron's rate, without state: mean spikes a step; needed by the first two modes.
        parameters: What the neuron learns, each a single number.
        mask: True on real steps (B, T); on the others no neuron spikes and states stay.
        mode: ``rate`` (rates in the place of spikes, states left), ``spike_aware`` (the derivative of the rate, none
            through states) or ``surrogate`` (through time).
        out: Memory (S, E, N, B) for the states that are returned.
        keep_states: False: none are, which spares their memory.
        steps: What ``equations`` and ``rates`` were traced from; without them gradients cannot be differentiated again.

    Raises:
        ValueError: wrong shapes, or values that ``is_available`` does not admit.
    """
    if not is_available(values):
        raise ValueError(
            f"values must be float32, on the CPU of 8 clips or more, not {values.dtype} on {values.device}"
        )
    batch, _, ensembles = values.shape
    if not gain.shape == bias.shape == decoders.shape or gain.shape[0] != ensembles:
        raise ValueError(
            f"gain, bias and decoders must be ({ensembles}, neurons), as values are of {ensembles} ensembles"
        )
    for state in states:
        if state.shape != (batch, *gain.shape):
            raise ValueError(f"a state must be {(batch, *gain.shape)}, not {tuple(state.shape)}")
        if (state.dtype, state.device) != (values.dtype, values.device):
            raise ValueError(f"a state must be float32 on {values.device}, not {state.dtype} on {state.device}")
    if len(states) != equations.states or len(parameters) != equations.parameters:
        raise ValueError(f"equations have {equations.states} states and {equations.parameters} parameters")
    if mask is not None and mask.shape != values.shape[:2]:
        raise ValueError(f"mask must have shape {tuple(values.shape[:2])}, not {tuple(mask.shape)}")
    if rates is None and mode != "surrogate":
        raise ValueError(f"mode {mode!r} needs the neuron's rate")
    used = rates if mode == "rate" and rates else equations
    traced: tuple[Step | None, Step | None] | None = steps
    if steps is not None and mode != "spike_aware":
        traced = steps[1] if mode == "rate" else steps[0], None
    plan = _Plan(used, None if mode == "surrogate" else rates, mask, out, keep_states, traced)
    given = () if mode == "rate" else states
    decoded, spikes, *after = _Fused.apply(plan, values, gain, bias, decoders, len(given), *given, *parameters)
    return Fused(decoded, spikes, states if mode == "rate" and keep_states else tuple(after))


class _Plan(NamedTuple):
    """What the kernel does, and with which mask and memory; without ``rates``, back through time.

    ``steps`` are what ``equations``, and the rates that its derivative is taken from, were traced from.
    """

    equations: Equations
    rates: Equations | None
    mask: Tensor | None
    out: Tensor | None
    keep_states: bool
    steps: tuple[Step | None, Step | None] | None


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plan: _Plan, values: Tensor, gain: Tensor, bias: Tensor, decoders: Tensor, count: int, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        x = _lay(values)
        before, params = _stack(rest[:count], x, gain), dispatch.join(rest[count:], x)
        padding = plan.mask is not None and not bool(plan.mask.all())
        mask = plan.mask.T.to(torch.float32).contiguous() if plan.mask is not None and padding else x.new_empty(0, 0)
        inputs = ArrayInputs(x, gain.contiguous(), bias.contiguous(), decoders.contiguous(), before, mask, params)
        # Not the memory for states: the backward pass would keep it from being used again.
        ctx.plan, ctx.count, ctx.variant = plan._replace(out=None), count, (padding, before.shape[3] == 1)
        ctx.save_for_backward(values, gain, bias, decoders, before, mask, *rest[count:])
        if values.is_cuda:
            from snn_action.snn.fused.triton import launch

            with torch.cuda.device_of(x):  # Triton takes the current GPU
                decoded, counts, after = launch.array_forward(plan.equations, inputs)
            if not plan.keep_states:
                after = after[:0]
            elif plan.out is not None:
                after = plan.out[:count].copy_(after)
        else:
            cpu, strips = dispatch.load()
            width = strips.choose_width(plan.equations.forward)
            wide, single = (strips.array_forward(plan.equations, each, *ctx.variant) for each in (width, 1))
            decoded, counts = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
            after = x.new_empty(0, 0, 0, 0)
            if plan.keep_states:
                after = x.new_empty(count, *gain.shape, len(values)) if plan.out is None else plan.out[:count]
            dispatch.share_out(
                cpu.array_forward,
                len(x),
                x.numel() * gain.shape[1],
                **dispatch.arrays(**inputs._asdict(), decoded=decoded, counts=counts, after=after),
                width=width,
                wide=wide,
                single=single,
            )
        states = [state.permute(2, 0, 1) for state in after]
        ctx.mark_non_differentiable(*states)
        return decoded.permute(2, 1, 0), counts.sum(0), *states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        equations, rates, *_ = ctx.plan
        values, gain, bias, decoders, before, mask, *own = ctx.saved_tensors
        if autograd.is_asked():
            steps = ctx.plan.steps
            replay = None if steps is None else partial(_replay, *steps, ctx.plan.mask, before)
            found = autograd.differentiate(replay, (values, gain, bias, decoders, *own), grads[:2])
            return None, *found[:4], None, *[None] * ctx.count, *found[4:]
        x = _lay(values.detach())
        weights = {"gain": gain, "bias": bias, "decoders": decoders}
        weights = {name: weight.detach().contiguous() for name, weight in weights.items()}
        inputs = ArrayInputs(x=x, **weights, before=before, mask=mask, params=dispatch.join(tuple(own), x))
        grad_decoded, grad_spike, params = _lay(grads[0]), grads[1].contiguous(), inputs.params
        if x.is_cuda:
            from snn_action.snn.fused.triton import launch

            grad_x, grad_weights, grad_params = launch.array_backward(
                equations, rates, inputs, grad_decoded, grad_spike
            )
            return _give_back(ctx.count, grad_x, grad_weights, dispatch.part(grad_params, params))
        cpu, strips = dispatch.load()
        grad_x, grad_weights = torch.empty_like(x), x.new_empty(3, *gain.shape)
        grad_params = x.new_empty(len(gain), len(params))
        if rates is None:
            width, wide = 1, strips.array_backward(equations, *ctx.variant)
            single = wide
        else:
            width = strips.choose_backward_width(equations.forward, rates.backward)
            wide, single = (strips.array_backward_of_rates(equations, rates, each, *ctx.variant) for each in (width, 1))
        dispatch.share_out(
            cpu.array_backward,
            len(x),
            x.numel() * gain.shape[1],
            **dispatch.arrays(
                **inputs._asdict(),
                grad_decoded=grad_decoded,
                grad_counts=grad_spike.unsqueeze(0),
                grad_x=grad_x,
                grad_weights=grad_weights,
                grad_params=grad_params,
            ),
            width=width,
            wide=wide,
            single=single,
            through_time=rates is None,
        )
        return _give_back(ctx.count, grad_x, grad_weights, dispatch.part(grad_params.sum(0), params))


def _replay(
    step: Step,
    rate: Step | None,
    mask: Tensor | None,
    before: Tensor,
    values: Tensor,
    gain: Tensor,
    bias: Tensor,
    decoders: Tensor,
    *parameters: Tensor,
) -> tuple[Tensor, Tensor]:
    """Decoded values (B, T, E) and spikes (B,), with PyTorch's own operations; derivatives of ``rate`` where given."""
    held, counted = tuple(state.permute(2, 0, 1) for state in before), []  # (B, E, N), or (1, E, N)
    for t, now in enumerate(values.unbind(1)):
        current = torch.addcmul(bias, now.unsqueeze(-1), gain)
        with torch.set_grad_enabled(rate is None):
            count, *after = step(current, *held, *parameters)
        if rate is not None:
            (smooth,) = rate(current, *parameters)
            count = smooth + (count - smooth).detach()
        if mask is not None:
            step_mask = mask[:, t].view(-1, 1, 1)
            count = count * step_mask
            after = [torch.where(step_mask, new, old) for new, old in zip(after, held, strict=True)]
        counted.append(count)
        held = tuple(after)
    counts = torch.stack(counted, 1)
    return (counts * decoders).sum(-1), counts.sum((1, 2, 3))


def _give_back(
    states: int, grad_x: Tensor, grad_weights: Tensor, grad_params: list[Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients of what ``_Fused.forward`` was given."""
    return None, grad_x.permute(2, 1, 0), *grad_weights.unbind(0), None, *[None] * states, *grad_params


def _lay(values: Tensor) -> Tensor:
    """``(B, T, E)`` as a contiguous ``(E, T, B)``, without a copy where it lies so."""
    return values.permute(2, 1, 0).contiguous()


def _stack(states: tuple[Tensor, ...], x: Tensor, gain: Tensor) -> Tensor:
    """States (S, E, N, B), or (S, E, N, 1) where they are the same in all clips."""
    if not states:
        return x.new_empty(0, *gain.shape, 1)
    if all(state.stride(0) == 0 for state in states):
        states = tuple(state[:1] for state in states)
    laid = [state.permute(1, 2, 0) for state in states]
    return laid[0].unsqueeze(0).contiguous() if len(laid) == 1 else torch.stack(laid)
