"""Packages that come with an extra of this one: imported where they are asked for, and named where they are missing."""

import importlib
from typing import Any

from snn_action.core.compat import import_torchvision
from snn_action.core.errors import ConfigError


def import_extra(module: str, extra: str, key: str) -> Any:
    """A module that the extra ``extra`` installs; ``key`` is what asks for it in a configuration.

    Torchvision is made importable first, as some of these packages import it.

    Raises:
        ConfigError: the module, or one that it needs, is not installed.
    """
    import_torchvision()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        raise ConfigError(f"{key}: the package {missing} is not installed; pip install 'snn-action[{extra}]'") from None
