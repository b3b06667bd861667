"""Small things that tests of several rooms share."""

import json
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def features_file(tmp_path: Path) -> Path:
    """Features that a linear model tells apart: 3 classes, 8 groups, 2 clips of each, 6 steps, 5 dimensions."""
    rng = np.random.default_rng(0)
    names = np.array(["Archery", "Bowling", "Diving"])
    rows = [(k, group, clip) for group in range(1, 9) for k in range(3) for clip in (1, 2)]
    labels = np.array([row[0] for row in rows])
    means = rng.normal(size=(3, 5)) * 2
    features = means[labels][:, None] + rng.normal(size=(len(rows), 6, 5))
    ids = np.array([f"{names[k]}/v_{names[k]}_g{group:02d}_c{clip:02d}.avi" for k, group, clip in rows])
    split = np.array(["test" if group <= 2 else "train" for _, group, _ in rows])
    path = tmp_path / "features.npz"
    np.savez(path, features=features.astype(np.float16), labels=labels, class_names=names, video_ids=ids, split=split)
    return path


@pytest.fixture
def write_config(tmp_path: Path):
    """Write a configuration file; sections given by name are put over a small default."""

    def write(dataset: dict, **sections: object) -> Path:
        raw = {
            "name": "test",
            "save_dir": str(tmp_path / "save"),
            "device": "cpu",
            "dataset": dataset,
            "model": {"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 3, "dropout": 0.2},
            "features": {"store": str(tmp_path / "store"), "workers": 0},
            "training": {"epochs": 4, "batch_size": 16, "learning_rate": 0.02},
            **sections,
        }
        path = tmp_path / "config.json"
        path.write_text(json.dumps(raw))
        return path

    return write
