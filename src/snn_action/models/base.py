"""The contract of temporal models: features ``(B, T, D)`` to logits ``(B, T, K)``, one prediction a time step."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from inspect import Parameter
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.core.settings import describe_item, make_settings, make_signature
from snn_action.models.settings import ModelSettings, Scaling
from snn_action.snn.masks import check_mask

SIZES = ("in_features", "num_classes")
IN, OUT = "in_features: D of the input (B, T, D).", "num_classes: K of the logits (B, T, K)."
KEPT = 8  # layouts of states: one for each number of clips


class Population(NamedTuple):
    """Spiking neurons of one kind: name, number, and weights that one spike adds up (its fan-out)."""

    name: str
    neurons: int
    fan_out: int


class InputStandardizer(nn.Module):
    """``(x - mean) / deviation`` over the training set's real steps; identity until fitted.

    The deviation is each feature's own (``"feature"``), or one for all (``"global"``: the root of the mean variance).
    The latter keeps features that hardly vary small. It matters for features that come out of a PCA, whose last
    components are noise: blown up, they let a small training set be told apart by noise alone.

    With ``normalize`` each step's result is then divided by its own root mean square over features, so that a frame of
    strong contrast counts no more than another.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, scaling: Scaling, normalize: bool = False) -> None:
        super().__init__()
        self.scaling = scaling
        self.normalize = normalize
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def fit(self, features: Iterable[Tensor], mask: Iterable[Tensor]) -> None:
        """Set mean and scale from clips (T, D) where their masks (T,) are true; constant features keep 1."""
        clips = list(zip(features, mask, strict=True))  # one at a time below: the set in float64 may not fit
        count = sum(int(real.sum()) for _, real in clips)
        mean = torch.zeros_like(self.mean, dtype=torch.float64)
        variance = torch.zeros_like(mean)
        for clip, real in clips:
            mean += clip[real].sum(0, dtype=torch.float64) / count
        for clip, real in clips:
            variance += (clip[real].double() - mean).square().sum(0) / count
        if self.scaling == "global":
            variance = variance.mean().expand_as(mean)
        deviation = torch.where(variance > 1e-16, variance.sqrt(), 1.0)
        self.mean = mean.to(self.mean)
        self.scale = deviation.reciprocal().to(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Standardize ``x`` (..., D)."""
        x = (x - self.mean) * self.scale
        return F.rms_norm(x, x.shape[-1:], eps=1e-6) if self.normalize else x


class TemporalModel(nn.Module, ABC):
    """Base of all temporal models.

    ``forward`` and ``step`` check their input and standardize it; a model writes ``initial_state`` and
    ``forward_steps``, and ``step_once`` where a single step has a shorter way. State is explicit: a NamedTuple of
    tensors with the batch first, nested where layers are stacked. Where the model spikes, the state holds for each of
    its ``populations``, in that order, a field ``spikes`` (B,), the count since the clip began; it carries the
    gradient, for a penalty on spikes.

    Attributes:
        populations: Of spiking neurons; none: the model does not spike.
        averages_time: True where a step's prediction is already one of the mean over all steps seen: then a clip's
            prediction is that of its last step, where other models' are averaged over steps.
        trained_by_gradient: False where the model is trained by its method ``fit`` instead.
    """

    populations: tuple[Population, ...] = ()
    averages_time: ClassVar[bool] = False
    trained_by_gradient: ClassVar[bool] = True

    Settings: ClassVar[type[ModelSettings]]
    settings: Any
    standardizer: InputStandardizer

    def __init_subclass__(cls) -> None:
        """Let ``help`` show the arguments: ``in_features``, ``num_classes`` and the keys of ``Settings``."""
        super().__init_subclass__()
        if "Settings" in vars(cls):
            sizes = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=int) for name in SIZES]
            cls.__signature__ = make_signature(cls.Settings, *sizes)  # type: ignore[attr-defined]
            cls.__doc__ = describe_item(cls, cls.Settings, IN, OUT)

    def __init__(
        self, in_features: int, num_classes: int, *, settings: ModelSettings | None = None, **options: Any
    ) -> None:
        settings = make_settings(type(self), self.Settings, settings, options)
        if in_features < 1 or num_classes < 2:
            raise ValueError(f"in_features {in_features} must be at least 1, num_classes {num_classes} at least 2")
        super().__init__()
        self.in_features = in_features
        self.num_classes = num_classes
        self.settings = settings
        self._layouts: dict[tuple[int, torch.dtype], Any] = {}
        self.make_parts()

    @abstractmethod
    def make_parts(self) -> None:
        """Parameters and parts, from ``settings``: first ``self.standardizer``, then the model's own."""

    def forward(
        self, features: Tensor, state: Any = None, mask: Tensor | None = None, keep_state: bool = True
    ) -> tuple[Tensor, Any]:
        """Logits ``(B, T, K)`` of ``features`` (B, T, D), and the state after each clip's last real step.

        Features of another type are converted to that of the model's weights. Where ``keep_state`` is false, a model
        may leave out of that state all but ``spikes``, to spare memory.

        Raises:
            ValueError: a wrong shape, no time step, a mask that is not a run of true, then false, or a state that is
                not one of this model for as many clips.
        """
        del keep_state
        return self.forward_steps(*self.receive(features, state, mask))

    def receive(self, features: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any, Tensor | None]:
        """What ``forward`` is given, checked: standardized input, a state, and the mask.

        Raises:
            ValueError: as ``forward``.
        """
        if features.ndim != 3 or features.shape[1] < 1 or features.shape[2] != self.in_features:
            raise ValueError(
                f"features must be (batch, at least one step, {self.in_features}), not {tuple(features.shape)}"
            )
        batch, steps = features.shape[:2]
        features = features.to(self.standardizer.mean.dtype)
        if mask is not None:
            mask = check_mask(mask, batch, steps)
            features = features.masked_fill(~mask.unsqueeze(-1), 0.0)
        return self.standardizer(features), self._begin(state, features), mask

    def step(self, features: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits ``(B, K)`` of one time step ``features`` (B, D), and the state after it.

        Raises:
            ValueError: a wrong shape, or a state that is not one of this model for as many clips.
        """
        if features.ndim != 2 or features.shape[1] != self.in_features:
            raise ValueError(f"features must be (batch, {self.in_features}), not {tuple(features.shape)}")
        features = features.to(self.standardizer.mean.dtype)
        return self.step_once(self.standardizer(features), self._begin(state, features))

    def _begin(self, state: Any, features: Tensor) -> Any:
        """``state``, checked, or that before the first step of ``features`` (B, ...)."""
        if state is None:
            return self.initial_state(len(features), features.device, features.dtype)
        if not torch.compiler.is_compiling():
            check_layout(state, self.lay_out(len(features), features.dtype), "state")
        return state

    def lay_out(self, batch: int, dtype: torch.dtype) -> Any:
        """A state that fits, without its numbers."""
        key = batch, dtype
        if key not in self._layouts:
            made = self.initial_state(batch, torch.device("meta"), dtype)
            self._layouts = dict([*self._layouts.items(), (key, made)][-KEPT:])
        return self._layouts[key]

    @property
    def n_neurons(self) -> int:
        """Spiking neurons of all populations."""
        return sum(population.neurons for population in self.populations)

    def prepare(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Fit what gradients do not learn, or start from, to the training clips (B, T, D) with their labels (B,)."""
        del labels
        self.standardizer.fit(features, mask)

    def show_spikes(self, features: Tensor, mask: Tensor | None = None, state: Any = None) -> Tensor | None:
        """Spikes (B, T, N), counted, of the hidden units: the last of ``populations``, as in evaluation mode.

        None where hidden units do not spike. ``state`` is that before the first step; None: nothing was seen.
        """
        del features, mask, state
        return None

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Any:
        """The state before a clip's first step."""

    @abstractmethod
    def forward_steps(self, x: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        """``forward`` on checked, standardized input; padded steps are zero before standardization."""

    def step_once(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """``step`` on checked, standardized input: a sequence of one, where a model has no shorter way."""
        logits, state = self.forward_steps(x.unsqueeze(1), state, None)
        return logits.squeeze(1), state


def check_layout(state: Any, wanted: Any, name: str) -> None:
    """Check that a state has the fields of ``wanted``, a state that fits, and tensors of the same shapes.

    Raises:
        ValueError: it has not; gives the first such field's name, which begins with ``name``.
    """
    if isinstance(wanted, Tensor) and isinstance(state, Tensor):
        if state.shape != wanted.shape:
            raise ValueError(f"{name} must have shape {tuple(wanted.shape)}, not {tuple(state.shape)}")
    elif state is None and wanted is not None:
        raise ValueError(f"{name}: left out, as the pass that gave this state had keep_state=False")
    elif not isinstance(state, type(wanted)) or (isinstance(wanted, tuple) and len(state) != len(wanted)):
        raise ValueError(f"{name} is not one that this model returned")
    elif isinstance(wanted, tuple):
        names = getattr(wanted, "_fields", range(len(wanted)))
        for field, value, like in zip(names, state, wanted, strict=True):
            check_layout(value, like, f"{name}.{field}")


def find_spikes(state: Any) -> list[Tensor]:
    """All fields named ``spikes`` of a nested state, one a population: counts (B,) since the clip began."""
    found: list[Tensor] = []
    if isinstance(state, tuple):
        names = getattr(state, "_fields", (None,) * len(state))
        for name, value in zip(names, state, strict=True):
            if name == "spikes" and isinstance(value, Tensor):
                found.append(value)
            else:
                found.extend(find_spikes(value))
    return found


def drop(x: Tensor, share: float, training: bool) -> Tensor:
    """``x`` (B, T, N) without a share of its units in training: one draw a clip, the same in all its steps."""
    return x * F.dropout(torch.ones_like(x[:, :1]), share) if training and share > 0 else x


def perturb(x: Tensor, dropout: float, noise: float) -> Tensor:
    """Training input (B, T, D) with a share ``dropout`` of features dropped and ``noise`` (deviation) added.

    One draw a clip, the same in all its steps: what is drawn anew at each step averages out over a clip.
    """
    if dropout > 0:
        x = x * F.dropout(torch.ones_like(x[:, :1]), dropout)
    if noise > 0:
        x = x + noise * torch.randn_like(x[:, :1])
    return x
