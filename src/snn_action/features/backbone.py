"""The backbone of a configuration, cut where a model is trained from frames."""

from snn_action.backbones import Backbone, build_backbone
from snn_action.backbones.cut import HEAD, FrozenPart, cut_backbone
from snn_action.config import Config
from snn_action.core.errors import ConfigError
from snn_action.models.encoder import Encoder
from snn_action.models.end_to_end_settings import EndToEndSettings


def load_backbone(config: Config) -> Backbone:
    """The whole backbone with its weights, or with model ``end_to_end`` the part of it that is frozen.

    Raises:
        ConfigError: as ``build_backbone`` and ``cut_backbone``.
        WorkError: weights cannot be downloaded.
    """
    return cut_for(build_backbone(config.backbone, config.seed), config)


def cut_for(backbone: Backbone, config: Config) -> Backbone:
    """The part of a backbone whose features the configuration's model is given.

    Raises:
        ConfigError: as ``cut_backbone``.
    """
    if not isinstance(config.model, EndToEndSettings):
        return backbone
    return cut_backbone(backbone, config.model.train_from, config.clip.size or backbone.input_size)


def find_encoder(backbone: Backbone | None) -> Encoder | None:
    """What the model trains of the backbone; None: nothing."""
    return backbone.encoder if isinstance(backbone, FrozenPart) else None


def check_end_to_end(config: Config, *, has_videos: bool = True) -> None:
    """Check what a model that is trained from frames asks of the other sections.

    Raises:
        ConfigError: names the key and the way out.
    """
    model = config.model
    if not isinstance(model, EndToEndSettings):
        return
    if config.backbone.coding != "none":
        raise ConfigError("backbone.coding: of a frozen backbone, but model 'end_to_end' trains it; set it to 'none'")
    if config.training.augment.noise:
        raise ConfigError(
            "training.augment.noise: of features, but model 'end_to_end' is given frames; set it to 0, and noise of "
            "the temporal model in model.model (input_noise), where it has that"
        )
    if config.training.augment.is_active and not config.training.epochs and not config.training.skip:
        raise ConfigError(
            "training.augment: training.epochs is 0, and model 'end_to_end' sees varied clips in epochs alone: switch "
            "it off, or set training.epochs"
        )
    if config.training.feature_noise:
        raise ConfigError(
            "training.feature_noise: of features, but model 'end_to_end' is given frames; set it to 0, and noise of "
            "the temporal model in model.model (input_noise), where it has that"
        )
    if not has_videos and model.train_from != HEAD:
        raise ConfigError(
            "model.type: 'end_to_end' learns from frames, but this dataset brings features along; use a dataset of "
            "videos, model.train_from 'head', or the temporal model itself"
        )
