"""Fused loops on the GPU (Triton), written as source text from the same equations as those of the CPU.

A program of the grid takes a block of neurons (or of clips, with all neurons of one ensemble) over all time steps, its
states in registers. Backward it goes forward once more and keeps the states of each step in memory that lives only so
long, for as many clips or ensembles at a time as fit ``SCRATCH`` numbers. Results do not depend on the order in which
the programs run.
"""

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snn_action.core.files import write_atomic
from snn_action.snn.fused.cpu import cache as private
from snn_action.snn.fused.inputs import ArrayInputs, NeuronInputs
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


def neurons_forward(equations: Equations, inputs: NeuronInputs) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, N) and states (S, B, N) after each clip's last real step; see ``fused.neurons``."""
    current, lengths, states, params = inputs
    spikes, after = torch.empty_like(current), torch.empty_like(states)
    batch, steps, neurons = current.shape
    _load(write_neurons, equations).neurons_forward[batch, -(-neurons // BLOCK)](
        current=current, spikes=spikes, before=states, after=after, lengths=lengths, own=params,
        B=batch, T=steps, N=neurons, BLOCK=BLOCK,
    )  # fmt: skip
    return spikes, after


def neurons_backward(
    equations: Equations, inputs: NeuronInputs, grad_spikes: Tensor, grad_states: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of currents, of states before the first step (in the place of ``grad_states``) and of parameters."""
    current, lengths, states, params = inputs
    batch, steps, neurons = current.shape
    blocks = -(-neurons // BLOCK)
    grad_current, grad_params = torch.empty_like(current), current.new_empty(batch * blocks, len(params))
    together = max(1, SCRATCH // max(1, steps * neurons * equations.states))
    scratch = current.new_empty(max(1, min(batch, together) * steps * neurons * equations.states))
    for first in range(0, batch, together):
        _load(write_neurons, equations).neurons_backward[min(together, batch - first), blocks](
            current=current, grads=grad_spikes, before=states, grad_states=grad_states, lengths=lengths, own=params,
            scratch=scratch, grad_current=grad_current, grad_params=grad_params,
            B=batch, T=steps, N=neurons, first=first, BLOCK=BLOCK,
        )  # fmt: skip
    return grad_current, grad_states, grad_params.sum(0)


def array_forward(equations: Equations, inputs: ArrayInputs) -> tuple[Tensor, Tensor, Tensor]:
    """Decoded values (E, T, B), counts (E, B) and states (S, E, N, B)."""
    x = inputs.x
    grid, given = _share_out(inputs)
    decoded, counts = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
    after = x.new_empty(equations.states, *inputs.gain.shape, x.shape[2])
    kernel = _load(write_array, equations).array_forward
    kernel[grid](**given, decoded=decoded, counts=counts, after=after)
    return decoded, counts, after


def array_backward(
    equations: Equations, rates: Equations | None, inputs: ArrayInputs, grad_decoded: Tensor, grad_spike: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``x`` (E, T, B), of gain, bias and decoders (3, E, N) and of parameters (P,).

    ``grad_decoded`` (E, T, B) are those of decoded values, ``grad_spike`` (B,) that of each spike for itself. The
    derivative of a step is that of ``rates``; None: back through time.
    """
    x = inputs.x
    (ensembles, blocks), given = _share_out(inputs)
    grad_x, grad_weights = torch.empty_like(x), x.new_empty(blocks, 3, *inputs.gain.shape)
    grad_params = x.new_empty(ensembles * blocks, len(inputs.params))
    given |= {"grads": grad_decoded, "grad_spike": grad_spike}
    given |= {"grad_x": grad_x, "grad_weights": grad_weights, "grad_params": grad_params}
    if rates is not None:
        kernel = _load(write_array_of_rates, equations, rates).array_backward_of_rates
        kernel[ensembles, blocks](**given)
    else:
        kernel = _load(write_array, equations).array_backward
        numbers = blocks * x.shape[1] * equations.states * given["CLIPS"] * given["NEURONS"]  # of an ensemble
        together = min(ensembles, max(1, SCRATCH // max(1, numbers)))
        scratch = x.new_empty(max(1, together * numbers))
        for first in range(0, ensembles, together):
            kernel[min(together, ensembles - first), blocks](**given, scratch=scratch, first=first)
    return grad_x, grad_weights.sum(0), grad_params.sum(0)


def _share_out(inputs: ArrayInputs) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid, ensembles by blocks of clips, and what all kernels of arrays are given.

    A block is all neurons (a power of 2), in clips to fill ``TILE``. ``stride`` is the number of clips whose states
    are given, 1 where they are the same for all.
    """
    tensors = inputs._asdict()
    tensors["own"] = tensors.pop("params")
    (ensembles, steps, batch), count = inputs.x.shape, inputs.gain.shape[1]
    neurons = 1 << (count - 1).bit_length()
    clips = max(1, TILE // neurons)
    sizes = {"E": ensembles, "T": steps, "B": batch, "N": count, "CLIPS": clips, "NEURONS": neurons}
    sizes |= {"stride": inputs.before.shape[3], "masked": int(inputs.mask.numel() > 0)}
    return (ensembles, -(-batch // clips)), {**tensors, **sizes}
