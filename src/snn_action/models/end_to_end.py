"""Backbone and temporal model, trained together from frames.

    e_t = encoder(frames up to t),   f_t = head(e_t),   logits_t = model(f_1 ... f_t)

The input of a step is a frame, or what the backbone's frozen layers made of it, laid flat (D values for each stream).
The encoder is the rest of the backbone, one for all streams, whose features lie side by side for the temporal model.
``head`` are new layers ``W_n relu(... relu(W_1 e + b_1) ...) + b_n``. Where no encoder is given, e_t is the input.

A run gives the encoder; ``docs/how-to/end-to-end.md`` says how.
"""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from snn_action.core.errors import ConfigError
from snn_action.models.base import InputStandardizer, Population, TemporalModel
from snn_action.models.encoder import Encoder, join_clips, split_clips
from snn_action.models.end_to_end_settings import EndToEndSettings, RateSettings
from snn_action.models.settings import Input, ModelSettings


class EndToEndState(NamedTuple):
    """The encoder's state of each stream, and the temporal model's."""

    encoder: tuple[Any, ...]
    model: Any


class Unscaled(InputStandardizer):
    """Frames as they are; the encoder normalizes them."""

    def forward(self, x: Tensor) -> Tensor:
        """``x``."""
        return x


class EndToEnd(TemporalModel):
    """Logits from frames, ``model(head(encoder(frames)))``.

    Attributes:
        encoder: A copy of that given to ``settings.build``; None: the input is that of ``head``.
        head: New layers, of each frame and stream alone.
        model: The temporal model.
    """

    Settings = EndToEndSettings
    settings: EndToEndSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            in_features: int,
            num_classes: int,
            *,
            inputs: tuple[Input, ...] = ("features",),
            lags: tuple[int, ...] = (1,),
            windows: tuple[int, ...] = (4, 8, 16),
            model: ModelSettings | Mapping[str, Any] = ...,
            train_from: str = "all",
            head: tuple[int, ...] = (),
            rates: RateSettings | Mapping[str, Any] = ...,
            batch_norm: Literal["frozen", "trained"] | None = None,
            shift: float = 0.0,
            zoom: float = 0.0,
            recompute: bool = False,
            frames_together: int = 64,
            settings: EndToEndSettings | None = None,
        ) -> None: ...

    else:

        def __init__(self, in_features, num_classes, *, settings=None, encoder=None, **options):
            vars(self)["_given"] = encoder  # before there is a module, which would keep it as a part
            super().__init__(in_features, num_classes, settings=settings, **options)
            del vars(self)["_given"]

    def make_parts(self) -> None:
        """A copy of the encoder, the head, and the temporal model.

        Raises:
            ConfigError: the input is not that of the encoder, or the temporal model learns without gradients.
        """
        s = self.settings
        self.standardizer = Unscaled(1, "global")  # the temporal model has its own
        given: Encoder | None = vars(self)["_given"]
        size = self.in_features if given is None else torch.Size(given.shape).numel()
        if self.in_features % size:
            raise ConfigError(f"model: {self.in_features} values of a step are not frames of {size} values")
        self.streams = self.in_features // size
        self.encoder = None if given is None else copy.deepcopy(given).requires_grad_()
        features = size if self.encoder is None else self.encoder.feature_dim
        layers: list[nn.Module] = []
        for units in s.head:
            layers += [*([nn.ReLU()] if layers else []), nn.Linear(features, units)]
            features = units
        self.head = nn.Sequential(*layers)
        self.model = s.model.build(self.streams * features, self.num_classes)
        if not self.model.trained_by_gradient:
            raise ConfigError(
                f"model.model: {type(self.model).__name__} learns without gradients, which the layers before it need"
            )
        self.averages_time = self.model.averages_time  # type: ignore[misc] # a class's constant elsewhere
        self.freezes = False
        own: tuple[Population, ...] = ()
        if self.encoder is not None:
            self.encoder.frames_together, self.encoder.recompute = s.frames_together, s.recompute
            self.freezes = not self.encoder.is_drawn if s.batch_norm is None else s.batch_norm == "frozen"
            own = self.encoder.populations
        prefixes = [""] if self.streams == 1 else [f"stream {number + 1}: " for number in range(self.streams)]
        several = [one._replace(name=f"{prefix}{one.name}") for prefix in prefixes for one in own]
        self.populations = (*several, *self.model.populations)
        shared = () if self.encoder is None else self.encoder.synapses
        self.synapses = (*(one.inside(prefix) for prefix in prefixes for one in shared), *self.model.synapses)

    def train(self, mode: bool = True) -> "EndToEnd":
        """Also leave batch normalization as it is where its statistics are frozen."""
        super().train(mode)
        if self.freezes and self.encoder is not None:
            for module in self.encoder.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    @property
    def input_scale(self) -> Tensor:
        """Ones (D,): the input is not scaled here."""
        return self.standardizer.scale.expand(self.given_features)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> EndToEndState:
        """Those of encoder and temporal model."""
        encoder = () if self.encoder is None else self.encoder.initial_state(batch, device, dtype)
        return EndToEndState((encoder,) * self.streams, self.model.start(batch, device, dtype))

    def encode(self, x: Tensor, mask: Tensor | None = None, state: Any = None) -> tuple[Tensor, tuple[Any, ...]]:
        """What the temporal model gets ``(B, T, S F)`` of the input (B, T, S D), and the encoder's state after it."""
        if mask is not None and bool(mask.all()):
            mask = None
        if state is None:
            state = self.initial_state(len(x), x.device, x.dtype).encoder
        if self.streams > 1:
            x = torch.cat(x.chunk(self.streams, -1))
            mask = None if mask is None else mask.repeat(self.streams, 1)
        if self.encoder is not None:
            if self.training and (self.settings.shift or self.settings.zoom):
                x = move(x, self.encoder.shape, self.settings.shift, self.settings.zoom, self.streams)
            x, after = self.encoder(x, join_clips(state), mask)
            state = split_clips(after, self.streams)
        features: Tensor = self.head(x)
        return torch.cat(features.chunk(self.streams), -1) if self.streams > 1 else features, state

    def forward_steps(self, x: Tensor, state: EndToEndState, mask: Tensor | None) -> tuple[Tensor, EndToEndState]:
        """See the class."""
        return self.advance(x, state, mask, True)

    def advance(
        self, x: Tensor, state: EndToEndState, mask: Tensor | None, keep_state: bool
    ) -> tuple[Tensor, EndToEndState]:
        """See the class; the temporal model may leave its state out."""
        features, encoder = self.encode(x, mask, state.encoder)
        logits, after = self.model(features, state.model, mask, keep_state)
        return logits, EndToEndState(encoder, after)

    def step_once(self, x: Tensor, state: EndToEndState) -> tuple[Tensor, EndToEndState]:
        """One step of both."""
        features, encoder = self.encode(x.unsqueeze(1), None, state.encoder)
        logits, after = self.model.step(features.squeeze(1), state.model)
        return logits, EndToEndState(encoder, after)

    def show_spikes(self, features: Tensor, mask: Tensor | None = None, state: Any = None) -> Tensor | None:
        """Those of the temporal model's hidden units."""
        x, own, mask = self.receive(features, state, mask)
        seen, _ = self.encode(x, mask, own.encoder)
        return self.model.show_spikes(seen, mask, own.model)

    @torch.no_grad()
    def prepare(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Prepare the temporal model on what it gets; a run gives it that some clips at a time."""
        training = self.training
        x, _, real = self.eval().receive(features, None, mask)
        self.model.prepare(self.encode(x, real)[0], mask, labels)
        self.train(training)

    @torch.no_grad()
    def settle(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Let the temporal model choose what it chooses; a run gives it what it gets some clips at a time."""
        training = self.training
        x, _, real = self.eval().receive(features, None, mask)
        self.model.settle(self.encode(x, real)[0], mask, labels)
        self.train(training)

    def rate_parts(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Parameters with the factors of their learning rates."""
        rates = self.settings.rates
        parts = ((rates.backbone, self.encoder), (rates.head, self.head), (rates.model, self.model))
        return [(rate, list(part.parameters())) for rate, part in parts if part is not None]

    def complete(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of this model, of those of its temporal model alone: the rest as it is."""
        if any(key.startswith("model.") for key in weights):
            return dict(weights)
        own = {key: value for key, value in self.state_dict().items() if not key.startswith("model.")}
        return own | {f"model.{key}": value for key, value in weights.items()}


def move(x: Tensor, shape: tuple[int, ...], shift: float, zoom: float, streams: int) -> Tensor:
    """Frames ``(S B, T, D)`` of ``shape`` moved and made larger or smaller, one draw a clip, the same in all streams.

    What comes in from outside is the nearest pixel. A point at ``p`` in [-1, 1] x [-1, 1] shows what was at ``a p + b``
    with ``a`` from ``1 - zoom`` to ``1 + zoom`` and each of ``b`` from ``-2 shift`` to ``2 shift``, evenly drawn.
    """
    clips, steps = len(x) // streams, x.shape[1]
    draws = torch.rand(clips, 3, device=x.device, dtype=x.dtype) * 2 - 1
    affine = x.new_zeros(clips, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = 1 + zoom * draws[:, 0]
    affine[:, :, 2] = 2 * shift * draws[:, 1:]
    grid = F.affine_grid(affine.repeat(streams, 1, 1), [len(x), 1, *shape[-2:]], align_corners=False)
    planes = x.view(len(x), -1, *shape[-2:])  # all steps and channels move alike
    return F.grid_sample(planes, grid, padding_mode="border", align_corners=False).view(len(x), steps, -1)
