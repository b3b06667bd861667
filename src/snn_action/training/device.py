"""Where to compute, from the words of the configuration."""

import logging
from dataclasses import dataclass

import torch

from snn_action.core import distributed
from snn_action.core.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Fabric's accelerator and devices, and the device of everything that is not trained."""

    accelerator: str
    devices: int | list[int]
    main: torch.device


def resolve_device(device: str) -> Device:
    """The device of ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or indices of GPUs such as ``0,1``.

    ``auto`` is the first GPU where there is one. Of several GPUs the first is used; under ``torchrun`` there are as
    many as processes on this machine, one for each.

    Raises:
        ConfigError: a GPU is asked for that is not there, or there are more or fewer than processes.
    """
    count, here = torch.cuda.device_count(), distributed.local_world_size()
    if device == "cpu" or (device == "auto" and count == 0):
        return Device("cpu", here, torch.device("cpu"))
    every = ",".join(str(index) for index in range(here))
    named = every if device in ("auto", "cuda") else device.removeprefix("cuda:")
    indices = [int(index) for index in named.split(",")]
    missing = [index for index in indices if index >= count]
    if missing:
        there = f"there are {count}, counted from 0" if count else "PyTorch sees no GPU here"
        raise ConfigError(f"device: {device!r} asks for GPU {missing[0]}, but {there}; use 'auto' or 'cpu'")
    if len(set(indices)) < len(indices):
        raise ConfigError(f"device: {device!r} names a GPU twice")
    if here > 1:
        if len(indices) != here:
            raise ConfigError(
                f"device: {device!r} names {len(indices)} GPUs for {here} processes on this machine; torchrun's "
                "--nproc-per-node and the GPUs must be as many"
            )
        return Device("cuda", indices, torch.device("cuda", indices[distributed.local_rank()]))
    if len(indices) > 1:
        logger.warning(
            "device: of the GPUs %s only %d is used; torchrun uses them all (docs/how-to/distributed.md)",
            named,
            indices[0],
        )
    return Device("cuda", indices[:1], torch.device("cuda", indices[0]))
