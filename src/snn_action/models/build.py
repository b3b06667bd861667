"""Temporal models from their names and settings."""

from collections.abc import Mapping
from typing import Any

import torch

from snn_action.core import registry
from snn_action.core.errors import ConfigError
from snn_action.models.base import TemporalModel
from snn_action.models.encoder import Encoder
from snn_action.models.end_to_end_settings import EndToEndSettings
from snn_action.models.settings import ModelSettings


def build_model(
    settings: ModelSettings | Mapping[str, Any],
    in_features: int,
    num_classes: int,
    seed: int | None = None,
    encoder: Encoder | None = None,
) -> TemporalModel:
    """The model that ``settings``, or a mapping such as ``{"type": "lmu", "order": 6}``, describe.

    ``encoder`` is what an ``end_to_end`` model trains with the rest; other models have none. With a ``seed``, the same
    seed gives the same weights and PyTorch's own generator stays as it was.

    Raises:
        ConfigError: ``type`` is unknown, a key does not fit, or the model does not fit into memory.
        ValueError: fewer than 1 feature or 2 classes.
    """
    parsed: ModelSettings = registry.parse("model", settings)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # alone: a GPU's is not kept here
        try:
            own = {"encoder": encoder} if isinstance(parsed, EndToEndSettings) else {}
            model: TemporalModel = parsed.build(in_features, num_classes, **own)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "alloc" not in str(error):
                raise
            raise ConfigError("model: one of this size does not fit into memory; make it smaller") from None
    return model


def list_models(pattern: str = "*") -> list[str]:
    """Names of temporal models that match a pattern such as ``"*lmu*"``: this package's and those of plug-ins."""
    return registry.list_items("model", pattern)


def check_model(settings: ModelSettings) -> None:
    """Find out now, on a small copy, what building the model would find out after hours of extraction.

    Raises:
        ConfigError: its neuron has no such gradient mode or cannot reach its rates, say.
    """
    try:
        build_model(settings.shrink(), in_features=1, num_classes=2, seed=0)
    except ConfigError as error:
        raise ConfigError(f"model: {error}") from None
