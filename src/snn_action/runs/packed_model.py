"""Builds the recognizer that is in one file: its settings are held against its weights before anything is made."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from snn_action.backbones import Backbone, build_backbone
from snn_action.backbones.thresholds import parse_values
from snn_action.backbones.weights import digest_weights, load_weights
from snn_action.config import Config, make_config, override
from snn_action.core.allocation import ration
from snn_action.core.errors import ConfigError, printable
from snn_action.core.reading import reading
from snn_action.features import describe_backbone, prepare
from snn_action.models import build_model
from snn_action.runs.folder import find_changes, learned_settings
from snn_action.runs.pack import BACKBONE, Pack, read_pack, refuse_paths
from snn_action.runs.prediction import LoadedRun
from snn_action.runs.timing import parse_timing
from snn_action.training import resolve_device
from snn_action.training.checkpoints import PREFIX, check_fit


def load_pack(path: str | Path, overrides: Sequence[str] = ()) -> LoadedRun:
    """A packed model, ready to predict.

    Args:
        path: Of the file.
        overrides: Such as ``device=cpu``, ``evaluation.known_share=0.99`` or ``backbone.weights=FILE``; nothing that
            changes what was learned.

    Raises:
        ConfigError: as ``read_pack``, settings do not fit their weights, an override changes what was learned, or the
            backbone's weights are not in the file and not named, or others.
    """
    pack = read_pack(path)
    try:
        return _build(pack, overrides)
    except ConfigError as error:  # of a part that does not know the file
        raise error if str(pack.path) in str(error) else ConfigError(f"{pack.path}: {error}") from None


def _build(pack: Pack, overrides: Sequence[str]) -> LoadedRun:
    config = _make_config(pack, overrides)
    target = resolve_device(config.device).main
    backbone = _build_backbone(pack, config)
    _check_backbone(pack, describe_backbone(backbone, config))
    prepare(backbone, config, target)
    weights = pack.take(PREFIX)
    features = len(config.clip.streams) * backbone.feature_dim
    with reading(pack.path, "its settings do not fit its weights"), ration(sum(map(Tensor.numel, weights.values()))):
        model = build_model(config.model, features, len(pack.class_names), config.seed)
    model.load_state_dict(check_fit(model, {"state_dict": dict(pack.tensors)}, pack.path))
    calibration = None if config.evaluation.calibration is False else pack.calibration
    calibration = calibration and calibration.with_share(config.evaluation.known_share)
    timing = parse_timing(pack.timing, config)
    return LoadedRun(config, pack.class_names, backbone, model.eval().to(target), target, calibration, timing)


def _make_config(pack: Pack, overrides: Sequence[str]) -> Config:
    """The configuration of the model, with overrides put over it; its dataset is never looked at."""
    raw = {"name": "pack", "dataset": {"type": "folder", "path": "."}, **pack.settings}
    with reading(pack.path, "its settings do not fit"):
        try:
            then = make_config(raw)
        except ConfigError as error:
            raise ConfigError(f"{pack.path}: its settings do not fit: {error}") from None
    refuse_paths(then, pack.path)
    config = make_config(override(raw, overrides))
    if changes := find_changes(learned_settings(then), learned_settings(config)):
        raise ConfigError(f"{pack.path}: this changes what the model has learned: {'; '.join(changes)}; leave it out")
    return config


def _build_backbone(pack: Pack, config: Config) -> Backbone:
    state, given, settings = pack.take(BACKBONE), config.backbone.weights, config.backbone
    plain = settings.model_copy(update={"coding": "none", "thresholds": None})
    if given != "default" or not pack.backbone["packed"]:
        if given == "default":
            raise ConfigError(
                f"{pack.path}: the weights of its backbone {config.backbone.name} are not in it: get "
                f"{printable(pack.backbone['weights'])} (digest {printable(pack.backbone['digest'])[:16]}) and name "
                "the file by -o backbone.weights=FILE"
            )
        backbone = build_backbone(plain, config.seed)
    else:
        drawn = plain.model_copy(update={"weights": "random"})
        with reading(pack.path, "its backbone cannot be built"), ration(sum(map(Tensor.numel, state.values()))):
            backbone = build_backbone(drawn, config.seed)
        load_weights(backbone.network, state, str(pack.path))
        backbone.digest = digest_weights(backbone.network)
        backbone.provenance = {"trained_on": str(pack.backbone.get("trained_on")), "weights": pack.backbone["weights"]}
    if settings.coding == "sigma_delta":
        with reading(pack.path, "its thresholds are broken"):
            backbone.code(parse_values(pack.backbone["own"][0]["coding"]["sigma_delta"]))
    return backbone


def _check_backbone(pack: Pack, now: Mapping[str, Any]) -> None:
    for key, value in now.items():
        then = pack.backbone.get(key)
        if then == value:
            continue
        if key == "digest":
            raise ConfigError(
                f"{pack.path}: other weights of {now['name']} than its model was trained with: digest {value[:16]}, "
                f"not {str(then)[:16]}; name the file of {printable(pack.backbone['weights'])} by "
                "-o backbone.weights=FILE"
            )
        raise ConfigError(f"{pack.path}: backbone: {key} is {value!r}, but its model was trained with {then!r}")
