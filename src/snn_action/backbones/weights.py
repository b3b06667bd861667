"""Weights of a network: read from a file, checked against it, loaded, digested, or drawn from a seed."""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from snn_action.errors import ConfigError

SUFFIXES = (".pth", ".pt", ".safetensors")
_COUNTER = "num_batches_tracked"  # of batch normalisation: no influence on what it computes, absent in old files
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")  # torchvision's own files name them so


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.pth``, ``.pt`` (a state dict; no other code is run) or ``.safetensors`` file by name.

    Memory-mapped where the format allows. The prefix ``module.`` of ``DataParallel`` is taken off.

    Raises:
        ConfigError: the file is missing, of another kind, unreadable, or holds something else than tensors by name.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"backbone.weights: {str(path)!r} is neither 'default', 'random' nor a file ending in {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise ConfigError(f"backbone.weights: {path}: no such file")
    try:
        state: Any
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            # Files of PyTorch before 1.6 are no zip archives and cannot be memory-mapped.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a broken file raises nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, pickle.UnpicklingError):  # PyTorch advises to load it without that check: not with us
            reason = "it holds more than tensors, or is no file of PyTorch"
        raise ConfigError(
            f"backbone.weights: {path}: cannot be read, broken or not a plain state dict ({reason})"
        ) from None
    if not isinstance(state, Mapping) or not state:
        raise ConfigError(
            f"backbone.weights: {path}: holds no state dict but {type(state).__name__} of length {_length(state)}"
        )
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
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
    if not beside.is_file():
        return {}
    try:
        provenance = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{beside}: provenance of weights: not JSON ({error})") from None
    if not isinstance(provenance, dict):
        raise ConfigError(f"{beside}: provenance of weights is a JSON object, not {type(provenance).__name__}")
    return provenance


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's CPU generator starts from ``seed`` inside and is as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _length(value: object) -> object:
    return len(value) if hasattr(value, "__len__") else "none"
