"""Differences of the input over time, for sets where motion decides.

    y_t = x_t - x_{t-lag}, for a clip's first ``lag`` steps 0
    with ``normalize``: y_t / sqrt(mean over features of y_t^2)

The difference of two frames' features is what moved between them. Normalized, its direction counts and not its size:
a slow and a fast, a near and a far person differ in size.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Past(NamedTuple):
    """The last inputs (B, P, D), as many as are looked back at, and real steps seen (B,)."""

    inputs: Tensor
    steps: Tensor


def start_past(batch: int, lag: int, features: int, device: torch.device, dtype: torch.dtype) -> Past:
    """Nothing seen yet; ``lag`` inputs will be kept."""
    return Past(
        torch.zeros(batch, lag, features, device=device, dtype=dtype),
        torch.zeros(batch, device=device, dtype=dtype),
    )


def join_past(x: Tensor, past: Past, mask: Tensor | None) -> tuple[Tensor, Tensor, Past]:
    """The past and ``x`` (B, T, D) in one, (B, P + T, D); steps seen before each of ``x`` (B, T); and the new past.

    The new past is that after each clip's last real step.
    """
    batch, steps, features = x.shape
    length = past.inputs.shape[1]
    joined = torch.cat((past.inputs.to(x), x), 1)
    seen = past.steps.unsqueeze(1) + torch.arange(steps, device=x.device)
    if mask is None:
        return joined, seen, Past(joined[:, steps:], past.steps + steps)
    real = mask.sum(1)
    kept = real.unsqueeze(1) + torch.arange(length, device=x.device)
    inputs = joined.gather(1, kept.unsqueeze(-1).expand(batch, length, features))
    return joined, seen, Past(inputs, past.steps + real)


def subtract_past(x: Tensor, past: Past, mask: Tensor | None, normalize: bool) -> tuple[Tensor, Past]:
    """Differences (B, T, D) of ``x`` (B, T, D), and what is past after each clip's last real step."""
    _, steps, features = x.shape
    lag = past.inputs.shape[1]
    joined, seen, past = join_past(x, past, mask)
    difference = (x - joined[:, :steps]) * (seen >= lag).unsqueeze(-1)
    if normalize:
        difference = F.rms_norm(difference, (features,), eps=1e-6)
    return difference, past
