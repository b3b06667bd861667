"""Where to compute, from the words of the configuration."""

import logging
from dataclasses import dataclass

import torch

from snn_action.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Lightning's accelerator and devices, and the device of everything that is not trained."""

    accelerator: str
    devices: int | list[int]
    main: torch.device


def resolve_device(device: str) -> Device:
    """The device of ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or indices of GPUs such as ``0,1``.

    ``auto`` is the first GPU where there is one. Of several GPUs the first is used.

    Raises:
        ConfigError: a GPU is asked for that is not there.
    """
    count = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and count == 0):
        return Device("cpu", 1, torch.device("cpu"))
    named = "0" if device in ("auto", "cuda") else device.removeprefix("cuda:")
    indices = [int(index) for index in named.split(",")]
    missing = [index for index in indices if index >= count]
    if missing:
        there = f"there are {count}, counted from 0" if count else "PyTorch sees no GPU here"
        raise ConfigError(f"device: {device!r} asks for GPU {missing[0]}, but {there}; use 'auto' or 'cpu'")
    if len(set(indices)) < len(indices):
        raise ConfigError(f"device: {device!r} names a GPU twice")
    if len(indices) > 1:
        logger.warning("device: of the GPUs %s only %d is used", named, indices[0])
    return Device("cuda", indices[:1], torch.device("cuda", indices[0]))
