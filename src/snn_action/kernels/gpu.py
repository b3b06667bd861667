"""Fused loops on the GPU (Triton), written as source text from the same equations as those of the CPU.

A program of the grid takes a block of neurons (or of clips, with all neurons of one ensemble) over all time steps, its
states in registers. Backward it goes forward once more and keeps the states of each step in memory that lives only so
long, for as many clips or ensembles at a time as fit ``SCRATCH`` numbers. Results do not depend on the order in which
the programs run.
"""

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snn_action.files import write_atomic
from snn_action.kernels.program import Equations
from snn_action.kernels.triton_source import write_source

BLOCK = 128  # neurons of a program; of an array, clips times neurons is kept near it
SCRATCH = 2**26


@cache
def _load(equations: Equations) -> ModuleType:
    """The kernels of a neuron's equations as a module, kept beside the machine code of the CPU."""
    return _import(write_source(equations))


def _import(source: str) -> ModuleType:
    """Triton reads the source of its functions from a file."""
    name = f"triton_{hashlib.sha256(source.encode()).hexdigest()[:32]}"
    cache_folder = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(cache_folder) / "snn_action" / "kernels" / f"{name}.py"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, source)
    except OSError:
        path = Path(tempfile.mkdtemp()) / f"{name}.py"
        path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def neurons_forward(
    equations: Equations, current: Tensor, lengths: Tensor, states: Tensor, params: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, N) and states (S, B, N) after each clip's last real step; see ``kernels.neurons``."""
    batch, steps, neurons = current.shape
    spikes, after = torch.empty_like(current), torch.empty_like(states)
    grid = (batch, -(-neurons // BLOCK))
    _load(equations).neurons_forward[grid](
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
        _load(equations).neurons_backward[grid](
            *(current, grads, states, grad_states, lengths, params, room, grad_current, grad_params),
            *(batch, steps, neurons, first),
            BLOCK=BLOCK,
        )
    return grad_current, grad_states, grad_params.sum(0)


def array_forward(
    equations: Equations,
    x: Tensor,
    weights: Sequence[Tensor],
    before: Tensor,
    real: Tensor,
    params: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decoded values (E, T, B), counts (E, B) and states (S, E, N, B).

    ``weights`` are gain, bias and decoders; all is laid out as ``cpu.array_forward`` has it.
    """
    gain, bias, decoders = weights
    ensembles, steps, batch = x.shape
    neurons, width = gain.shape[1], 1 << (gain.shape[1] - 1).bit_length()
    clips = max(1, 8 * BLOCK // width)
    decoded, counts = torch.empty_like(x), x.new_empty(ensembles, batch)
    after = x.new_empty(equations.states, *gain.shape, batch)
    options: dict[str, Any] = {"CLIPS": clips, "NEURONS": width}
    _load(equations).array_forward[(ensembles, -(-batch // clips))](
        *(x, gain, bias, decoders, before, real, params, decoded, counts, after),
        *(ensembles, steps, batch, neurons, before.shape[3], int(real.numel() > 0)),
        **options,
    )
    return decoded, counts, after
