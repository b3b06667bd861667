"""Any model of timm by name (extra ``timm``), without its classifier: the feature is the pooled one that it would see.

Mean, deviation and size of images are those of the weights' own data configuration. What else it asks for, this package
does otherwise, and says so in ``provenance["images"]``: the whole frame is stretched to a square, bilinearly.
"""

import difflib
import logging
from pathlib import Path
from typing import Any

from snn_action.backbones.base import Backbone
from snn_action.backbones.hub import WEIGHTS, find_repository, find_weights
from snn_action.backbones.origins import find_origin
from snn_action.backbones.settings import TimmSettings
from snn_action.backbones.weights import load_weights, read_provenance, read_weights, seeded
from snn_action.core.errors import ConfigError
from snn_action.core.extras import import_extra

logger = logging.getLogger(__name__)

EXTRA = "timm"


def build(settings: TimmSettings, seed: int) -> Backbone:
    """The model ``settings.model``.

    Raises:
        ConfigError: timm is not installed, it has no such model or no such weights, or they do not fit.
        WorkError: the default weights cannot be downloaded.
    """
    timm = import_extra(EXTRA, EXTRA, "backbone.name 'timm'")
    name = settings.model
    if not timm.is_model(name.partition(".")[0]):
        raise ConfigError(f"backbone.model: timm has no model {name!r}{_suggest(name, timm.list_models())}")
    try:
        with seeded(seed):
            network = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:  # of a tag that there is not
        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise ConfigError(f"backbone.model: {name!r}: {error}; known: {', '.join(known) or 'none'}") from None
    data = network.pretrained_cfg
    provenance: dict[str, Any] = {"trained_on": "nothing", "seed": seed}
    if settings.weights != "random":
        is_default = settings.weights == "default"
        path = _find_default(data, name) if is_default else Path(settings.weights)
        path = _find_file(path) if path.is_dir() else path
        load_weights(network, read_weights(path), str(path), unused=_classifiers(data))
        tag = str(data.get("tag") or "")
        origin = {"trained_on": find_origin(f"{name} {tag}"), "weights": str(data.get("hf_hub_id"))}
        provenance = origin if is_default else read_provenance(path)
        provenance |= _describe_images(data)
    return Backbone(
        network,
        name="timm",
        feature_dim=int(getattr(network, "head_hidden_size", None) or network.num_features),
        input_size=int(data["input_size"][-1]),
        mean=data["mean"],
        std=data["std"],
        provenance=provenance,
    )


def _find_default(data: dict[str, Any], name: str) -> Path:
    """The folder of published weights, downloaded where they are not there."""
    repository = data.get("hf_hub_id")
    if not repository:
        raise ConfigError(
            f"backbone.weights 'default': timm has no published weights of {name!r} on the hub; name a file, or choose "
            "one of timm.list_pretrained()"
        )
    return find_repository(str(repository), EXTRA, WEIGHTS)


def _find_file(folder: Path) -> Path:
    files = find_weights(folder)
    return next((path for path in files if path.name == "model.safetensors"), files[0])


def _classifiers(data: dict[str, Any]) -> tuple[str, ...]:
    """Beginnings of the names of weights that only the classifier has."""
    names = data.get("classifier") or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))


def _describe_images(data: dict[str, Any]) -> dict[str, str]:
    """How the weights' own images were made; logged, too, where that is not how they are made here."""
    asked = f"{data['interpolation']} resize, then the middle {data['crop_pct']:.0%} of the shorter side"
    said = f"learned from: {asked}; given here: the whole frame, stretched to a square, bilinear"
    logger.info("%s: %s", data.get("architecture"), said)
    return {"images": said}


def _suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else "; timm.list_models() names all"
