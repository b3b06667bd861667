"""One file of a trained model, to hand on: weights, calibration, classes, settings and a card.

The file has the format safetensors: numbers, behind a header of JSON. It holds no code. Names in it are keys and never
paths; its settings are those of clips, backbone and model, none of which names a file; what it may make a reader
allocate is bounded by the weights in it. Its text is in the header's ``__metadata__`` under ``snn-action``::

    {"version": 1, "digest": SHA-256 of all else, "class_names", "settings", "backbone", "calibration", "timing",
     "card", "text"}

Tensors are ``model.<key>`` and, where the backbone's weights are packed too, ``backbone.<key>``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from snn_action.config import Config
from snn_action.core.archives import is_plain
from snn_action.core.errors import ConfigError, printable
from snn_action.core.reading import parse_json, reading
from snn_action.evaluation.calibration import Calibration, parse_calibration
from snn_action.training.checkpoints import PREFIX

VERSION = 1
KEY = "snn-action"  # of the text in the header
BACKBONE = "backbone."
LONGEST_HEADER = 2**24  # bytes
MOST_CLASSES = 100_000
# all that a pack sets; a path, or how much is done at once, is not among it
SETTINGS = {
    "clip": None,
    "backbone": {"weights", "batch_size", "thresholds"},  # these are left out
    "model": None,
    "evaluation": None,
    "seed": None,
}
EVALUATION = ("known_share", "background")


@dataclass(frozen=True)
class Pack:
    """What a file holds.

    Attributes:
        path: Of the file.
        class_names: In the order of the model's outputs.
        settings: Sections of a configuration.
        backbone: Name, digest and preprocessing, as ``describe_backbone`` says, and ``weights`` and ``trained_on`` in
            words; ``packed``: its weights are here.
        calibration: None where there is none.
        timing: How far apart the steps of training clips lie, as ``timing.json`` says it; None: not known.
        card: What the model is and reached (``model_card.py``).
        text: The same as Markdown.
        tensors: By name.
    """

    path: Path
    class_names: tuple[str, ...]
    settings: Mapping[str, Any]
    backbone: Mapping[str, Any]
    calibration: Calibration | None
    timing: Any
    card: Mapping[str, Any]
    text: str
    tensors: Mapping[str, Tensor]

    def take(self, prefix: str) -> dict[str, Tensor]:
        """Tensors by the rest of their names."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def refuse_paths(config: Config, source: Path) -> None:
    """Nothing, where no setting of model and backbone names a file."""

    def walk(value: Any, place: str) -> None:
        if isinstance(value, Path):
            raise ConfigError(f"{source}: {place} names a file, which a packed model cannot have")
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{place}.{key}")
        elif isinstance(value, list | tuple):
            for inner in value:
                walk(inner, place)

    walk(config.model.model_dump(), "model")
    walk(config.backbone.model_dump(), "backbone")
    walk(config.clip.model_dump(), "clip")


def digest_pack(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the text without its digest, and over names, types, shapes and bytes of the tensors."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_pack(path: str | Path) -> Pack:
    """Read a packed model; nothing is built yet.

    Raises:
        ConfigError: it cannot be read, is no packed model, is of a newer version, or is not as it was written.
    """
    path = Path(path)
    with reading(path, "not a packed model, or damaged"):
        _check_header(path)
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it has no __iter__
        if text is None:
            raise ConfigError(f"{path}: a file of weights, but not a packed model; make one with: snn-action pack RUN")
        content = parse_json(text)
        if not isinstance(content, dict) or not isinstance(content.get("version"), int):
            raise ValueError("its header names no version")
        if content["version"] > VERSION:
            raise ConfigError(f"{path}: packed by a newer version of snn-action; update it")
        if content.pop("digest", None) != digest_pack(content, tensors):
            raise ConfigError(f"{path}: its content is not that which was packed (wrong digest); get it anew")
        return _parse(path, content, tensors)


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > LONGEST_HEADER:
        raise ValueError(f"its header would have {size:,} bytes")


def _parse(path: Path, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Pack:
    for name, value in tensors.items():
        if not name.startswith((PREFIX, BACKBONE)) or not is_plain(value):
            raise ValueError(f"{name!r} is no weight of a model or backbone")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"weights {name!r} are not finite")
    names = content["class_names"]
    if not isinstance(names, list) or not 2 <= len(names) <= MOST_CLASSES or not all(isinstance(n, str) for n in names):
        raise ValueError("its class names are no list of texts")
    backbone, card = content["backbone"], content["card"]
    if not isinstance(backbone, dict) or not isinstance(backbone["packed"], bool) or not isinstance(card, dict):
        raise ValueError("its backbone or its card is not described")
    if not isinstance(backbone["digest"], str) or not isinstance(backbone["weights"], str):
        raise ValueError("the weights of its backbone are not named")
    settings = content["settings"]
    if not isinstance(settings, dict) or settings.keys() != SETTINGS.keys():
        raise ValueError(f"its settings are not {', '.join(SETTINGS)}")
    for section, left_out in (("backbone", SETTINGS["backbone"]), ("evaluation", None)):
        keys = settings[section].keys()
        if keys & (left_out or set()) or (section == "evaluation" and keys != set(EVALUATION)):
            raise ValueError(f"its settings of {section} are not those that a pack has")
    calibration = None if content["calibration"] is None else parse_calibration(content["calibration"])
    timing, text = content["timing"], str(content["text"])
    return Pack(path, tuple(map(printable, names)), settings, backbone, calibration, timing, card, text, tensors)
