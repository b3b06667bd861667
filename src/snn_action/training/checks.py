"""What training asks of the model, found out on a small copy before work begins."""

from snn_action.config import Config
from snn_action.core.errors import ConfigError
from snn_action.models import build_model
from snn_action.models.rounding import find_matrices


def check_weight_bits(config: Config) -> None:
    """Nothing, where ``training.weight_bits`` is null, or the model has matrices.

    Raises:
        ConfigError: it has none.
    """
    if config.training.weight_bits is None:
        return
    try:
        find_matrices(build_model(config.model.shrink(), in_features=1, num_classes=2, seed=0))
    except ConfigError as error:
        raise ConfigError(f"training.weight_bits: {error}; set it to null, or use another model") from None
