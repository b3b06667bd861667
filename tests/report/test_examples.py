"""Pictures of the clips that a report shows: within the limits, and never at the cost of the results."""

import os
import signal

import numpy as np
import pytest

from snn_action.config import load_config
from snn_action.datasets.catalog import Catalog, Fold, Video
from snn_action.report import read_run
from snn_action.report.examples import Shown, shrink, write_examples
from snn_action.runs import pipeline
from snn_action.video.decode import VideoFile, read_frames


@pytest.fixture
def catalog(video_set) -> Catalog:
    videos = tuple(
        Video(f"{name}/v_g1.avi", label, "g1", video_set / name / "v_g1.avi")
        for label, name in enumerate(("Left", "Right"))
    )
    return Catalog(("Left", "Right"), videos, (Fold("1", (), (0, 1)),), test_only=True)


def read_kept(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def show(path, catalog, config):
    write_examples(path, catalog, config, [Shown(place, np.full((8, 2), 0.5, np.float32)) for place in (0, 1)])
    return read_kept(path)


def test_frames_are_those_that_the_model_saw(tmp_path, video_config, catalog):
    config = load_config(video_config(clip={"frames": 4, "sampling": "uniform"}))
    kept = show(tmp_path / "examples.npz", catalog, config)
    for place, video in enumerate(catalog.videos):
        wanted = shrink(read_frames(video.path, [1, 4, 7, 10]))
        np.testing.assert_array_equal(kept[f"frames_{place}"], wanted)
    assert not len(kept["left_out"])


def crash(self, indices):
    if "Left" in str(self.path):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, indices)


read = VideoFile.read


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("gone", "no such video"),
        ("damaged", "v_g1.avi"),
        ("long", "absurd|longer|seconds|limit"),
        ("crash", "the decoder crashed"),
    ],
)
def test_a_video_that_cannot_be_read_again_is_shown_without_frames(
    tmp_path, video_config, catalog, monkeypatch, caplog, trouble, words
):
    path, overrides = catalog.videos[0].path, []
    if trouble == "gone":
        path.unlink()
    elif trouble == "damaged":
        path.write_bytes(path.read_bytes()[:300])
    elif trouble == "long":
        catalog.videos[1].path.unlink()
        overrides = ["features.limits.seconds=0.1"]
    else:
        monkeypatch.setattr(VideoFile, "read", crash)
    kept = show(tmp_path / "examples.npz", catalog, load_config(video_config(), overrides))
    assert "frames_0" not in kept
    assert ("frames_1" in kept) == (trouble != "long")
    assert str(kept["left_out"][0]).startswith("frames of Left/v_g1.avi cannot be shown: ")
    assert any(word in str(kept["left_out"][0]) for word in words.split("|"))
    assert "left out of the report: frames of Left/v_g1.avi" in caplog.text


def test_a_run_whose_videos_are_gone_when_it_is_tested_has_its_results(command, video_config, video_set, monkeypatch):
    original = pipeline.write_together

    def write_and_lose(*words, **more):
        original(*words, **more)
        for path in video_set.rglob("*.avi"):
            path.unlink()

    monkeypatch.setattr(pipeline, "write_together", write_and_lose)
    config = video_config(report={"clips": 2})
    code, out, err = command("run", "-c", config, "--run-id", "one")
    assert code == 0
    assert "video accuracy" in out
    folder = load_config(config).save_dir / "test" / "one"
    assert err.count("left out of the report: frames of ") == 2
    assert len(read_run(folder).examples) == 2
    assert (folder / "report.html").read_text().count("Left out of this report: frames of ") == 2
