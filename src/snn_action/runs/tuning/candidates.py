"""What may be chosen: a model on some streams, as a change of a configuration."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snn_action.config import Config, make_config

GIVEN = "given"  # the features that came with a dataset, which have no streams
JOINED, LATE = "joined", "late"


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
        return make_config(raw)

    def to_text(self) -> str:
        """One text for one candidate, whatever the order of its keys."""
        return json.dumps(vars(self), sort_keys=True)

    @staticmethod
    def parse(text: str) -> "Candidate":
        """The candidate of ``to_text``."""
        found: Mapping[str, Any] = json.loads(text)
        weights = None if found["weights"] is None else tuple(found["weights"])
        return Candidate(found["model"], found["source"], found["training"], weights)


def list_sources(config: Config, from_videos: bool) -> list[str]:
    """What a model may see: each stream, and of several all of them, joined or fused late."""
    if not from_videos:
        return [GIVEN]
    streams: list[str] = [*config.clip.streams]
    return streams if len(streams) == 1 else [*streams, JOINED, LATE]
