"""Weights and settings of published networks from the Hugging Face hub: safetensors and JSON alone, never code."""

from collections.abc import Sequence
from pathlib import Path

from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.extras import import_extra
from snn_action.core.reading import explain

WEIGHTS = ("*.safetensors",)
SETTINGS = ("config.json", "preprocessor_config.json", "video_preprocessor_config.json", "*.safetensors.index.json")


def find_repository(name: str, extra: str, patterns: Sequence[str] = (*WEIGHTS, *SETTINGS)) -> Path:
    """The folder of a repository's files on this machine; they are downloaded where they are not there.

    The hub's own client keeps them (``HF_HOME`` says where); without a network, what it has is used.

    Args:
        name: Of the repository, ``owner/name``.
        extra: That installs the hub's client.
        patterns: Of names of files.

    Raises:
        WorkError: they cannot be downloaded and are not there.
        ConfigError: the extra is not installed, or there is no such repository.
    """
    hub = import_extra("huggingface_hub", extra, "backbone.weights 'default'")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(patterns)))
    except hub.errors.RepositoryNotFoundError as error:
        raise ConfigError(
            f"backbone.model: the hub has no repository {name!r} that may be read without signing in "
            f"({_first_line(error)})"
        ) from None
    except (OSError, ValueError, RuntimeError, hub.errors.HfHubHTTPError) as error:
        options = " ".join(f"--include '{pattern}'" for pattern in patterns)
        raise WorkError(
            f"backbone.weights 'default': cannot download {name} from huggingface.co ({_first_line(error)}). On a "
            f"machine with a network, run: hf download {name} {options} --local-dir FOLDER; then copy FOLDER here and "
            "name it in backbone.weights"
        ) from None


def find_weights(folder: Path) -> list[Path]:
    """The safetensors files in a folder.

    Raises:
        ConfigError: there are none.
    """
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise ConfigError(
            f"backbone.weights: {folder}: no safetensors file there; weights in other forms may hold code and are not "
            "loaded"
        )
    return found


def _first_line(error: Exception) -> str:
    text = explain(error) if isinstance(error, OSError) and error.strerror else str(error)
    return (text.strip() or type(error).__name__).splitlines()[0]
