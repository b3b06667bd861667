"""A shard is opened: its header held to the rules first, then its features mapped into memory."""

from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from snn_action.core.errors import WorkError
from snn_action.features.store.shard import Flaw, Shard, read_description


class BrokenShardError(WorkError):
    """A shard is missing, broken, or none at all: what it held is to be extracted anew."""


def open_shard(path: Path) -> tuple[Shard, Tensor]:
    """A shard and its features (rows, D), memory-mapped: only the rows that are used are read.

    Raises:
        BrokenShardError: the shard is broken.
        WorkError: it may not be read, or is of another format.
    """
    shard, _ = read_whole(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            features: Tensor = file.get_tensor("features")
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise _broken(path, str(error)) from None
    if features.shape != (shard.rows, shard.dim) or features.dtype not in (torch.float32, torch.uint8):
        raise _broken(path, "its features are not as its header says")
    return shard, features


def read_whole(path: Path) -> tuple[Shard, dict[str, Any]]:
    """A shard and the JSON in its header.

    Raises:
        BrokenShardError: it is broken.
        WorkError: it may not be read, or is of another format.
    """
    found = read_description(path)
    if isinstance(found, Flaw):
        if found.verdict == "left":
            raise WorkError(f"{path}: this shard may not be used ({found.reason}): fix that, or move it elsewhere")
        raise _broken(path, found.reason)
    return found


def _broken(path: Path, reason: str) -> BrokenShardError:
    return BrokenShardError(
        f"{path}: this shard is missing or broken ({reason}). Start again: its videos are extracted anew. Take it out "
        f"with: snn-action store verify {path.parents[1]} --remove"
    )
