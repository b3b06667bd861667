"""Makes the one file of a trained model."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from snn_action.config import Config
from snn_action.core.errors import ConfigError
from snn_action.core.files import remove_asides, write_atomic
from snn_action.features import describe_backbone
from snn_action.models.end_to_end_settings import EndToEndSettings
from snn_action.runs.model_card import NO_LICENSE, describe_card, make_card
from snn_action.runs.pack import BACKBONE, EVALUATION, KEY, SETTINGS, VERSION, digest_pack, refuse_paths
from snn_action.runs.prediction import load_run
from snn_action.runs.split_file import read_begun_run
from snn_action.training.checkpoints import PREFIX

_ABANDONED = 3600.0  # seconds: nobody writes at one pack for so long


def write_pack(
    folder: str | Path,
    path: str | Path,
    *,
    fold: str | None = None,
    with_backbone: bool = True,
    license_note: str = NO_LICENSE,
    overrides: Sequence[str] = (),
    replace: bool = False,
) -> str:
    """Pack a fold of a trained run into the file ``path``; return the digest of all in it.

    Args:
        folder: Of the run.
        path: Of the file to write.
        fold: Whose model; None: the first.
        with_backbone: Pack the backbone's weights as well, so that nothing else is needed.
        license_note: What may be done with it, in words.
        overrides: Put over the run's configuration, such as ``backbone.weights=elsewhere.pth``.
        replace: A file that is there may be replaced.

    Raises:
        ConfigError: as ``load_run``, the file is there, or settings name a file that cannot be packed.
        OSError: it cannot be written; a file that was there stays.
    """
    folder, path = Path(folder), Path(path)
    if path.exists() and not (replace and path.is_file()):
        way_out = "" if path.is_dir() else "; --force replaces it"
        raise ConfigError(f"{path}: there already{way_out}")
    run = load_run(folder, fold=fold, device="cpu", overrides=overrides)
    if isinstance(run.config.model, EndToEndSettings):
        raise ConfigError(
            f"{folder}: a model that was trained end to end cannot be packed yet; hand on the run's folder"
        )
    split = read_begun_run(folder, overrides)[1]
    (sides,) = (sides for sides in split.folds if sides.name == (fold or split.folds[0].name))
    settings = _take_settings(run.config)
    refuse_paths(run.config, folder)
    provenance = run.backbone.provenance
    backbone = {
        **describe_backbone(run.backbone, run.config),
        "packed": with_backbone,
        "weights": str(provenance.get("weights") or _name_weights(run.config)),
        "trained_on": str(provenance.get("trained_on", "unknown")),
    }
    card = make_card(folder, split, sides, settings, license_note, run.config.training.weight_bits)
    calibration = None if run.calibration is None else run.calibration.to_content()
    content = {
        "version": VERSION,
        "class_names": list(run.class_names),
        "settings": settings,
        "backbone": backbone,
        "calibration": calibration,
        "timing": None if run.timing is None else asdict(run.timing),
        "card": card,
        "text": describe_card(card, backbone, calibration),
    }
    content = json.loads(json.dumps(content))  # lists for tuples: what a reader will digest
    tensors = {f"{PREFIX}{key}": value for key, value in run.model.state_dict().items()}
    if with_backbone:
        tensors |= {f"{BACKBONE}{key}": value for key, value in run.backbone.network.state_dict().items()}
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    digest = digest_pack(content, tensors)
    remove_unfinished(path)
    write_atomic(path, safetensors.torch.save(tensors, {KEY: json.dumps({**content, "digest": digest})}))
    return digest


def remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed left of this pack: an hour old, and a pack by how it begins."""
    with suppress(OSError):
        remove_asides(path.parent, path.name.__eq__, _ABANDONED, f'{{"__metadata__":{{"{KEY}":'.encode())


def _take_settings(config: Config) -> dict[str, Any]:
    every = config.model_dump(mode="json")
    taken: dict[str, Any] = {}
    for section, left_out in SETTINGS.items():
        value = every[section]
        taken[section] = {key: inner for key, inner in value.items() if key not in left_out} if left_out else value
    taken["evaluation"] = {key: every["evaluation"][key] for key in EVALUATION}
    return taken


def _name_weights(config: Config) -> str:
    weights = config.backbone.weights
    return weights if weights in ("default", "random") else Path(weights).name
