"""Derivatives that stand for that of a spike, which is zero or infinite (surrogate gradients).

A surrogate is a function ``g(x)`` of the distance ``x`` of a membrane from its threshold, in units of the threshold.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snn_action.snn.settings import SurrogateName

Surrogate = Callable[[Tensor], Tensor]


def arctan(x: Tensor, alpha: float = 2.0) -> Tensor:
    """``g(x) = (alpha / 2) / (1 + (pi alpha x / 2)^2)``, area 1 (Fang et al. 2021, PLIF)."""
    return (alpha / 2) / (1 + (math.pi / 2 * alpha * x).square())


def sigmoid(x: Tensor, alpha: float = 4.0) -> Tensor:
    """``g(x) = alpha s (1 - s)``, s the logistic curve at alpha x, area 1 (Zenke and Vogels 2021)."""
    s = torch.sigmoid(alpha * x)
    return alpha * s * (1 - s)


def triangle(x: Tensor, width: float = 1.0) -> Tensor:
    """``g(x) = max(0, 1 - |x| / width) / width``, area 1 (Esser et al. 2016; Bellec et al. 2018)."""
    return (1 - x.abs() / width).relu() / width


def super_spike(x: Tensor, beta: float = 10.0) -> Tensor:
    """``g(x) = 1 / (1 + beta |x|)^2``, height 1 at the threshold (Zenke and Ganguli 2018)."""
    return (1 + beta * x.abs()).square().reciprocal()


def multi_gaussian(x: Tensor, sigma: float = 0.5, height: float = 0.15, scale: float = 6.0) -> Tensor:
    """``g(x) = (1 + h) N(x; 0, sigma) - h N(x; sigma, s sigma) - h N(x; -sigma, s sigma)`` (Yin et al. 2021)."""

    def normal(y: Tensor, deviation: float) -> Tensor:
        return torch.exp(-0.5 * (y / deviation).square()) / (deviation * math.sqrt(2 * math.pi))

    sides = normal(x - sigma, scale * sigma) + normal(x + sigma, scale * sigma)
    return (1 + height) * normal(x, sigma) - height * sides


SURROGATES: dict[SurrogateName, Surrogate] = {
    "arctan": arctan,
    "sigmoid": sigmoid,
    "triangle": triangle,
    "super_spike": super_spike,
    "multi_gaussian": multi_gaussian,
}


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
