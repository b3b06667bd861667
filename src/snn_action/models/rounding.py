"""Weights of few bits, as a chip stores them, and a model that is trained with them.

    q(W)_ij = s_i round(W_ij / s_i),   s_i = max_j |W_ij| / (2^(bits - 1) - 1)

Symmetric about zero, with one scale for each row, so for each target; the largest weight of a row is kept, and nothing
is cut off. *Matrices* are the weights of linear and LSTM layers of a temporal model. Biases, gains and decoders of
ensembles and the matrices A and B of a memory keep their precision.

In training the model computes with q(W) and the gradient by q(W) is taken for that by W (a straight-through estimator:
Bengio et al. 2013; for whole numbers Jacob et al. 2018). Small steps then add up in W until a weight changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snn_action.core.errors import ConfigError
from snn_action.models.base import TemporalModel
from snn_action.models.end_to_end import EndToEnd

LEAST = 1e-12  # of a row's largest weight, so that a row of zeros has a scale


def round_matrix(weight: Tensor, bits: int) -> Tensor:
    """``q(weight)`` of a matrix (targets, inputs), with ``bits`` from 2: see the module."""
    scale = weight.abs().amax(1, keepdim=True).clamp_min(LEAST) / (2 ** (bits - 1) - 1)
    found: Tensor = (weight / scale).round() * scale
    return found


def find_matrices(model: TemporalModel) -> dict[str, nn.Parameter]:
    """The matrices of a temporal model by their names in it; of an ``end_to_end`` model those of the one inside it.

    Raises:
        ConfigError: it has none.
    """
    found = _list_matrices(model)
    if not found:
        inner = model.model if isinstance(model, EndToEnd) else model
        raise ConfigError(f"{type(inner).__name__} has no matrices whose weights could be rounded")
    return found


def has_matrices(model: TemporalModel) -> bool:
    """Whether ``find_matrices`` finds any."""
    return bool(_list_matrices(model))


def _list_matrices(model: TemporalModel) -> dict[str, nn.Parameter]:
    prefix, inner = ("model.", model.model) if isinstance(model, EndToEnd) else ("", model)
    return {
        f"{prefix}{place}{'.' if place else ''}{name}": weight
        for place, layer in inner.named_modules()
        if isinstance(layer, nn.Linear | nn.RNNBase)
        for name, weight in layer.named_parameters(recurse=False)
        if weight.ndim == 2
    }


@torch.no_grad()
def round_matrices(model: TemporalModel, bits: int) -> None:
    """Round the matrices of ``model`` in place.

    Raises:
        ConfigError: it has none.
    """
    for weight in find_matrices(model).values():
        weight.copy_(round_matrix(weight, bits))


@contextmanager
def rounded(model: TemporalModel, bits: int | None) -> Iterator[dict[str, Tensor]]:
    """Inside, the matrices of ``model`` are rounded; gradients of what is computed there pass straight through.

    Yields the matrices as they were, by name; they are put back at the end. With ``bits`` None nothing is rounded.

    Raises:
        ConfigError: the model has no matrices.
    """
    if bits is None:
        yield {}
        return
    matrices = find_matrices(model)
    kept = {name: weight.detach().clone() for name, weight in matrices.items()}
    round_matrices(model, bits)
    try:
        yield kept
    finally:
        with torch.no_grad():  # in place, and known to whoever looks at a tensor's version
            for name, weight in matrices.items():
                weight.copy_(kept[name])
