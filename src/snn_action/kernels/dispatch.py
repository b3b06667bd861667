"""Where fused kernels run, and how they are loaded."""

import importlib.util
import logging
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def is_available(values: Tensor) -> bool:
    """Whether kernels take such a tensor: float32, on the CPU or on a GPU for which there is Triton."""
    return values.dtype == torch.float32 and (values.device.type == "cpu" or (values.is_cuda and _has_triton()))


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def load() -> tuple[ModuleType, ModuleType]:
    """The modules ``cpu`` and ``strips``, compiled on first use on a machine.

    Numba begins its threads by telling OpenMP, which PyTorch uses too, how many there are: PyTorch's own number is put
    back.
    """
    logger.info("loading fused kernels; the first time on a machine they are compiled, for about fifteen seconds")
    threads = torch.get_num_threads()
    import numba

    from snn_action.kernels import cpu, strips

    numba.set_num_threads(numba.get_num_threads())  # begins them
    torch.set_num_threads(threads)
    return cpu, strips


def arrays(*tensors: Tensor) -> list[np.ndarray[Any, Any]]:
    """The memory of contiguous tensors."""
    return [tensor.detach().numpy() for tensor in tensors]


def join(parameters: tuple[Tensor, ...], like: Tensor) -> Tensor:
    """Single numbers as one vector (P,)."""
    return torch.stack([p.detach().reshape(()).to(like) for p in parameters]) if parameters else like.new_empty(0)


def part(vector: Tensor, parameters: tuple[Tensor, ...] | Tensor) -> list[Tensor]:
    """The entries of (P,), one for each parameter."""
    return list(vector.unbind(0)) if len(parameters) else []
