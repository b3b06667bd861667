"""The loss of a sequence of predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from snn_action.config import LossSettings
from snn_action.models import Population, find_spikes


def sequence_loss(
    logits: Tensor,
    mask: Tensor,
    labels: Tensor,
    weights: LossSettings,
    label_smoothing: float = 0.0,
    mixed: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Cross-entropy of time steps, of clips, or both, averaged over clips.

        timestep: mean over real steps t of  H(y, softmax(logits_t))
        clip:     H(y, mean over real steps t of softmax(logits_t))

    with H(y, p) = -sum_k y_k log p_k and y the label, smoothed: 1 - e + e / K for its class and e / K elsewhere.
    Of a clip that was mixed of two, y has the share of the first class and what is left for the second one.

    Args:
        logits: (B, T, K).
        mask: (B, T), true on real steps; each clip has at least one.
        labels: (B,).
        weights: Of the two terms.
        label_smoothing: e.
        mixed: Second class (B,) of each clip and share (B,) of the first; None: clips are not mixed.
    """
    log_shares = logits.float().log_softmax(-1)
    classes: Tensor = F.one_hot(labels, logits.shape[-1])
    if mixed is not None:
        second, share = F.one_hot(mixed[0], logits.shape[-1]), mixed[1].unsqueeze(-1)
        classes = share * classes + (1 - share) * second
    target = classes * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    steps = mask.sum(1)
    loss = log_shares.new_zeros(())
    if weights.timestep:
        each = -(log_shares * target.unsqueeze(1)).sum(-1)
        loss = loss + weights.timestep * (each.masked_fill(~mask, 0.0).sum(1) / steps).mean()
    if weights.clip:
        shown = log_shares.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        mean = shown.logsumexp(1) - steps.log().unsqueeze(-1)
        loss = loss - weights.clip * (mean * target).sum(-1).mean()
    return loss


def spike_penalty(
    state: Any, mask: Tensor, populations: Sequence[Population], target: float | Mapping[str, float]
) -> Tensor:
    """``mean over clips and populations of max(r / target - 1, 0)^2``, or of ``r^2`` where ``target`` is 0.

    ``r`` is a clip's spikes a neuron and real step, from the fields ``spikes`` of ``state``. Where targets are given by
    name, the mean is over the populations that are named, at least one; the others may spike as they like.
    """
    steps = mask.sum(1)
    costs = []
    for count, population in zip(find_spikes(state), populations, strict=True):
        own = target.get(population.name) if isinstance(target, Mapping) else target
        if own is not None:
            rate = count / (population.neurons * steps)
            costs.append(rate.square() if own == 0 else (rate / own - 1).relu().square())
    return torch.stack(costs).mean()
