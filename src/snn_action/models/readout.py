"""Output weights solved for what a model represents at its start, as decoders are: no gradient passes the model."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.models.base import TemporalModel
from snn_action.models.logistic import fit_logistic
from snn_action.models.settings import Readout
from snn_action.snn.least_squares import fit_least_squares

Represent = Callable[[Tensor, Any, Tensor | None], Tensor]
CLIPS = 64  # run at a time


@torch.no_grad()
def solve_readout(
    model: TemporalModel,
    layer: nn.Linear,
    represent: Represent,
    features: Tensor,
    mask: Tensor,
    labels: Tensor,
    method: Readout,
    strength: float,
    opposed: bool = False,
) -> None:
    """Set ``layer`` to what names the class best from each clip's mean over time of what ``represent`` gives.

    With r (N,) the mean in units of ``sqrt(N)`` times its mean deviation, so that one strength suits layers of all
    widths: ``logistic`` minimizes the cross-entropy of ``W r + c`` over clips plus ``strength / 2 |W|^2``,
    ``least_squares`` squared distances to targets plus ``strength |W|^2`` (``least_squares.py``), which holds on to
    directions that many clips share and is less at the mercy of few clips near the border.

    Args:
        model: In whose evaluation mode ``represent`` is called; its input standardization is fitted.
        layer: From N values to K classes.
        represent: From standardized input (B, T, D), state and mask to (B, T, N).
        features: Of the training clips (B, T, D).
        mask: Their real steps (B, T).
        labels: Their classes (B,).
        method: ``random`` leaves the layer as it is.
        strength: Of the L2 penalty.
        opposed: Values lie in pairs, and the weights of a pair are opposite: r are the pairs' differences.
    """
    if method == "random":
        return
    means = average_clips(model, represent, features, mask)
    means = means[:, ::2] - means[:, 1::2] if opposed else means
    weight, bias = solve(means, labels, layer.out_features, method, strength)
    weight = torch.stack([weight, -weight], 2).flatten(1) if opposed else weight
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def solve(means: Tensor, labels: Tensor, num_classes: int, method: Readout, strength: float) -> tuple[Tensor, Tensor]:
    """``W`` (K, N) and ``c`` (K,) of ``solve_readout``, from the clips' means (C, N)."""
    unit = (means.var(0, correction=0).sum()).sqrt().clamp(min=1e-12)
    fit = fit_logistic if method == "logistic" else fit_least_squares
    weight, bias = fit(means / unit, labels, num_classes, strength)
    return weight / unit, bias


@torch.no_grad()
def average_clips(model: TemporalModel, represent: Represent, features: Tensor, mask: Tensor) -> Tensor:
    """Each clip's mean over time (C, N), float64, of what ``represent`` gives in evaluation mode."""
    training = model.training
    model.eval()
    means = []
    for some, real in zip(torch.split(features, CLIPS), torch.split(mask, CLIPS), strict=True):
        values = represent(*model.receive(some.to(model.standardizer.mean), None, real))
        means.append(((values * real.unsqueeze(-1)).sum(1) / real.sum(1, keepdim=True)).double())
    model.train(training)
    return torch.cat(means)
