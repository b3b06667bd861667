"""Weights of a network: read from a file, checked against it, loaded, digested, or drawn from a seed."""

import hashlib
import http.client
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.core.archives import is_plain, load_tensors
from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.reading import explain, parse_json, read_text, reading

SUFFIXES = (".pth", ".pt", ".safetensors")
_COUNTER = "num_batches_tracked"  # of batch normalization: no influence on what it computes, absent in old files
_HASH = re.compile(r"-([0-9a-f]{8,})\.")  # in the name of a published file, as PyTorch looks for it
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")  # torchvision's own files name them so


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.pth``, ``.pt`` (a state dict; no code in it is run) or ``.safetensors`` file by name.

    Memory-mapped where the format allows. The prefix ``module.`` of ``DataParallel`` is taken off.

    Raises:
        ConfigError: the file is missing, of another kind, unreadable, or holds something else than tensors by name.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"backbone.weights: {str(path)!r} is neither 'default', 'random' nor a file ending in {', '.join(SUFFIXES)}"
        )
    if not path.exists():
        raise ConfigError(f"backbone.weights: {path}: no such file")
    with reading(path, "cannot be read, broken or not a plain state dict", _refuse):
        state = load_tensors(path, mapped=True)
    if not isinstance(state, Mapping) or not state:
        raise ConfigError(
            f"backbone.weights: {path}: holds no state dict but {type(state).__name__} of length {_length(state)}"
        )
    for key, value in state.items():
        if not isinstance(key, str) or not is_plain(value):
            kind = f"{value.dtype} {value.layout}" if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                f"backbone.weights: {path}: a state dict holds tensors by name, but {key!r} is {kind}; save that alone"
            )
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return {_OLD_DENSENET.sub(r"\1\2.", key): value for key, value in state.items()}


def load_weights(network: nn.Module, state: Mapping[str, Tensor], source: str, unused: Sequence[str] = ()) -> None:
    """Copy ``state`` into ``network``. Keys that begin with one of ``unused`` may be there or not and are passed over.

    Raises:
        ConfigError: other keys are missing, foreign or of another shape; names ``source`` and the first of them.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith(_COUNTER)]
    foreign = [key for key in state if key not in own and not key.startswith(tuple(unused))]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (("keys missing", missing), ("foreign keys", foreign), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise ConfigError(
            f"backbone.weights: {source}: do not fit: {'; '.join(problems)}. Weights of another architecture?"
        )
    with torch.no_grad():
        for key, value in own.items():
            if key in state:
                value.copy_(state[key])


def find_default(weights: Any) -> Path:
    """The file of torchvision's published ``weights``, downloaded into PyTorch's folder of them where it is not there.

    A file that is there may be anybody's: it must have the SHA-256 that begins as its name says.

    Raises:
        WorkError: it cannot be downloaded.
        ConfigError: it has another digest.
    """
    url: str = weights.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    match = _HASH.search(path.name)
    if not os.path.lexists(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), match[1] if match else None)
        except (OSError, http.client.HTTPException, RuntimeError, EOFError) as error:
            raise WorkError(
                f"backbone.weights 'default': cannot download {url} ({explain(error)}). Download it on a machine with "
                f"a network and name the file in backbone.weights, or put it into {path.parent}"
            ) from None
    if match is None:
        return path
    with reading(path, error=_refuse), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(match[1]):
        raise ConfigError(
            f"backbone.weights 'default': {path}: its SHA-256 is {digest}, but that of {url} begins with {match[1]}: "
            "another file, or a damaged one; delete it"
        )
    return path


def digest_weights(network: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a network's state dict, sorted by name, without counters."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        if not key.endswith(_COUNTER):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_provenance(path: str | Path) -> dict[str, Any]:
    """What weights were trained on: the JSON object in the file of the same name ending in ``.json``, else nothing.

    Raises:
        ConfigError: that file is there but holds no JSON object.
    """
    beside = Path(path).with_suffix(".json")
    if not os.path.lexists(beside):
        return {}
    with reading(beside, "provenance of weights: not JSON"):
        provenance = parse_json(read_text(beside))
    if not isinstance(provenance, dict):
        raise ConfigError(f"{beside}: provenance of weights is a JSON object, not {type(provenance).__name__}")
    return provenance


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's CPU generator starts from ``seed`` inside and is as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _refuse(message: str) -> ConfigError:
    return ConfigError(f"backbone.weights: {message}")


def _length(value: object) -> object:
    return len(value) if hasattr(value, "__len__") else "none"
