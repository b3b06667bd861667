"""Recursive feature elimination: which few of many inputs a classifier needs.

A readout is solved on all inputs, those whose share of its logits varies least are left out, and it is solved again on
the others, until as few are left as asked for. An input that another one can stand in for loses its weight to it, so
each is judged beside those that stay; half of them go at a time.

Source: Guyon, Weston, Barnhill and Vapnik, "Gene selection for cancer classification using support vector machines",
Machine Learning 46, 2002.
"""

import torch
from torch import Tensor

from snn_action.models.readout import solve
from snn_action.models.settings import ReaderSettings


@torch.no_grad()
def eliminate(values: Tensor, labels: Tensor, kept: int, num_classes: int, settings: ReaderSettings) -> Tensor:
    """Indices (kept,) of inputs, in ascending order.

    An input's share is ``sum_j sum_k W_kj^2 var(v_j)`` over its values j and the classes k, with the readout's weights.

    Args:
        values: Of each clip and input (C, D, V), float64.
        labels: Of the clips (C,).
        kept: Inputs that stay.
        num_classes: K.
        settings: Their readout is that which is solved; by least squares where it is ``random``.
    """
    method = "least_squares" if settings.readout == "random" else settings.readout
    varies = values.var(0, correction=0)
    left = torch.arange(values.shape[1], device=values.device)
    while len(left) > kept:
        weight, _ = solve(values[:, left].flatten(1), labels, num_classes, method, settings.readout_strength)
        share = (weight.square().sum(0).view(len(left), -1) * varies[left]).sum(1)
        best = share.argsort(descending=True, stable=True)[: max(kept, len(left) // 2)]
        left = left[best.sort().values]
    return left
