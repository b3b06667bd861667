"""Products with weights that have at most one value other than zero in each row.

``encoders: on_off`` begins with such weights: each memory is of one feature, each hidden unit sees one coefficient.
While nothing has trained them, the product ``W x + b`` is a choice of values of x, thousands of times cheaper.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from snn_action.snn.counting import is_counting

_LEAST = 2**16  # weights, below which a product is as fast
_LOOK = 8  # rows that tell most other weights apart


class _Selection(NamedTuple):
    """At the weights' ``version``: y_i = value_i x[chosen_i]; None: they are others."""

    version: int
    chosen: Tensor | None
    value: Tensor | None


_known: Any = WeakIdKeyDictionary()  # of weights, compared as objects


def project(x: Tensor, layer: nn.Linear) -> Tensor:
    """``layer(x)``; where no gradient is asked for and its weights allow it, by choosing values of ``x`` (..., D)."""
    found = find_selection(x, layer.weight)
    if found is None:
        product: Tensor = layer(x)  # as a module, so that hooks on it are called
        return product
    rows = x.reshape(-1, x.shape[-1])  # of a table the choice is several times as fast
    product = rows.index_select(1, found[0]).mul_(found[1])
    product = product if layer.bias is None else product.add_(layer.bias)
    return product.reshape(*x.shape[:-1], -1)


def find_selection(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """Which values of ``x`` are chosen, and by what they are multiplied; None: it is a product like others."""
    plain = torch.compiler.is_compiling() or torch.is_autocast_enabled(x.device.type) or is_counting()
    if plain or torch.is_grad_enabled() or weight.numel() < _LEAST or weight.is_inference():
        return None
    found: _Selection | None = _known.get(weight)
    if found is None or found.version != weight._version:
        _known[weight] = found = _select(weight)
    return None if found.chosen is None or found.value is None else (found.chosen, found.value)


def _select(weight: Tensor) -> _Selection:
    version = weight._version
    if any(int(part.count_nonzero(1).max()) > 1 for part in (weight[:_LOOK], weight)):
        return _Selection(version, None, None)
    index = (weight != 0).to(torch.uint8).argmax(1)
    return _Selection(version, index, weight.gather(1, index.unsqueeze(1)).squeeze(1))
