"""Where fused kernels run, and how they are loaded and shared out among threads.

Kernels need no OpenMP: its threads do not survive a fork, and the two that PyTorch and Numba would bring get in each
other's way. They run on as many threads as PyTorch does, which Python holds.
"""

import importlib.util
import logging
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)

SMALL = 2**16  # numbers over time that are not worth another thread: about 30 microseconds
PIECES = 4  # of the work for each thread, as one may be slower than another

_pool: ThreadPoolExecutor | None = None


def is_available(values: Tensor) -> bool:
    """Whether kernels take such a tensor: float32, on the CPU or on a GPU for which there is Triton.

    Where the CPU's cannot be had on this machine, a line says why, once, and the answer is no.
    """
    if values.dtype != torch.float32:
        return False
    return _works() if values.device.type == "cpu" else values.is_cuda and _has_triton()


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _works() -> bool:
    """Whether kernels can be compiled and run here, which is found out by doing it."""
    try:
        cpu, strips = load()
        _try_out(cpu, strips)
    except Exception as error:  # whatever it is, PyTorch's own operations do the same
        logger.warning(
            "fused kernels cannot be used here (%s: %s); PyTorch's own operations are used, which are slower",
            type(error).__name__,
            error,
        )
        return False
    return True


def _try_out(cpu: ModuleType, strips: ModuleType) -> None:
    """Add 1 to some numbers by a kernel.

    Raises:
        RuntimeError: the result is wrong.
    """
    from snn_action.snn.fused.ir import Equations, Instruction, Program, constant

    program = Program(1, (Instruction("add", (0, constant(1.0))),), (1,))
    strip = strips.neurons_forward(Equations(0, 0, program, Program(2, (), (1,))), 1)
    current, lengths = np.zeros((1, 2, 3), np.float32), np.full(1, 2)
    found = np.zeros_like(current)
    nothing = np.zeros((0, 1, 3), np.float32), np.zeros(0, np.float32)
    given = {"current": current, "lengths": lengths, "states": nothing[0], "params": nothing[1], "spikes": found}
    cpu.neurons_forward(0, 1, **given, width=1, wide=strip, single=strip)
    if not (found == 1).all():
        raise RuntimeError("their results are wrong")


@cache
def load() -> tuple[ModuleType, ModuleType]:
    """The modules ``cpu`` and ``strips``, compiled on first use on a machine."""
    logger.info("loading fused kernels; the first time on a machine they are compiled, for about ten seconds")
    from snn_action.snn.fused.cpu import loops as cpu
    from snn_action.snn.fused.cpu import strips

    return cpu, strips


def share_out(function: Callable[..., None], jobs: int, work: int, **arguments: Any) -> None:
    """``function(begin, end, **arguments)`` for all of ``range(jobs)``, by several threads where that is worth it.

    Args:
        function: Does jobs, which depend on no others, without Python's lock.
        jobs: How many.
        work: Numbers of all jobs together, over all steps.
        arguments: What else the function takes, by name.
    """
    threads = min(torch.get_num_threads(), jobs, 1 + work // SMALL)
    if threads <= 1:
        function(0, jobs, **arguments)
        return
    pieces = min(jobs, PIECES * threads)
    places = deque((jobs * i // pieces, jobs * (i + 1) // pieces) for i in range(pieces))

    def take() -> None:
        while True:
            try:
                begin, end = places.popleft()
            except IndexError:
                return
            function(begin, end, **arguments)

    others = [_threads().submit(take) for _ in range(threads - 1)]
    try:
        take()
    finally:  # one that has not begun need not any more
        for other in others:
            if not other.cancel():
                other.result()


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(os.cpu_count() or 1, torch.get_num_threads()), "kernels")
    return _pool


def _begin_child() -> None:
    """A forked process has none of its parent's threads, these or OpenMP's: it would wait for them for ever."""
    global _pool
    _pool = None
    if load.cache_info().currsize:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


def arrays(**tensors: Tensor) -> dict[str, np.ndarray[Any, Any]]:
    """The memory of contiguous tensors, by the same names."""
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def join(parameters: tuple[Tensor, ...], like: Tensor) -> Tensor:
    """Single numbers as one vector (P,)."""
    return torch.stack([p.detach().reshape(()).to(like) for p in parameters]) if parameters else like.new_empty(0)


def part(vector: Tensor, parameters: tuple[Tensor, ...] | Tensor) -> list[Tensor]:
    """The entries of (P,), one for each parameter."""
    return list(vector.unbind(0)) if len(parameters) else []
