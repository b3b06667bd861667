import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snn_action.backbones import Backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.config import Config, FeatureSettings
from snn_action.datasets.catalog import Catalog, Fold, PathSettings, Video
from snn_action.features.store.store import FeatureStore, Place
from snn_action.video.settings import ClipSettings

SIZE = 16


def make_backbone(seed: int = 0) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(network, name="small", feature_dim=5, input_size=SIZE, provenance={"trained_on": "nothing"})


def key_of(name: str) -> str:
    """A key of the form that the store takes."""
    return hashlib.sha256(name.encode()).hexdigest()


def find(store: FeatureStore, names: Iterable[str]) -> dict[str, Place]:
    """Places by name of those that are there."""
    keys = {key_of(name): name for name in names}
    return {keys[key]: place for key, place in store.find(keys).items()}


def make_folder(path: Path, n_frames: int, seed: int) -> Path:
    """A video as a folder of JPEG frames."""
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(1, n_frames + 1):
        pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"frame{number:06d}.jpg", quality=95)
    return path


def make_catalog(paths: list[Path]) -> Catalog:
    videos = tuple(Video(f"v{i}", i % 2, path=path) for i, path in enumerate(paths))
    everything = tuple(range(len(videos)))
    return Catalog(("a", "b"), videos, (Fold("1", everything, everything),))


def make_config(store: Path, clip: dict[str, Any] | None = None, **features: Any) -> Config:
    options = {"workers": 0, "shard_videos": 2, **features}
    return Config.model_construct(
        seed=0,
        dataset=PathSettings(type="test", path=store),
        clip=ClipSettings(**{"frames": 4, **(clip or {})}),
        backbone=BackboneSettings(batch_size=3),
        features=FeatureSettings(store=store, **options),
    )


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [make_folder(tmp_path / "videos" / f"v{i}", n_frames, i) for i, n_frames in enumerate([9, 3, 4, 12, 1])]


@pytest.fixture
def catalog(folders: list[Path]) -> Catalog:
    return make_catalog(folders)


@pytest.fixture
def small() -> Backbone:
    return make_backbone()


@pytest.fixture
def another() -> Backbone:
    return make_backbone(seed=1)


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Config]:
    return lambda store="store", **options: make_config(tmp_path / store, **options)
