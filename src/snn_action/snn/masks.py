"""Masks ``(B, T)``: true on a clip's real steps, a run of true, then false."""

from typing import Any

import torch
from torch import Tensor


def check_mask(mask: Tensor, batch: int, steps: int) -> Tensor:
    """Check a mask ``(B, T)``, true on real steps, and return it as booleans.

    Raises:
        ValueError: the shape is wrong, a clip has no real step, or a mask is not a run of true, then false.
    """
    if mask.shape != (batch, steps):
        raise ValueError(f"mask must have shape {(batch, steps)}, not {tuple(mask.shape)}")
    mask = mask.bool()
    if not bool(mask[:, 0].all()):
        clip = int((~mask[:, 0]).nonzero()[0])
        raise ValueError(f"mask of clip {clip} has no real first step: a mask is a run of true, then false")
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        clip = int((mask[:, 1:] & ~mask[:, :-1]).any(1).nonzero()[0])
        raise ValueError(f"mask of clip {clip} has a hole: a mask is a run of true, then false")
    return mask


def take_last(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` (B, T, ...) at each clip's last real step."""
    return x[:, -1] if mask is None else x[torch.arange(len(x), device=x.device), mask.sum(1) - 1]


def silence(output: Tensor, mask: Tensor | None) -> Tensor:
    """``output`` (B, T, ...) where ``mask`` (B, T) is true, and zero elsewhere."""
    return output if mask is None else output * mask.view(*mask.shape, *(1,) * (output.ndim - 2))


def is_prefix(mask: Tensor | None, lengths: Tensor) -> bool:
    """Whether each row of a mask (B, T) is a run of true and then false."""
    if mask is None:
        return True
    return bool((mask == (torch.arange(mask.shape[1], device=mask.device) < lengths.unsqueeze(1))).all())


def hold(new: Any, old: Any, real: Tensor) -> Any:
    """``new`` where ``real`` (B,) is true and ``old`` elsewhere, through nested NamedTuples of batch-first tensors."""
    if isinstance(new, Tensor):
        return torch.where(real.view(-1, *(1,) * (new.ndim - 1)), new, old)
    held = [hold(n, o, real) for n, o in zip(new, old, strict=True)]
    return type(new)(*held) if hasattr(new, "_fields") else tuple(held)
