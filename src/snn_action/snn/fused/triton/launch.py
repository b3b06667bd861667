"""Fused loops on the GPU (Triton), written as source text from the same equations as those of the CPU.

A program of the grid takes a block of neurons (or of clips, with all neurons of one ensemble) over all time steps, its
states in registers. Backward it goes forward once more and keeps the states of each step in memory that lives only so
long, for as many clips or ensembles at a time as fit ``SCRATCH`` numbers. Results do not depend on the order in which
the programs run.
"""

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from snn_action.core.files import write_atomic
from snn_action.snn.fused.cpu import cache as private
from snn_action.snn.fused.ir import Equations
from snn_action.snn.fused.triton.array import write_array, write_array_of_rates
from snn_action.snn.fused.triton.source import write_neurons

BLOCK = 128  # neurons of a program
TILE = 512  # clips times neurons of a program of an array: 4 a thread, whose states and sums fit its registers
SCRATCH = 2**26


@cache
def _load(write: Callable[..., str], *equations: Equations) -> ModuleType:
    """The module that ``write`` writes from a neuron's equations, kept beside the machine code of the CPU."""
    return _import(write(*equations))


def _import(source: str) -> ModuleType:
    """Triton reads the source of its functions from a file."""
    name = f"triton_{hashlib.sha256(source.encode()).hexdigest()[:32]}"
    folder = private.find_folder("triton")
    path = (folder or Path(tempfile.mkdtemp())) / f"{name}.py"
    with private.private_files():
        try:
            write_atomic(path, source)
        except OSError:  # the disk is full
            path = Path(tempfile.mkdtemp()) / f"{name}.py"
            path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path}: cannot be imported")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)  # this writes, too: what Python compiled
    return module


def neurons_forward(
    equations: Equations, current: Tensor, lengths: Tensor, states: Tensor, params: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, N) and states (S, B, N) after each clip's last real step; see ``kernels.neurons``."""
    batch, steps, neurons = current.shape
    spikes, after = torch.empty_like(current), torch.empty_like(states)
    grid = (batch, -(-neurons // BLOCK))
    _load(write_neurons, equations).neurons_forward[grid](
        current, spikes, states, after, lengths, params, batch, steps, neurons, BLOCK=BLOCK
    )
    return spikes, after


def neurons_backward(
    equations: Equations,
    current: Tensor,
    lengths: Tensor,
    states: Tensor,
    params: Tensor,
    grads: Tensor,
    grad_states: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of currents, of states before the first step (in the place of ``grad_states``) and of parameters."""
    batch, steps, neurons = current.shape
    blocks = -(-neurons // BLOCK)
    grad_current, grad_params = torch.empty_like(current), current.new_empty(batch * blocks, len(params))
    together = max(1, SCRATCH // max(1, steps * neurons * equations.states))
    room = current.new_empty(max(1, min(batch, together) * steps * neurons * equations.states))
    for first in range(0, batch, together):
        grid = (min(together, batch - first), blocks)
        _load(write_neurons, equations).neurons_backward[grid](
            *(current, grads, states, grad_states, lengths, params, room, grad_current, grad_params),
            *(batch, steps, neurons, first),
            BLOCK=BLOCK,
        )
    return grad_current, grad_states, grad_params.sum(0)


def array_forward(
    equations: Equations, x: Tensor, weights: Sequence[Tensor], before: Tensor, real: Tensor, params: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Decoded values (E, T, B), counts (E, B) and states (S, E, N, B).

    ``weights`` are gain, bias and decoders; all is laid out as ``cpu.array_forward`` has it.
    """
    grid, options = _share_out(x, weights)
    decoded, counts = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
    after = x.new_empty(equations.states, *weights[0].shape, x.shape[2])
    _load(write_array, equations).array_forward[grid](
        *(x, *weights, before, real, params, decoded, counts, after),
        *_sizes(x, weights, before, real),
        **options,
    )
    return decoded, counts, after


def array_backward(
    equations: Equations,
    rates: Equations | None,
    x: Tensor,
    weights: Sequence[Tensor],
    before: Tensor,
    real: Tensor,
    params: Tensor,
    grads: Tensor,
    of_spike: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``x`` (E, T, B), of the three weights (3, E, N) and of parameters (P,).

    ``grads`` (E, T, B) are those of decoded values, ``of_spike`` (B,) that of each spike for itself. The derivative of
    a step is that of ``rates``; None: back through time.
    """
    (ensembles, blocks), options = _share_out(x, weights)
    grad_x, grad_weights = torch.empty_like(x), x.new_empty(blocks, 3, *weights[0].shape)
    grad_params = x.new_empty(ensembles * blocks, len(params))
    given = (x, *weights, before, real, params, grads, of_spike, grad_x, grad_weights, grad_params)
    sizes = _sizes(x, weights, before, real)
    if rates is not None:
        kernel = _load(write_array_of_rates, equations, rates).array_backward_of_rates
        kernel[(ensembles, blocks)](*given, *sizes, **options)
    else:
        kernel = _load(write_array, equations).array_backward
        numbers = blocks * x.shape[1] * equations.states * options["CLIPS"] * options["NEURONS"]  # of an ensemble
        together = min(ensembles, max(1, SCRATCH // max(1, numbers)))
        room = x.new_empty(max(1, together * numbers))
        for first in range(0, ensembles, together):
            kernel[(min(together, ensembles - first), blocks)](*given, room, *sizes, first, **options)
    return grad_x, grad_weights.sum(0), grad_params.sum(0)


def _share_out(x: Tensor, weights: Sequence[Tensor]) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid, ensembles by blocks of clips, and their size: all neurons (a power of 2), clips to fill ``TILE``."""
    neurons = 1 << (weights[0].shape[1] - 1).bit_length()
    clips = max(1, TILE // neurons)
    return (x.shape[0], -(-x.shape[2] // clips)), {"CLIPS": clips, "NEURONS": neurons}


def _sizes(x: Tensor, weights: Sequence[Tensor], before: Tensor, real: Tensor) -> tuple[int, ...]:
    """E, T, B, N, clips whose states are given (1: the same for all), and whether steps are masked."""
    return *x.shape, weights[0].shape[1], before.shape[3], int(real.numel() > 0)
