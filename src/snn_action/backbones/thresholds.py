"""Thresholds of a sigma-delta coded backbone: their file, and how they are chosen from videos.

The file is JSON: ``{"version": 1, "backbone": name, "digest": of the weights, "error": of the features,
"calibrated_on": names of the videos, "thresholds": {name of the value: threshold}}``.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.backbones.base import Backbone
from snn_action.backbones.sigma_delta import SigmaDeltaNetwork
from snn_action.core.errors import ConfigError, printable
from snn_action.core.files import write_atomic
from snn_action.core.reading import parse_json, read_text, reading

KEY = "backbone.thresholds"
VERSION = 1
STEPS = 12  # halvings of the range in which the common factor is looked for
LARGEST = 4.0  # deviations of a value: above, hardly anything is sent


@dataclass(frozen=True)
class Thresholds:
    """Thresholds by name of the value, and where they come from.

    Attributes:
        backbone: Its name.
        digest: Of its weights.
        error: Of the features on the videos of the calibration: the root of the summed squared difference from those
            of the network as it is, over the root of their summed squared deviation from their mean.
        calibrated_on: Names of these videos.
        thresholds: By name.
    """

    backbone: str
    digest: str
    error: float
    calibrated_on: tuple[str, ...]
    thresholds: Mapping[str, float]

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
        """
        write_atomic(path, (json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n").encode())


def read_thresholds(path: str | Path) -> Thresholds:
    """Read the file.

    Raises:
        ConfigError: it is missing, cannot be read, or is no file of thresholds.
    """
    path = Path(path)
    with reading(path, "no file of thresholds; make one with: snn-action calibrate-coding", _refuse):
        raw = parse_json(read_text(path))
        if raw["version"] != VERSION:
            raise ValueError(f"version {raw['version']!r}")
        return Thresholds(
            str(raw["backbone"]),
            str(raw["digest"]),
            float(raw["error"]),
            tuple(printable(str(name)) for name in raw["calibrated_on"]),
            parse_values(raw["thresholds"]),
        )


def parse_values(raw: Any) -> dict[str, float]:
    """Thresholds by name.

    Raises:
        ValueError: they are none.
    """
    if not isinstance(raw, Mapping):
        raise ValueError("thresholds are numbers by name")
    for name, value in raw.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"the threshold {name!r} is {value!r}, not a number of at least 0")
    return {str(name): float(value) for name, value in raw.items()}


def code(backbone: Backbone, path: str | None) -> None:
    """Code ``backbone`` by the thresholds in a file; None: by zeros.

    Raises:
        ConfigError: the backbone cannot be coded, or the file cannot be read or was made for another one.
    """
    if path is None:
        backbone.code()
        return
    found = read_thresholds(path)
    if found.digest != backbone.digest:
        raise ConfigError(
            f"{KEY}: {path}: made for other weights ({printable(found.backbone)}, digest "
            f"{printable(found.digest[:16])}) than those of {backbone.name} ({backbone.digest[:16]}); make it anew "
            "with: snn-action calibrate-coding"
        )
    backbone.code(found.thresholds)
    backbone.provenance["calibrated_on"] = list(found.calibrated_on)


def _refuse(text: str) -> ConfigError:
    return ConfigError(f"{KEY}: {text}")
