"""Late fusion of streams: a model for each stream of the input, their logits averaged.

    logits_t = sum_s w_s logits_t^s,   w_s >= 0,  sum_s w_s = 1

with ``logits^s`` those of stream s's own model. Where streams are joined instead, one model sees all of them, and a
weak stream adds noise to a strong one; here it costs no more than its weight. The weights are those of least negative
log-likelihood on validation clips, equal where there are none, or as given.
"""

import copy
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.core.errors import ConfigError
from snn_action.models.base import InputStandardizer, TemporalModel
from snn_action.models.settings import Input, LateFusionSettings, ModelSettings
from snn_action.snn.counting import inside

PARTS = 20  # a weight is a multiple of 1 / PARTS where there are few streams
MOST = 2000  # mixtures that are tried
STEPS = 64  # clips run at a time

Clips = tuple[Tensor, Tensor, Tensor]


class LateFusion(TemporalModel):
    """One model for each stream, ``logits_t = sum_s w_s logits_t^s``; the state is a tuple of theirs.

    Attributes:
        parts: The model of each stream.
        weights: (S,) at least 0, of sum 1.
    """

    Settings = LateFusionSettings
    settings: LateFusionSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            in_features: int,
            num_classes: int,
            *,
            inputs: tuple[Input, ...] = ("features",),
            lags: tuple[int, ...] = (1,),
            windows: tuple[int, ...] = (4, 8, 16),
            model: ModelSettings | dict[str, Any] = ...,
            streams: int = 2,
            weights: tuple[float, ...] | None = None,
            settings: LateFusionSettings | None = None,
        ) -> None: ...

    weights: Tensor

    def make_parts(self) -> None:
        """A model for each stream; D is shared out evenly.

        Raises:
            ConfigError: D is no multiple of the number of streams.
        """
        s = self.settings
        if self.in_features % s.streams:
            raise ConfigError(
                f"model.streams: {self.in_features} features are not {s.streams} streams of equal size; set it to the "
                "number of clip.streams"
            )
        self.standardizer = InputStandardizer(self.in_features, "global")  # stays the identity: each part has its own
        self.parts = nn.ModuleList(s.model.build(self.in_features // s.streams, self.num_classes) for _ in self._sides)
        given = torch.tensor(s.weights or [1.0] * s.streams)
        self.register_buffer("weights", given / given.sum())
        first = self._list_parts()[0]
        self.averages_time = first.averages_time  # type: ignore[misc] # a class's constant elsewhere
        self.trained_by_gradient = first.trained_by_gradient  # type: ignore[misc]
        self.populations = tuple(
            one._replace(name=f"stream {number + 1}: {one.name}")
            for number, part in enumerate(self._list_parts())
            for one in part.populations
        )
        self.synapses = tuple(
            one.inside(f"stream {number + 1}: ")
            for number, part in enumerate(self._list_parts())
            for one in part.synapses
        )

    @property
    def _sides(self) -> range:
        return range(self.settings.streams)

    def _list_parts(self) -> list[TemporalModel]:
        return [part for part in self.parts if isinstance(part, TemporalModel)]

    def _cut(self, x: Tensor) -> list[Tensor]:
        return list(x.chunk(self.settings.streams, -1))

    @property
    def input_scale(self) -> Tensor:
        """Factors (D,) by which the parts scale their features."""
        return torch.cat([part.input_scale for part in self._list_parts()])

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
        """The states of all parts."""
        return tuple(part.start(batch, device, dtype) for part in self._list_parts())

    def forward_steps(self, x: Tensor, state: tuple[Any, ...], mask: Tensor | None) -> tuple[Tensor, tuple[Any, ...]]:
        """See the class."""
        each, states = self._run(x, state, mask)
        return (each * self.weights.to(each)).sum(-1), states

    def _run(self, x: Tensor, state: tuple[Any, ...], mask: Tensor | None) -> tuple[Tensor, tuple[Any, ...]]:
        """Logits of all parts (B, T, K, S), and their states."""
        sides = zip(self._list_parts(), self._cut(x), state, strict=True)
        logits, states = zip(*(part(own, before, mask) for part, own, before in sides), strict=True)
        return torch.stack(logits, -1), tuple(states)

    def step_once(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """One step of each part."""
        logits, states = [], []
        for number, sides in enumerate(zip(self._list_parts(), self._cut(x), state, strict=True)):
            part, own, before = sides
            with inside(f"parts.{number}"):
                said, after = part.step(own, before)
            logits.append(said)
            states.append(after)
        each = torch.stack(logits, -1)
        return (each * self.weights.to(each)).sum(-1), tuple(states)

    def show_spikes(self, features: Tensor, mask: Tensor | None = None, state: Any = None) -> Tensor | None:
        """Those of the last stream's hidden units."""
        own = None if state is None else state[-1]
        return self._list_parts()[-1].show_spikes(self._cut(features)[-1], mask, own)

    def prepare(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Prepare each part on its stream."""
        for part, own in zip(self._list_parts(), self._cut(features), strict=True):
            part.prepare(own, mask, labels)

    def fit(self, features: Tensor, mask: Tensor, labels: Tensor, validation: Clips | None = None) -> None:
        """Fit each part, of models that have a method ``fit``, and the weights.

        Such a part learns from the validation clips too, at the end; so the weights are those of parts that did not.
        """
        if validation is not None:
            blind = copy.deepcopy(self)
            blind.fit(features, mask, labels)
            blind.settle(*validation)
            self.weights.copy_(blind.weights)
        for index, (part, own) in enumerate(zip(self._list_parts(), self._cut(features), strict=True)):
            fit: Any = part.fit
            held = None if validation is None else (self._cut(validation[0])[index], *validation[1:])
            fit(own, mask, labels, held)

    @torch.no_grad()
    def settle(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Set the weights to those of least negative log-likelihood on validation clips, unless they were given."""
        if self.settings.weights is not None or self.settings.streams == 1:
            return
        training = self.training
        self.eval()
        mixtures = torch.tensor(_list_mixtures(self.settings.streams), dtype=torch.float64)
        loss = mixtures.new_zeros(len(mixtures))
        parts = (torch.split(part, STEPS) for part in (features, mask, labels))
        for some, real, label in zip(*parts, strict=True):
            each, _ = self._run(*self.receive(some, None, real))
            for number, mixture in enumerate(mixtures):
                shares = (each.double() @ mixture.to(each.device)).softmax(-1)
                last = shares[torch.arange(len(real)), real.sum(1) - 1]
                whole = (shares * real.unsqueeze(-1)).sum(1) / real.sum(1, keepdim=True)
                mean = last if self.averages_time else whole
                loss[number] += F.nll_loss(mean.clamp(min=1e-12).log(), label, reduction="sum").cpu()
        self.weights.copy_(mixtures[int(loss.argmin())])
        self.train(training)


def _list_mixtures(streams: int) -> list[tuple[float, ...]]:
    """Weights to try: multiples of one part, equal weights first, which win where others are no better."""
    parts = PARTS
    while True:
        found = [
            (*some, parts - sum(some)) for some in product(range(parts + 1), repeat=streams - 1) if sum(some) <= parts
        ]
        if len(found) <= MOST or parts == 1:
            return [(1 / streams,) * streams, *(tuple(part / parts for part in one) for one in found)]
        parts //= 2
