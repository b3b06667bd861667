"""Derivatives that stand for that of a spike, which is zero or infinite (surrogate gradients).

A surrogate is a function ``g(x)`` of the distance ``x`` of a membrane from its threshold, in units of the threshold.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Surrogate = Callable[[Tensor], Tensor]


def arctan(x: Tensor, alpha: float = 2.0) -> Tensor:
    """``g(x) = (alpha / 2) / (1 + (pi alpha x / 2)^2)``, area 1 (Fang et al. 2021, PLIF)."""
    return (alpha / 2) / (1 + (math.pi / 2 * alpha * x).square())


SURROGATES: dict[str, Surrogate] = {"arctan": arctan}


class _PassGradient(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, value: Tensor, __: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0]


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spikes: Tensor, distance: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.surrogate = surrogate
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        (distance,) = ctx.saved_tensors
        return None, grads[0] * ctx.surrogate(distance), None


def pass_gradient(value: Tensor, proxy: Tensor) -> Tensor:
    """``value`` to the last bit forward; backward, its gradient goes to ``proxy`` as it is."""
    result: Tensor = _PassGradient.apply(value, proxy)  # type: ignore[no-untyped-call]
    return result


def attach(spikes: Tensor, distance: Tensor, surrogate: Surrogate) -> Tensor:
    """``spikes`` forward; backward, their gradient times ``surrogate(distance)`` goes to ``distance``."""
    result: Tensor = _Attach.apply(spikes, distance, surrogate)  # type: ignore[no-untyped-call]
    return result
