"""The contract of temporal models: features ``(B, T, D)`` to logits ``(B, T, K)``, one prediction a time step."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.registry import Settings


class ModelSettings(Settings):
    """What every temporal model can be asked."""


def check_mask(mask: Tensor, batch: int, steps: int) -> Tensor:
    """Check a mask ``(B, T)``, true on real steps, and return it as booleans.

    Raises:
        ValueError: the shape is wrong, a clip has no real step, or a mask is not a run of true, then false.
    """
    if mask.shape != (batch, steps):
        raise ValueError(f"mask must have shape {(batch, steps)}, not {tuple(mask.shape)}")
    mask = mask.bool()
    if not bool(mask[:, 0].all()):
        clip = int((~mask[:, 0]).nonzero()[0])
        raise ValueError(f"mask of clip {clip} has no real first step: a mask is a run of true, then false")
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        clip = int((mask[:, 1:] & ~mask[:, :-1]).any(1).nonzero()[0])
        raise ValueError(f"mask of clip {clip} has a hole: a mask is a run of true, then false")
    return mask


class InputStandardiser(nn.Module):
    """``(x - mean) / deviation``, each feature's own over the training set's real steps; identity until fitted."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def fit(self, features: Tensor, mask: Tensor) -> None:
        """Set mean and scale from ``features`` (B, T, D) where ``mask`` (B, T) is true; constant features keep 1."""
        real = features[mask].double()
        deviation = real.std(0, correction=0)
        deviation = torch.where(deviation > 1e-8, deviation, torch.ones_like(deviation))
        self.mean = real.mean(0).to(self.mean)
        self.scale = deviation.reciprocal().to(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise ``x`` (..., D)."""
        return (x - self.mean) * self.scale


class TemporalModel(nn.Module, ABC):
    """Base of all temporal models.

    ``forward`` and ``step`` check their input and standardise it; a model writes ``initial_state``,
    ``forward_steps`` and ``step_once``. State is explicit: a NamedTuple of tensors with the batch first, nested
    where layers are stacked. Where the model spikes, a state holds ``spikes`` (B,), the count since the clip
    began, and ``n_neurons`` says of how many neurons.
    """

    n_neurons: int = 0

    def __init__(self, in_features: int, num_classes: int) -> None:
        if in_features < 1 or num_classes < 2:
            raise ValueError(f"in_features {in_features} must be at least 1, num_classes {num_classes} at least 2")
        super().__init__()
        self.in_features = in_features
        self.num_classes = num_classes
        self.standardiser = InputStandardiser(in_features)

    def forward(self, features: Tensor, state: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        """Logits ``(B, T, K)`` of ``features`` (B, T, D), and the state after each clip's last real step.

        Raises:
            ValueError: a wrong shape, no time step, or a mask that is not a run of true, then false.
        """
        if features.ndim != 3 or features.shape[1] < 1 or features.shape[2] != self.in_features:
            raise ValueError(
                f"features must be (batch, at least one step, {self.in_features}), not {tuple(features.shape)}"
            )
        batch, steps = features.shape[:2]
        if mask is not None:
            mask = check_mask(mask, batch, steps)
            features = features.masked_fill(~mask.unsqueeze(-1), 0.0)
        if state is None:
            state = self.initial_state(batch, features.device, features.dtype)
        return self.forward_steps(self.standardiser(features), state, mask)

    def step(self, features: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits ``(B, K)`` of one time step ``features`` (B, D), and the state after it.

        Raises:
            ValueError: a wrong shape.
        """
        if features.ndim != 2 or features.shape[1] != self.in_features:
            raise ValueError(f"features must be (batch, {self.in_features}), not {tuple(features.shape)}")
        if state is None:
            state = self.initial_state(features.shape[0], features.device, features.dtype)
        return self.step_once(self.standardiser(features), state)

    def prepare(self, features: Tensor, mask: Tensor) -> None:
        """Fit what is not learned by gradients to the training clips ``(B, T, D)``: the input's mean and scale."""
        self.standardiser.fit(features, mask)

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Any:
        """The state before a clip's first step."""

    @abstractmethod
    def forward_steps(self, x: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        """``forward`` on checked, standardised input; padded steps are zero before standardisation."""

    @abstractmethod
    def step_once(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """``step`` on checked, standardised input."""


def hold(new: Any, old: Any, real: Tensor) -> Any:
    """``new`` where ``real`` (B,) is true and ``old`` elsewhere, through nested NamedTuples of batch-first tensors."""
    if isinstance(new, Tensor):
        return torch.where(real.view(-1, *(1,) * (new.ndim - 1)), new, old)
    if isinstance(new, tuple):
        held = [hold(n, o, real) for n, o in zip(new, old, strict=True)]
        return type(new)(*held) if hasattr(new, "_fields") else tuple(held)
    return new
