"""The optimizer, and its learning rate as a function of the step alone."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from snn_action.config import TrainingSettings

Rates = Sequence[tuple[float, Sequence[torch.nn.Parameter]]]


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], settings: TrainingSettings, rates: Rates = ()
) -> torch.optim.Optimizer:
    """Adam or AdamW; on the CPU in one pass over each parameter, of which there would be a dozen.

    ``rates`` are factors of the learning rate for some parameters; their group keeps it as ``factor``. With clipping
    it is PyTorch's plain one, as it always was: the two differ in the last bits.
    """
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    fused = settings.gradient_clip is None and all(parameter.device.type == "cpu" for parameter in learned)
    factors = {id(parameter): factor for factor, some in rates for parameter in some}
    groups: list[dict[str, Any]] = []
    for factor in sorted({factors.get(id(parameter), 1.0) for parameter in learned}):
        own = [parameter for parameter in learned if factors.get(id(parameter), 1.0) == factor]
        groups.append({"params": own, **({} if factor == 1 else {"factor": factor})})
    kind, rate, decay = kinds[settings.optimizer], settings.learning_rate, settings.weight_decay
    return kind(groups, lr=rate, weight_decay=decay, fused=fused or None)


def learning_rate(step: int, steps_per_epoch: int, settings: TrainingSettings) -> float:
    """The learning rate of a step, counted from 0 over all epochs."""
    warmup, total = settings.warmup_epochs * steps_per_epoch, settings.epochs * steps_per_epoch
    return settings.learning_rate * scale_rate(step, total, warmup, settings.schedule == "cosine")


def scale_rate(step: int, total: int, warmup: int, cosine: bool) -> float:
    """Factor of the learning rate: linear from 0 over ``warmup`` steps, then 1, or half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if not cosine or total <= warmup:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (total - warmup))))
