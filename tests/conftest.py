"""Small things that tests of several packages share."""

import base64
import json
import os
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from snn_action.core import registry
from snn_action.core.registry import parse
from snn_action.report import html

# One thread for each test process and what it starts: several processes of several threads on the same cores wait for
# each other's threads most of the time, and a forked process hangs when it waits for threads that only its parent has.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test is timed: on a busy machine, drawing an example or running a test may take any time.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Read when Triton is first imported, which importing PyTorch does not do: without a GPU its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# One white pixel, and the least that is SVG.
SMALL_FIGURE = {
    "png": base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2vAAAAABJRU5ErkJggg=="
    ),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Draw the figures of a report but save a pixel in their place, unless the test is marked ``real_figures``.

    Turning what is drawn into PNG and SVG takes most of the time of a small run. A hook and not a fixture, because it
    has to be there before fixtures of the session make runs. Matplotlib is imported when the first figure is drawn.
    """
    if item.get_closest_marker("real_figures"):
        return (yield)
    with patch.object(html, "_draw", draw_and_save_small):
        return (yield)


def draw_and_save_small(*args, _draw=html._draw):
    from snn_action.report import style

    with patch.object(style, "_save", lambda *_, format, **__: SMALL_FIGURE[format]):
        return _draw(*args)


@pytest.fixture(autouse=True)
def forget_items(monkeypatch):
    """What a test defines, others do not know."""
    monkeypatch.setattr(registry, "_defined", {kind: dict(known) for kind, known in registry._defined.items()})


@pytest.fixture(scope="session")
def make_catalog():
    """A dataset as a configuration file asks for it."""

    def make(type, path, seed=0, **options):
        return parse("dataset", {"type": type, "path": str(path), **options}).build(seed)

    return make


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


def make_small(place: Path, dataset: dict, **sections: object) -> dict:
    """A small configuration that keeps all it writes in ``place``; sections given by name are put over it."""
    return {
        "name": "test",
        "save_dir": str(place / "save"),
        "device": "cpu",
        "dataset": dataset,
        "model": {"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 3, "dropout": 0.2},
        "features": {"store": str(place / "store"), "workers": 0},
        "training": {"epochs": 4, "batch_size": 16, "learning_rate": 0.02},
        **sections,
    }


def make_small_on_videos(place: Path, videos: Path, dataset: dict | None = None, **sections: object) -> dict:
    """One that trains on the videos of ``encode_videos``."""
    own = {"type": "folder", "path": str(videos), "group_pattern": r"_(g\d+)", "test_groups": ["g1", "g2"]}
    small = {"clip": {"frames": 8}, "backbone": {"name": "tiny"}}
    return make_small(place, {**own, **(dataset or {})}, **{**small, **sections})


@pytest.fixture
def write_config(tmp_path: Path):
    """Write a small configuration file."""

    def write(dataset: dict, **sections: object) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(make_small(tmp_path, dataset, **sections)))
        return path

    return write


def encode_video(path: Path, direction: int = 1, group: int = 0, frames: int = 12, codec: str = "mpeg4") -> Path:
    """A real video of 48 x 48 pixels: a bar that moves right (``direction`` 1) or left (-1) before a group's wall."""
    wall = np.random.default_rng(group).integers(0, 200, (6, 6)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=12)
        stream.height = stream.width = 48
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(frames):
            image = np.stack([wall] * 3, -1)
            start = (3 * index if direction > 0 else 33 - 3 * index) % 40
            image[:, start : start + 8] = (250, 60, 60) if direction > 0 else (60, 60, 250)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def write_clip():
    return encode_video


def encode_videos(folder: Path) -> Path:
    """Two classes of six videos: ``<Left, Right>/v_g<group>.avi``."""
    for name, direction in (("Left", -1), ("Right", 1)):
        for group in range(1, 7):
            encode_video(folder / name / f"v_g{group}.avi", direction, group)
    return folder


@pytest.fixture
def video_set(tmp_path: Path) -> Path:
    return encode_videos(tmp_path / "videos")


@pytest.fixture
def video_config(video_set: Path, tmp_path: Path):
    """Write a configuration that trains on ``video_set``; sections are put over it."""

    def write(dataset: dict | None = None, **sections: object) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(make_small_on_videos(tmp_path, video_set, dataset, **sections)))
        return path

    return write


@pytest.fixture
def command(monkeypatch, capsys, caplog):
    """Run a command in this process: ``code, stdout, stderr``, log messages among the last."""
    import logging

    from snn_action.cli.commands import main

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["snn-action", *map(str, words)])
        logger = logging.getLogger("snn_action")
        level = logger.level
        caplog.clear()
        try:
            with pytest.raises(SystemExit) as left:
                main()
        finally:
            logger.setLevel(level)
        out, err = capsys.readouterr()
        code = left.value.code
        return (code if isinstance(code, int) else 0 if code is None else 1), out, caplog.text + err

    return run
