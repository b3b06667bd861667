"""Neurons over time, fused: currents (B, T, N) to outputs (B, T, N), states in registers from step to step.

Forward writes nothing but the output; backward goes forward once more and then back through time, with the states of
16 neurons at a time, so that memory does not grow with stored membranes.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from snn_action.snn.fused import autograd, dispatch
from snn_action.snn.fused.inputs import NeuronInputs
from snn_action.snn.fused.ir import Equations, Step


def run(
    current: Tensor,
    states: tuple[Tensor, ...],
    equations: Equations,
    parameters: tuple[Tensor, ...] = (),
    lengths: Tensor | None = None,
    step: Step | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Outputs (B, T, ...) and states (B, ...) after each clip's last real step; gradients go to all tensors given.

    Args:
        current: Input currents (B, T, ...), float32, on the CPU or a GPU.
        states: States before the first step, each (B, ...).
        equations: Of one step.
        parameters: What the neuron learns, each a single number.
        lengths: Real steps of each clip (B,); None: all. On padding outputs are zero.
        step: What the equations were traced from; without it gradients cannot be differentiated again.

    Raises:
        ValueError: a wrong dtype or device, or shapes that do not fit.
    """
    if not dispatch.is_available(current):
        raise ValueError(
            f"current must be float32 on the CPU or a GPU with Triton, not {current.dtype} on {current.device}"
        )
    shape = current.shape[0], *current.shape[2:]
    for state in states:
        if state.shape != shape:
            raise ValueError(f"a state must be {shape}, not {tuple(state.shape)}")
        if (state.dtype, state.device) != (current.dtype, current.device):
            raise ValueError(f"a state must be float32 on {current.device}, not {state.dtype} on {state.device}")
    if len(states) != equations.states or len(parameters) != equations.parameters:
        raise ValueError(f"equations have {equations.states} states and {equations.parameters} parameters")
    if lengths is None:
        lengths = torch.full(shape[:1], current.shape[1], device=current.device)
    elif lengths.shape != shape[:1] or lengths.dtype != torch.int64:
        raise ValueError(f"lengths must be whole numbers {shape[:1]}, not {lengths.dtype} {tuple(lengths.shape)}")
    elif not current.is_cuda and bool(((lengths < 0) | (lengths > current.shape[1])).any()):
        raise ValueError(f"lengths must be from 0 to {current.shape[1]}")
    flat, *rest = _Fused.apply(
        equations, step, lengths, current.flatten(2), *(state.flatten(1) for state in states), *parameters
    )
    return flat.view(current.shape), tuple(state.view(shape) for state in rest)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, equations: Equations, step: Step | None, lengths: Tensor, current: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.equations, ctx.step = equations, step
        ctx.save_for_backward(lengths, current, *rest)
        inputs = _lay(equations, lengths, current, rest)
        current = inputs.current
        if current.is_cuda:
            from snn_action.snn.fused.triton import launch

            with torch.cuda.device_of(current):  # Triton takes the current GPU
                spikes, after = launch.neurons_forward(equations, inputs)
            return spikes, *after.unbind(0)
        cpu, strips = dispatch.load()
        width = strips.choose_width(equations.forward)
        wide, single = (strips.neurons_forward(equations, each) for each in (width, 1))
        spikes, after = torch.empty_like(current), inputs.states.clone()
        dispatch.share_out(
            cpu.neurons_forward,
            len(current) * -(-current.shape[2] // (strips.LANES * width)),
            current.numel(),
            **dispatch.arrays(**inputs._replace(states=after)._asdict(), spikes=spikes),
            width=width,
            wide=wide,
            single=single,
        )
        return spikes, *after.unbind(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        equations = ctx.equations
        lengths, *given = ctx.saved_tensors
        if autograd.is_asked():
            replay = None if ctx.step is None else partial(_replay, ctx.step, equations.states, lengths)
            return None, None, None, *autograd.differentiate(replay, given, grads)
        inputs = _lay(equations, lengths, given[0], tuple(given[1:]))
        current, params, grad_spikes = inputs.current, inputs.params, grads[0].contiguous()
        grad_states = torch.stack(grads[1:]) if len(grads) > 1 else torch.empty_like(inputs.states)
        if current.is_cuda:
            from snn_action.snn.fused.triton import launch

            grad_current, grad_states, summed = launch.neurons_backward(equations, inputs, grad_spikes, grad_states)
            return None, None, None, grad_current, *grad_states.unbind(0), *dispatch.part(summed, params)
        cpu, strips = dispatch.load()
        grad_current = torch.empty_like(current)
        jobs = len(current) * -(-current.shape[2] // strips.LANES)
        grad_params = current.new_empty(jobs, len(params))
        dispatch.share_out(
            cpu.neurons_backward,
            jobs,
            current.numel(),
            **dispatch.arrays(
                **inputs._asdict(),
                grad_spikes=grad_spikes,
                grad_states=grad_states,
                grad_current=grad_current,
                grad_params=grad_params,
            ),
            strip=strips.neurons_backward(equations),
        )
        summed = grad_params.sum(0)
        return None, None, None, grad_current, *grad_states.unbind(0), *dispatch.part(summed, params)


def _replay(step: Step, states: int, lengths: Tensor, current: Tensor, *rest: Tensor) -> list[Tensor]:
    """What the kernel computes, with PyTorch's own operations."""
    held, parameters, outputs = rest[:states], rest[states:], []
    for t, now in enumerate(current.unbind(1)):
        mask = (t < lengths).unsqueeze(1)
        output, *after = step(now, *held, *parameters)
        outputs.append(output * mask)
        held = tuple(torch.where(mask, new, old) for new, old in zip(after, held, strict=True))
    return [torch.stack(outputs, 1), *held]


def _lay(equations: Equations, lengths: Tensor, current: Tensor, rest: tuple[Tensor, ...]) -> NeuronInputs:
    """As kernels take it; ``rest`` are states and parameters."""
    current, states = current.detach().contiguous(), rest[: equations.states]
    stacked = torch.stack(states).detach() if states else current.new_empty(0, len(current), current.shape[2])
    return NeuronInputs(current, lengths, stacked, dispatch.join(rest[equations.states :], current))
