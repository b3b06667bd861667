"""Encoders of images and of videos from the Hugging Face hub by name (extra ``transformers``).

=====================  ===========================  ===============================================================
family                 for example                  feature
=====================  ===========================  ===============================================================
CLIP, SigLIP           openai/clip-vit-base-patch16 the vision part's pooled output
DINOv2, ViT            facebook/dinov2-small        the class token behind the last normalization
VideoMAE, V-JEPA 2     facebook/vjepa2-vitl-fpc64-256  mean over the tokens of a window of images
=====================  ===========================  ===============================================================

Only ``config.json``, the settings of the image processor and safetensors are read: no pickle, and no code of a
repository is run. Random weights are those of a small network of the family, made from its configuration class alone.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.backbones.base import Backbone
from snn_action.backbones.hub import find_repository, find_weights
from snn_action.backbones.origins import find_origin
from snn_action.backbones.settings import TransformersSettings
from snn_action.backbones.weights import read_provenance, seeded
from snn_action.core.errors import ConfigError
from snn_action.core.extras import import_extra
from snn_action.core.reading import parse_json, read_text, reading

EXTRA = "transformers"
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@dataclass(frozen=True)
class Family:
    """Networks of one kind.

    Attributes:
        classes: Beginning of the names of its configuration class and of its model class.
        pool: How a feature comes out: the ``pooled`` output, the ``first`` token, the ``mean`` of tokens.
        frames: Key of the configuration with the images of a window; empty: it sees single images.
        size: Key of the configuration with the side of images.
        small: Further values of its configuration for random weights.
        part: Of the model that is used; empty: the whole.
        options: For the model's constructor.
    """

    classes: str
    pool: str
    frames: str = ""
    size: str = "image_size"
    small: dict[str, Any] = field(default_factory=dict)
    part: str = ""
    options: dict[str, Any] = field(default_factory=dict)


FAMILIES = {
    "clip": Family("CLIPVision", "pooled", small={"image_size": 64, "patch_size": 16}),
    "siglip": Family("SiglipVision", "pooled", small={"image_size": 64, "patch_size": 16}),
    "dinov2_with_registers": Family("Dinov2WithRegisters", "pooled", small={"image_size": 64, "patch_size": 16}),
    "dinov2": Family("Dinov2", "pooled", small={"image_size": 56, "patch_size": 14}),
    "vjepa2": Family(
        "VJEPA2", "mean", "frames_per_clip", "crop_size", {"crop_size": 64, "frames_per_clip": 4}, part="encoder"
    ),
    "videomae": Family("VideoMAE", "mean", "num_frames", small={"image_size": 64, "num_frames": 4}),
    "vit": Family("ViT", "first", small={"image_size": 64}, options={"add_pooling_layer": False}),
}


class Encoder(nn.Module):
    """Images ``(N, 3, S, S)``, or windows ``(N, W, 3, S, S)``, to features ``(N, D)``."""

    def __init__(self, model: nn.Module, pool: str) -> None:
        super().__init__()
        self.model = model
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        output = self.model(images)  # the first argument of all these models
        if self.pool == "pooled":
            return output.pooler_output  # type: ignore[no-any-return]
        tokens: Tensor = output.last_hidden_state
        return tokens.mean(1) if self.pool == "mean" else tokens[:, 0]


def build(settings: TransformersSettings, seed: int) -> Backbone:
    """The encoder ``settings.model``; its weights are published ones, random, or those of a folder.

    Raises:
        ConfigError: transformers is not installed, the network is of no family that is known here, or its files do not
            fit or hold no safetensors.
        WorkError: the default weights cannot be downloaded.
    """
    transformers = import_extra(EXTRA, EXTRA, "backbone.name 'transformers'")
    if settings.weights == "random":
        family = _find_family(settings.model.rpartition("/")[2].lower().replace("-", "_"), settings.model)
        config = getattr(transformers, f"{family.classes}Config")(**SMALL, **family.small)
        with seeded(seed):
            model = getattr(transformers, f"{family.classes}Model")(config, **family.options)
        mean: tuple[float, ...] = (0.5,) * 3
        std, size = mean, int(getattr(config, family.size))
        provenance: dict[str, Any] = {"trained_on": "nothing", "seed": seed}
    else:
        is_default = settings.weights == "default"
        folder = find_repository(settings.model, EXTRA) if is_default else Path(settings.weights)
        family = _find_family(str(_read(folder / "config.json").get("model_type")), str(folder / "config.json"))
        model = _load(transformers, family, folder)
        mean, std, size, images = _read_images(folder)
        named = {"trained_on": find_origin(settings.model), "weights": settings.model}
        provenance = {**(named if is_default else read_provenance(folder)), "images": images}
    config = model.config
    return Backbone(
        Encoder(getattr(model, family.part) if family.part else model, family.pool),
        name="transformers",
        feature_dim=int(config.hidden_size),
        input_size=size,
        mean=mean,
        std=std,
        provenance=provenance,
        window=int(getattr(config, family.frames)) if family.frames else 1,
    )


def _find_family(name: str, place: str) -> Family:
    for key, family in FAMILIES.items():
        if re.search(rf"(?:^|_){key}", name):
            return family
    raise ConfigError(f"backbone.model: {place}: of no family that is known here: {', '.join(sorted(FAMILIES))}")


def _load(transformers: Any, family: Family, folder: Path) -> nn.Module:
    """The model of a folder, with all of its weights.

    Raises:
        ConfigError: they cannot be read or do not fit.
    """
    find_weights(folder)
    safe: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    safe["attn_implementation"] = "sdpa"  # a configuration may name a kernel of the hub, which is code
    try:
        with _quiet(transformers):
            config = getattr(transformers, f"{family.classes}Config").from_pretrained(folder, local_files_only=True)
            model, told = getattr(transformers, f"{family.classes}Model").from_pretrained(
                folder, config=config, dtype=torch.float32, output_loading_info=True, **safe, **family.options
            )
    except Exception as error:  # of many kinds: damaged files, others' shapes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"backbone.weights: {folder}: cannot be loaded ({reason})") from error
    missing = sorted(key for key in told["missing_keys"] if key.startswith(family.part))
    if missing:
        raise ConfigError(
            f"backbone.weights: {folder}: {len(missing)} keys missing ({', '.join(missing[:3])}). Weights of another "
            "architecture?"
        )
    loaded: nn.Module = model.eval()
    return loaded


def _read(path: Path) -> dict[str, Any]:
    with reading(path, "not JSON", lambda text: ConfigError(f"backbone.weights: {text}")):
        content = parse_json(read_text(path))
    if not isinstance(content, dict):
        raise ConfigError(f"backbone.weights: {path}: not a JSON object but {type(content).__name__}")
    return content


def _read_images(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...], int, str]:
    """Mean, deviation and side of the images that weights expect, and how these were made otherwise, in words."""
    path = folder / "video_preprocessor_config.json"
    path = path if path.exists() else folder / "preprocessor_config.json"
    asked = _read(path)
    try:
        sizes = [asked[key] for key in ("crop_size", "size") if asked.get(key)]
        side = sizes[0] if isinstance(sizes[0], int) else next(iter(sizes[0].values()))
        mean, std = ((0.0,) * 3, (1.0,) * 3) if asked.get("do_normalize") is False else _read_normalization(asked)
        number = int(side)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise ConfigError(f"backbone.weights: {path}: needs image_mean, image_std and size ({error})") from None
    filters = {2: "bilinear", 3: "bicubic"}
    resample = filters.get(asked.get("resample", 2), "another")
    crop = ", the middle of the shorter side" if asked.get("do_center_crop") else ""
    return mean, std, number, f"learned from: {resample} resize{crop}; given here: the whole frame, stretched, bilinear"


def _read_normalization(asked: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = (tuple(float(value) for value in asked[key]) for key in ("image_mean", "image_std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError("three numbers each, deviations above 0")
    return mean, std


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Its reports of weights that are not used, and its bars, are left out; what is missing is an error here."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
