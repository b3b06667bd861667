"""What may be chosen: a model on some streams, as a change of a configuration."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snn_action.config import Config, make_config
from snn_action.core.reading import parse_json

GIVEN = "given"  # the features that came with a dataset, which have no streams
JOINED, LATE = "joined", "late"
# keys of the section ``training`` that a candidate may set: none of them names a file
TRAINING = frozenset({"epochs", "learning_rate", "batch_size", "validation_share", "loss"})


@dataclass(frozen=True)
class Candidate:
    """A model on some streams.

    Attributes:
        model: Its settings, as in a configuration; where streams are fused late, those of each stream's model.
        source: A stream; ``joined``: all side by side; ``late``: a model for each, logits averaged; ``given``.
        training: Put over the configuration's section ``training``.
        weights: Of each stream, where they are fused late.
    """

    model: dict[str, Any]
    source: str
    training: dict[str, Any] = field(default_factory=dict)
    weights: tuple[float, ...] | None = None

    @property
    def kind(self) -> str:
        """The model's type."""
        return str(self.model["type"])

    def describe(self, streams: Sequence[str]) -> str:
        """The streams that it sees, in words."""
        if self.source == LATE:
            return " | ".join(streams)
        return " + ".join(streams) if self.source == JOINED else self.source

    def apply(self, config: Config) -> Config:
        """The configuration with this model on these streams.

        Raises:
            SettingsError: a setting does not fit.
        """
        raw: dict[str, Any] = json.loads(config.to_json())
        model = dict(self.model)
        if self.source == LATE:
            model = {
                "type": "late_fusion",
                "model": model,
                "streams": len(config.clip.streams),
                "weights": self.weights,
            }
        elif self.source not in (JOINED, GIVEN):
            raw["clip"]["streams"] = [self.source]
        raw["model"] = model
        raw["training"] = {**raw["training"], **self.training}
        if self.kind == "mean_pool":  # which has no matrices
            raw["training"]["weight_bits"] = None
        return make_config(raw)

    def to_text(self) -> str:
        """One text for one candidate, whatever the order of its keys."""
        return json.dumps(vars(self), sort_keys=True)

    @staticmethod
    def parse(text: str) -> "Candidate":
        """The candidate of ``to_text``, in a file that may be anybody's.

        Raises:
            ValueError: it is none, or sets what a search does not.
        """
        found = parse_json(text)
        if not isinstance(found, Mapping) or found.keys() != {"model", "source", "training", "weights"}:
            raise ValueError("it is no candidate")
        model, source, training, weights = (found[key] for key in ("model", "source", "training", "weights"))
        if not (isinstance(model, dict) and isinstance(model.get("type"), str) and isinstance(source, str)):
            raise ValueError("its model or its source is none")
        if not isinstance(training, dict) or not training.keys() <= TRAINING:
            raise ValueError(f"of the training it may set {', '.join(sorted(TRAINING))}")
        if weights is not None and not (isinstance(weights, list) and all(isinstance(one, float) for one in weights)):
            raise ValueError("its weights of streams are no numbers")
        return Candidate(model, source, training, None if weights is None else tuple(weights))


def list_sources(config: Config, from_videos: bool) -> list[str]:
    """What a model may see: each stream, and of several all of them, joined or fused late."""
    if not from_videos:
        return [GIVEN]
    streams: list[str] = [*config.clip.streams]
    return streams if len(streams) == 1 else [*streams, JOINED, LATE]
