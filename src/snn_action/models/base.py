"""The contract of temporal models: features ``(B, T, D)`` to logits ``(B, T, K)``, one prediction a time step."""

from abc import ABC, abstractmethod
from inspect import Parameter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.core.settings import describe_item, make_settings, make_signature
from snn_action.models.differences import Past
from snn_action.models.inputs import ExpandedClips, Inputs, SeenState
from snn_action.models.populations import Population as Population
from snn_action.models.populations import Synapses
from snn_action.models.settings import ModelSettings
from snn_action.models.standardizer import InputStandardizer as InputStandardizer
from snn_action.snn.masks import check_mask

SIZES = ("in_features", "num_classes")
IN, OUT = "in_features: D of the input (B, T, D).", "num_classes: K of the logits (B, T, K)."
KEPT = 8  # layouts of states: one for each number of clips


class TemporalModel(nn.Module, ABC):
    """Base of all temporal models.

    ``forward`` and ``step`` check their input and standardize it; a model writes ``initial_state`` and
    ``forward_steps``, and ``step_once`` where a single step has a shorter way. State is explicit: a NamedTuple of
    tensors with the batch first, nested where layers are stacked. Where the model spikes, the state holds for each of
    its ``populations``, in that order, a field ``spikes`` (B,), the count since the clip began; it carries the
    gradient, for a penalty on spikes.

    What ``settings.inputs`` adds to the features is added before all that; the state then holds what was seen, too
    (``inputs.SeenState``), around the model's own.

    Attributes:
        given_features: D of the input.
        in_features: Values of a step that the model's own parts see: D, times the number of inputs.
        populations: Of spiking neurons; none: the model does not spike.
        synapses: Behind populations that meet several sets of weights, or share one; those behind each other
            population are its own.
        averages_time: True where a step's prediction is already one of the mean over all steps seen: then a clip's
            prediction is that of its last step, where other models' are averaged over steps.
        trained_by_gradient: False where the model is trained by its method ``fit`` instead.
    """

    populations: tuple[Population, ...] = ()
    synapses: tuple[Synapses, ...] = ()
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
        self.inputs = Inputs(settings)
        self.given_features = in_features
        self.in_features = in_features * self.inputs.blocks
        self.num_classes = num_classes
        self.settings = settings
        self._layouts: dict[tuple[int, torch.dtype], Any] = {}
        self.make_parts()
        self.standardizer.centered = self.inputs.centered

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
        x, own, mask, past = self.take_in(features, state, mask)
        logits, own = self.advance(x, own, mask, keep_state)
        return logits, self.put_together(past, own)

    def advance(self, x: Tensor, state: Any, mask: Tensor | None, keep_state: bool) -> tuple[Tensor, Any]:
        """``forward_steps``, for a model that leaves something out of the state where ``keep_state`` is false."""
        del keep_state
        return self.forward_steps(x, state, mask)

    def receive(self, features: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any, Tensor | None]:
        """What ``forward`` is given, checked: standardized input, the model's own state, and the mask.

        Raises:
            ValueError: as ``forward``.
        """
        x, own, mask, _ = self.take_in(features, state, mask)
        return x, own, mask

    def take_in(
        self, features: Tensor, state: Any, mask: Tensor | None
    ) -> tuple[Tensor, Any, Tensor | None, Past | None]:
        """``receive``, and what was seen of the input after it, for ``put_together``.

        Raises:
            ValueError: as ``forward``.
        """
        if features.ndim != 3 or features.shape[1] < 1 or features.shape[2] != self.given_features:
            raise ValueError(
                f"features must be (batch, at least one step, {self.given_features}), not {tuple(features.shape)}"
            )
        batch, steps = features.shape[:2]
        features = features.to(self.standardizer.mean.dtype)
        if mask is not None:
            mask = check_mask(mask, batch, steps)
            features = features.masked_fill(~mask.unsqueeze(-1), 0.0)
        past, own = self._begin_all(state, features)
        if past is not None:
            features, past = self.inputs.expand(features, past, mask)
        return self.standardizer(features), own, mask, past

    def step(self, features: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits ``(B, K)`` of one time step ``features`` (B, D), and the state after it.

        Raises:
            ValueError: a wrong shape, or a state that is not one of this model for as many clips.
        """
        if features.ndim != 2 or features.shape[1] != self.given_features:
            raise ValueError(f"features must be (batch, {self.given_features}), not {tuple(features.shape)}")
        features = features.to(self.standardizer.mean.dtype)
        past, own = self._begin_all(state, features)
        if past is not None:
            expanded, past = self.inputs.expand(features.unsqueeze(1), past, None)
            features = expanded.squeeze(1)
        logits, own = self.step_once(self.standardizer(features), own)
        return logits, self.put_together(past, own)

    @staticmethod
    def put_together(past: Past | None, own: Any) -> Any:
        """The whole state: the model's own, and what was seen of the input where it looks back."""
        return own if past is None else SeenState(past, own)

    def start(self, batch: int, device: torch.device, dtype: torch.dtype) -> Any:
        """The whole state before a clip's first step."""
        own = self.initial_state(batch, device, dtype)
        if self.inputs.changes_nothing:
            return own
        return SeenState(self.inputs.start(batch, self.given_features, device, dtype), own)

    def _begin_all(self, state: Any, features: Tensor) -> tuple[Past | None, Any]:
        """What was seen of the input, None where only the features are given, and the model's own state; checked."""
        if self.inputs.changes_nothing:
            return None, self._begin(state, features)
        sizes = len(features), self.given_features
        if state is None:
            return self.inputs.start(*sizes, features.device, features.dtype), self._begin(None, features)
        if not isinstance(state, SeenState):
            raise ValueError("state is not one that this model returned")
        if not torch.compiler.is_compiling():
            check_layout(state.past, self.inputs.start(*sizes, torch.device("meta"), features.dtype), "state.past")
        return state.past, self._begin(state.own, features)

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
    def input_scale(self) -> Tensor:
        """Factors (D,) by which features are scaled, their means subtracted; of several inputs those of the first."""
        return self.standardizer.scale[: self.given_features]

    def settle(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Choose, after training, what is chosen on validation clips (B, T, D) with their labels (B,): nothing here."""

    @property
    def n_neurons(self) -> int:
        """Spiking neurons of all populations."""
        return sum(population.neurons for population in self.populations)

    def prepare(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Fit what gradients do not learn, or start from, to the training clips (B, T, D) with their labels (B,)."""
        del labels
        self.standardizer.fit(ExpandedClips(self.inputs, features, mask), mask)

    def show_spikes(self, features: Tensor, mask: Tensor | None = None, state: Any = None) -> Tensor | None:
        """Spikes (B, T, N), counted, of the hidden units: the last of ``populations``, as in evaluation mode.

        None where hidden units do not spike. ``state`` is that before the first step; None: nothing was seen.
        """
        del features, mask, state
        return None

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Any:
        """The model's own state before a clip's first step."""

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
