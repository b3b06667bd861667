"""Batch normalization over all processes of a run: statistics of the whole batch, not of a process' share.

    mean = sum over processes of sum x / n,  variance = sum over processes of sum (x - mean)^2 / n
    y = (x - mean) / sqrt(variance + eps) weight + bias

``n`` are the values of a channel in all processes. PyTorch's ``SyncBatchNorm`` does the same, on GPUs alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snn_action.core import distributed


@contextmanager
def share_statistics(network: nn.Module, *, counts: bool) -> Iterator[None]:
    """Inside, layers of ``network`` that learn statistics take them over all processes, which all go through each.

    ``counts`` is false in a process whose share of the batch is there to fill up.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    if distributed.world_size() == 1 or not norms:
        yield
        return
    for norm in norms:
        norm.forward = partial(_normalize, norm, counts)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class _Sum(torch.autograd.Function):
    """The sum over all processes, and of its gradients."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        del ctx
        total = own.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        del ctx
        total = grads[0].clone()
        torch.distributed.all_reduce(total)
        return total


def _sum(own: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
    return total


def _normalize(norm: _BatchNorm, counts: bool, x: Tensor) -> Tensor:
    """The module's equations on the share ``x`` (N, C, ...)."""
    axes, shape = [0, *range(2, x.ndim)], (1, -1, *(1,) * (x.ndim - 2))
    values = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    share = float(counts)
    own = torch.cat([share * values.sum(axes), values.new_full((1,), share * values.numel() / values.shape[1])])
    sums = _sum(own)
    number = sums[-1].detach()
    mean = sums[:-1] / number
    centered = values - mean.view(shape)
    variance = _sum(share * centered.square().sum(axes)) / number
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
            norm.running_var.lerp_((variance * number / (number - 1).clamp(min=1)).to(norm.running_var), momentum)
    normalized = centered * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        normalized = normalized * norm.weight.view(shape) + norm.bias.view(shape)
    result: Tensor = normalized.to(x)
    return result
