"""The optimizer, and its learning rate as a function of the step alone."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from snn_action.config import TrainingSettings

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # that Adam keeps of a parameter

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


def restore(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimizer the moments of a checkpoint; its settings stay those of the configuration.

    The checkpoint may be anybody's. Fused kernels look at no shape, type or stride: moments of another size would be
    read and written beyond their end.

    Raises:
        ValueError: they are not those of these parameters; or what PyTorch raises of a state that is none.
    """
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(dict(state))
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            shape, kind = ((), torch.float32) if name == "step" else (parameter.shape, parameter.dtype)
            is_moment = name in _MOMENTS and isinstance(value, torch.Tensor) and value.layout == torch.strided
            if not is_moment or value.shape != shape or value.dtype != kind:
                raise ValueError(f"{name} of the optimizer does not fit its parameter")
            moments[name] = value.contiguous()
        if len(moments) != len(_MOMENTS):
            raise ValueError("moments of the optimizer are missing")


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
