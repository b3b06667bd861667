"""A small run, to be copied and harmed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from snn_action.config import load_config
from snn_action.report import html
from snn_action.runs import pipeline


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A finished run, to be copied."""
    return make_run(tmp_path_factory.mktemp("finished"))


def make_run(place: Path, names: tuple[str, ...] = ("Archery", "Bowling", "Diving"), **sections: object) -> Path:
    rng = np.random.default_rng(0)
    rows = [(k, group) for group in range(1, 9) for k in range(3)]
    labels = np.array([k for k, _ in rows])
    np.savez(
        place / "features.npz",
        features=rng.normal(size=(len(rows), 4, 5)) + labels[:, None, None],
        labels=labels,
        class_names=np.array(names),
        video_ids=np.array([f"{names[k]} {group}" for k, group in rows]),
        groups=np.array([f"g{group}" for _, group in rows]),
        split=np.array(["test" if group <= 2 else "train" for _, group in rows]),
    )
    raw = {
        "name": "test",
        "save_dir": str(place / "save"),
        "device": "cpu",
        "dataset": {"type": "features", "path": str(place / "features.npz")},
        "model": {"type": "mean_pool"},
        "report": {"clips": 1},
        **sections,
    }
    (place / "config.json").write_text(json.dumps(raw))
    return pipeline.run(load_config(place / "config.json"), run_id="one").folder


@pytest.fixture
def few_figures(monkeypatch):
    """Draw one figure and no more; ``monkeypatch.undo`` draws all."""

    def draw_one(draw, name, *_):
        if name == "confusion":
            draw()
        return b"png", html.Panel(Markup("<svg></svg>"), "")

    monkeypatch.setattr(html, "_draw", draw_one)


@pytest.fixture
def received(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "one"))
