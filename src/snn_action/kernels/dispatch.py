"""Where fused kernels run, and how they are loaded."""

import logging
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def is_available(values: Tensor) -> bool:
    """Whether kernels take such a tensor: float32 on the CPU."""
    return values.device.type == "cpu" and values.dtype == torch.float32


@cache
def load() -> tuple[ModuleType, ModuleType]:
    """The modules ``cpu`` and ``strips``, compiled on first use on a machine."""
    logger.info("loading fused kernels; the first time on a machine they are compiled, for about fifteen seconds")
    from snn_action.kernels import cpu, strips

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
