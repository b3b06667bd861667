"""A small set of clips of unequal length, a small model, and the way to train it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snn_action.config import Config, make_config
from snn_action.evaluation import measure_loss, predict_clips
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.models import TemporalModel, build_model
from snn_action.training import Sides, train_model

LMU = {
    "type": "lmu",
    "scaling": "global",
    "units": 6,
    "order": 2,
    "theta": 28.0,
    "memory_d": 3,
    "input_to_hidden": True,
    "dropout": 0.3,
}


def make_features(clips: int = 40, steps: int = 7, dim: int = 5, classes: int = 3) -> FeatureSet:
    generator = torch.Generator().manual_seed(0)
    label = np.arange(clips) % classes
    rows = torch.randn(clips * steps, dim, generator=generator)
    rows += torch.from_numpy(label).repeat_interleave(steps).unsqueeze(1) * 0.3
    length = np.random.default_rng(0).integers(2, steps + 1, clips)
    stream = StreamRows((rows,), np.zeros(clips, np.int64), np.arange(clips) * steps)
    return FeatureSet(np.arange(clips), label, length, (stream,))


def make_settings(model: dict[str, Any] | None = None, precision: str = "32", **training: Any) -> Config:
    return make_config(
        {
            "name": "x",
            "dataset": {"type": "features", "path": "x"},
            "model": model or LMU,
            "precision": precision,
            "device": "cpu",
            "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "feature_noise": 0.2, **training},
        }
    )


def train_small(
    folder: Path, config: Config, sides: Sides | None = None, features: FeatureSet | None = None
) -> TemporalModel:
    features = features or make_features()
    model = build_model(config.model, features.dim, 3, seed=config.seed)

    def measure(clips: Sequence[int]) -> dict[str, float]:
        return measure_loss(predict_clips(model, features, clips, 16))

    folder.mkdir(parents=True, exist_ok=True)
    sides = sides or Sides(range(24), range(24, 32), range(32, 40))
    train_model(model, features, sides, config, folder, measure=measure)
    return model


@pytest.fixture
def features() -> FeatureSet:
    return make_features()


@pytest.fixture
def settings() -> Callable[..., Config]:
    return make_settings


@pytest.fixture
def train() -> Callable[..., TemporalModel]:
    return train_small
