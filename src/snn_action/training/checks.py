"""What training asks of the model, found out on a small copy before work begins."""

import math
from collections.abc import Mapping

from snn_action.backbones.cut import HEAD
from snn_action.config import Config
from snn_action.core.errors import ConfigError
from snn_action.models import ModelSettings, build_model
from snn_action.models.encoder import Encoder
from snn_action.models.end_to_end_settings import EndToEndSettings
from snn_action.models.rounding import find_matrices
from snn_action.models.settings import LateFusionSettings


def check_training(config: Config) -> None:
    """Check all that is known before the backbone is loaded.

    Raises:
        ConfigError: as ``check_spike_target``, or the model has no matrices to round.
    """
    if not isinstance(config.model, EndToEndSettings) or config.model.train_from == HEAD:
        check_spike_target(config)
    if config.training.weight_bits is None:
        return
    try:
        find_matrices(build_model(config.model.shrink(), in_features=1, num_classes=2, seed=0))
    except ConfigError as error:
        raise ConfigError(f"training.weight_bits: {error}; set it to null, or use another model") from None


def check_spike_target(config: Config, encoder: Encoder | None = None) -> None:
    """Nothing, where the populations that ``training.loss.spike_target`` names, if any, are those of the model.

    ``encoder`` is what an ``end_to_end`` model trains of the backbone.

    Raises:
        ConfigError: it names another; lists those that there are.
    """
    targets = config.training.loss.spike_target
    if not isinstance(targets, Mapping):
        return
    streams, frame = _count_streams(config.model), 1
    if encoder is not None:
        streams, frame = len(config.clip.streams), math.prod(encoder.shape)
    model = build_model(_shrink(config.model), streams * frame, 2, seed=0, encoder=encoder)
    known = [population.name for population in model.populations]
    for name in targets:
        if name not in known:
            there = f"its populations: {', '.join(map(repr, known))}" if known else "it does not spike"
            raise ConfigError(f"training.loss.spike_target: the model has no population {name!r}; {there}")


def _shrink(settings: ModelSettings) -> ModelSettings:
    """A small model that has all populations."""
    if isinstance(settings, LateFusionSettings | EndToEndSettings):
        return settings.model_copy(update={"model": _shrink(settings.model)})
    return settings.shrink()


def _count_streams(settings: ModelSettings) -> int:
    if isinstance(settings, EndToEndSettings):
        return _count_streams(settings.model)
    return settings.streams if isinstance(settings, LateFusionSettings) else 1
