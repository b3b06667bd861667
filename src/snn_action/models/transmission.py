"""How a value reaches the layers behind it: as it is at each step, or as changes that reach a threshold.

    h_t = SigmaDelta(theta)(x)_t                 what receivers hold, see ``snn.SigmaDelta``
    y_t = W h_t + b = y_{t-1} + W (h_t - h_{t-1})

Consecutive frames are alike, so few values change. Here ``y`` is computed as ``W h + b``; one step of a stream adds up
the changes alone (``stream_step``), as a chip does.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.models.selection import project
from snn_action.snn.counting import by_changes, count_elsewhere, count_events, is_counting
from snn_action.snn.masks import take_last
from snn_action.snn.sigma_delta import SigmaDelta, SigmaDeltaState


class Received(NamedTuple):
    """What receivers hold (B, N) after the last step, and what each layer made of it, (B, M) each."""

    held: Tensor
    products: tuple[Tensor, ...]


def start(batch: int, layers: tuple[nn.Linear, ...], device: torch.device, dtype: torch.dtype) -> Received:
    """Nothing was sent: receivers hold zero, and layers give their biases."""
    held = torch.zeros(batch, layers[0].in_features, device=device, dtype=dtype)
    products = tuple(
        torch.zeros(batch, layer.out_features, device=device, dtype=dtype)
        if layer.bias is None
        else layer.bias.detach().to(device, dtype).expand(batch, -1)
        for layer in layers
    )
    return Received(held, products)


def transmit(
    values: Tensor, state: Received | None, mask: Tensor | None, threshold: float | None, name: str, *layers: nn.Linear
) -> tuple[list[Tensor], Received | None]:
    """What ``layers`` make of ``values`` (B, T, N), (B, T, M) each, and the state after each clip's last real step.

    Without a threshold (None) values come as they are. ``name`` is that of the senders, for whoever counts.
    """
    if threshold is None or state is None:
        return [project(values, layer) for layer in layers], None
    held, _ = SigmaDelta(threshold)(values, SigmaDeltaState(state.held.to(values)))
    if is_counting():
        _count(held, state.held, name, layers)
    with count_elsewhere():
        products = [project(held, layer) for layer in layers]
    last = tuple(take_last(product, mask).detach().to(state.held) for product in products)
    return products, Received(take_last(held, mask).detach().to(state.held), last)


def transmit_once(
    values: Tensor, state: Received | None, threshold: float | None, name: str, *layers: nn.Linear
) -> tuple[list[Tensor], Received | None]:
    """``transmit`` of one step: what ``layers`` make of ``values`` (B, N), (B, M) each, and the state after it."""
    if threshold is None or state is None:
        return [project(values, layer) for layer in layers], None
    products, state = transmit(values.unsqueeze(1), state, None, threshold, name, *layers)
    return [product.squeeze(1) for product in products], state


def _count(held: Tensor, before: Tensor, name: str, layers: tuple[nn.Linear, ...]) -> None:
    changes = torch.diff(held, dim=1, prepend=before.to(held).unsqueeze(1))
    per_step = changes.flatten(0, 1).count_nonzero(1)
    count_events(name, held.shape[-1], per_step.tolist(), states=1)  # what they send is kept where it is made
    with by_changes():
        for layer in layers:
            F.linear(changes, layer.weight)
