"""Thresholds of a sigma-delta coded backbone: their file, and how they are chosen from videos.

The file is JSON: ``{"version": 1, "backbone": name, "digest": of the weights, "error": of the features,
"calibrated_on": names of the videos, "thresholds": {name of the value: threshold}}``.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snn_action.backbones.base import Backbone
from snn_action.backbones.sigma_delta import SigmaDeltaNetwork
from snn_action.core.errors import ConfigError, printable
from snn_action.core.files import write_atomic
from snn_action.core.reading import parse_json, read_text, reading
from snn_action.snn.settings import CODED

KEY = "backbone.thresholds"
VERSION = 1
PROBE = 0.2  # deviations of a value: the threshold at which its share in the error is measured
STEPS = 10  # halvings of the range in which the common factor is looked for
SMALLEST, LARGEST = 1e-3, 4.0  # deviations of a value: below nothing is saved, above hardly anything is sent


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
        if type(raw["version"]) is not int or raw["version"] != VERSION:
            raise ValueError(f"version {raw['version']!r}")
        texts = {key: raw[key] for key in ("backbone", "digest")}
        videos = raw["calibrated_on"]
        if not isinstance(videos, list) or not all(isinstance(text, str) for text in (*videos, *texts.values())):
            raise ValueError("backbone, digest and calibrated_on are not texts and a list of texts")
        error = raw["error"]
        if not _is_number(error):
            raise ValueError(f"error is {error!r}, not a number of at least 0")
        return Thresholds(
            **texts,
            error=float(error),
            calibrated_on=tuple(map(printable, videos)),
            thresholds=parse_values(raw["thresholds"]),
        )


def parse_values(raw: Any) -> dict[str, float]:
    """Thresholds by name.

    Raises:
        ValueError: they are none.
    """
    if not isinstance(raw, Mapping):
        raise ValueError("thresholds are numbers by name")
    for name, value in raw.items():
        if not _is_number(value) or (value and not CODED[0] <= value <= CODED[1]):
            raise ValueError(f"{name!r} is {value!r}, not 0 or a number from {CODED[0]:g} to {CODED[1]:g}")
    return {str(name): float(value) for name, value in raw.items()}


def _is_number(value: Any) -> bool:
    """Of at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def require_error(max_error: float) -> None:
    """Nothing, where thresholds can keep ``max_error``.

    Raises:
        ConfigError: it is not above 0.
    """
    if not 0 < max_error < math.inf:
        raise ConfigError(f"--max-error: must be above 0, not {max_error}")


def choose_thresholds(
    backbone: Backbone,
    clips: Sequence[Tensor],
    max_error: float,
    names: Sequence[str],
    tick: Callable[[], None] = lambda: None,
) -> Thresholds:
    """Thresholds that save most operations at an error of the features of ``max_error`` on some clips.

    A value ``i`` at a threshold ``theta_i`` adds about ``g_i theta_i^2`` to the squared error, and what is sent of it
    falls with the logarithm of ``theta_i``; to send all of it costs ``c_i`` operations, those of its neurons and of the
    weights behind them. The least cost at a given error is then where ``theta_i = f sqrt(c_i / g_i)``, with one ``f``
    for all. ``g_i`` is measured with that value alone coded, ``f`` is found by bisection.

    Args:
        backbone: The network; it stays as it is.
        clips: Each of normalized images that follow one another (T, 3, S, S).
        max_error: See ``Thresholds.error``.
        names: Of the clips' videos.
        tick: Called ``count_steps`` times.

    Raises:
        ConfigError: the backbone cannot be coded, ``max_error`` is not above 0, or no thresholds keep it.
    """
    require_error(max_error)
    network = SigmaDeltaNetwork(backbone.network)
    coders = dict(zip(network.names, network.list_coders(), strict=True))
    with torch.inference_mode():
        plain = [network(clip)[0] for clip in clips]
        joined = torch.cat(plain)
        deviation = float((joined - joined.mean(0)).square().sum())
        spreads, costs = network.measure(clips[0])
        tick()

        def find_error(thresholds: Mapping[str, float]) -> float:
            for name, coder in coders.items():
                coder.threshold = thresholds.get(name, 0.0)
            pairs = zip(clips, plain, strict=True)
            squared = sum(float((network(clip)[0] - wanted).square().sum()) for clip, wanted in pairs)
            tick()
            return math.sqrt(squared / max(deviation, 1e-30))

        ideal = {}
        for name, spread in spreads.items():
            probe = PROBE * spread
            share = (find_error({name: probe}) / probe) ** 2 if probe else 0.0
            ideal[name] = math.sqrt(costs[name] / share) if share else math.inf

        def scale(factor: float) -> dict[str, float]:
            return {
                name: min(max(factor * ideal[name], SMALLEST * spread), LARGEST * spread) if spread else 0.0
                for name, spread in spreads.items()
            }

        reason = "no thresholds keep it: hardly anything changes in these videos, or it is too small"
        ratios = [spread / ideal[name] for name, spread in spreads.items() if spread and ideal[name] < math.inf]
        if not ratios:
            raise ConfigError(f"--max-error {max_error:g}: {reason}")
        low, high = (math.log(bound) for bound in (SMALLEST * min(ratios), LARGEST * max(ratios)))
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if find_error(scale(math.exp(middle))) > max_error else (middle, high)
        chosen = scale(math.exp(low))
        error = find_error(chosen)
        if not error <= max_error:
            raise ConfigError(f"--max-error {max_error:g}: {reason}; take other videos, or more of them")
    return Thresholds(backbone.name, backbone.digest, error, tuple(names), chosen)


def count_steps(backbone: Backbone) -> int:
    """Runs over the clips that ``choose_thresholds`` makes."""
    return len(SigmaDeltaNetwork(backbone.network).names) + STEPS + 2


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
    try:
        backbone.code(found.thresholds)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    backbone.provenance["calibrated_on"] = list(found.calibrated_on)


def _refuse(text: str) -> ConfigError:
    return ConfigError(f"{KEY}: {text}")
