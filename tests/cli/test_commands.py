import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from snn_action.cli import commands
from snn_action.datasets.synthetic.generate import Plan, generate
from snn_action.runs import pipeline

SMALL = {
    "clip": {"frames": 6},
    "backbone": {"name": "tiny"},
    "report": {"clips": 1},
}


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command in this process: its exit code, what it printed, and what it said of errors."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["snn-action", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            commands.main()
        told = capsys.readouterr()
        return int(stopped.value.code or 0), told.out, told.err

    return run


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    generate(folder, Plan(groups=4, clips=1, frames=8, size=32), workers=1)
    return folder


@pytest.fixture
def two_classes(videos, tmp_path) -> Path:
    """A folder of two classes, four videos each, that a test may break."""
    for name in ("Walk", "Squat"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for path in (videos / name).glob("*.avi"):
            (tmp_path / "mine" / name / path.name).write_bytes(path.read_bytes())
    return tmp_path / "mine"


def by_folder(path: Path, **settings: object) -> dict[str, object]:
    return {"type": "folder", "path": str(path), "group_pattern": "_(g[0-9]+)_", "test_groups": ["g01"], **settings}


@pytest.mark.parametrize(
    ("overrides", "code", "words"),
    [
        (["trainig.epochs=1"], 2, ["trainig", "'training'"]),
        (["training.epoch=1"], 2, ["training.epoch", "'epochs'"]),
        (["training.epochs=many"], 2, ["training.epochs", "integer"]),
        (["dataset.path=nowhere.npz"], 2, ["nowhere.npz"]),
        (["training.weights=nowhere.ckpt"], 2, ["nowhere.ckpt"]),
        (["training.skip=true"], 2, ["training.skip", "training.weights"]),
        (["nonsense"], 2, ["nonsense", "section.key=value"]),
    ],
)
def test_wrong_use_is_one_message_without_a_traceback(command, features_file, write_config, overrides, code, words):
    path = write_config({"type": "features", "path": str(features_file)})
    given = [word for text in overrides for word in ("-o", text)]
    found, out, told = command("run", "-c", path, *given)
    assert found == code
    assert out == ""
    for word in words:
        assert word in told
    assert "Traceback" not in told


def test_debug_shows_where(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["snn-action", "run", "-c", str(tmp_path / "none.json"), "--debug"])
    with pytest.raises(commands.ConfigError, match=r"none\.json"):
        commands.main()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_a_gpu_that_is_not_there(command, features_file, write_config, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    path = write_config({"type": "features", "path": str(features_file)})
    code, _, told = command("run", "-c", path, "-d", "cuda")
    assert (code, "'auto' or 'cpu'" in told) == (2, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data["features"].__setitem__((3, 2, 1), np.nan), ["NaN", "video 3"]),
        (lambda data: data.update(features=data["features"][:, 0]), ["shape"]),
        (lambda data: data.update(class_names=data["class_names"][:1], labels=data["labels"] * 0), ["two classes"]),
        (
            lambda data: data["labels"].__setitem__((data["split"] == "train") & (data["labels"] == 2), 1),
            ["never trained"],
        ),
    ],
)
def test_a_features_file_that_does_not_fit(command, features_file, write_config, change, words):
    data = dict(np.load(features_file))
    change(data)
    np.savez(features_file, **data)
    code, _, told = command("run", "-c", write_config({"type": "features", "path": str(features_file)}))
    assert code == 2
    for word in words:
        assert word in told


def test_broken_videos_are_named_and_tolerated_up_to_a_share(command, two_classes, write_config):
    broken = sorted(two_classes.glob("*/*_g02_*.avi"))
    broken[0].write_bytes(b"")
    broken[1].write_bytes(b"garbage" * 100)
    cut = sorted(two_classes.glob("Walk/*_g03_*.avi"))[0]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    code, _, told = command("run", "-c", write_config(by_folder(two_classes), **SMALL))
    assert code == 1
    for path in (*broken, cut):
        assert path.name in told
    assert "max_bad_share" in told
    tolerant = write_config(by_folder(two_classes, max_bad_share=0.5), **SMALL)
    code, out, _ = command("run", "-c", tolerant, "--run-id", "x")
    assert code == 0
    assert "video accuracy" in out
    metrics = json.loads((tolerant.parent / "save" / "test" / "x" / "metrics.json").read_text())
    assert len(metrics["bad_videos"]) == 3


def test_an_empty_class_folder_and_weights_that_do_not_fit(command, two_classes, write_config, tmp_path):
    (two_classes / "Empty").mkdir()
    code, _, told = command("run", "-c", write_config(by_folder(two_classes), **SMALL))
    assert (code, "Empty" in told) == (2, True)
    (two_classes / "Empty").rmdir()
    garbage = tmp_path / "garbage.pth"
    garbage.write_bytes(b"garbage")
    path = write_config(by_folder(two_classes), **{**SMALL, "backbone": {"name": "tiny", "weights": str(garbage)}})
    code, _, told = command("run", "-c", path)
    assert (code, "garbage.pth" in told, "weights_only" in told) == (2, True, False)


def test_from_videos_to_predictions(command, two_classes, write_config, tmp_path):
    path = write_config(by_folder(two_classes), **{**SMALL, "clip": {"frames": 20}})  # longer than they are
    code, out, _ = command("extract", "-c", path)
    assert (code, "8 extracted" in out) == (0, True)
    code, out, _ = command("extract", "-c", path)
    assert "0 extracted" in out
    assert command("train", "-c", path, "--run-id", "x")[0] == 0
    folder = tmp_path / "save" / "test" / "x"
    assert not (folder / "metrics.json").exists()
    code, _, told = command("report", folder)
    assert (code, "not finished" in told) == (1, True)
    assert command("evaluate", "-c", path)[0] == 0
    assert command("report", folder)[0] == 0
    code, _, told = command("run", "-c", path, "--run-id", "x")
    assert (code, "this run exists" in told) == (2, True)

    tested = sorted(two_classes.glob("*/*_g01_*.avi"))
    code, out, _ = command("predict", folder, "--json", "--over-time", "--top", 2, *tested)
    predictions = json.loads(out)
    assert code == 0
    assert len(predictions[0]["over_time"][0]) == 8  # as many steps as the video has frames
    rows = (folder / "predictions.csv").read_text()
    for prediction in predictions:
        best = prediction["top"][0]
        assert f",{best['class']}," in next(row for row in rows.splitlines() if Path(prediction["video"]).name in row)
        assert sum(entry["probability"] for entry in prediction["top"]) == pytest.approx(1)

    (tmp_path / "broken.avi").write_bytes(b"garbage")
    code, out, told = command("predict", folder, tmp_path / "broken.avi", tested[0])
    assert code == 1
    assert "broken.avi" in told
    assert str(tested[0]) in out


def test_a_run_of_features_cannot_look_at_videos(command, features_file, write_config, tmp_path):
    path = write_config({"type": "features", "path": str(features_file)})
    assert command("run", "-c", path, "--run-id", "x")[0] == 0
    code, _, told = command("predict", tmp_path / "save" / "test" / "x", "video.avi")
    assert (code, "without a backbone" in told) == (2, True)
    code, _, told = command("run", "--resume", tmp_path / "save" / "test" / "x")
    assert (code, "finished" in told) == (2, True)
    code, _, told = command("run", "--resume", tmp_path / "save" / "test" / "x", "-o", "seed=1")
    assert (code, "--resume" in told) == (2, True)


def test_ctrl_c_says_how_to_go_on(command, features_file, write_config, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", stop)
    code, _, told = command("run", "-c", write_config({"type": "features", "path": str(features_file)}))
    assert (code, "--resume" in told) == (130, True)


def test_main_py_is_the_same_as_run():
    root = Path(__file__).parents[2]
    answer = subprocess.run(
        [sys.executable, str(root / "main.py"), "-c", "nowhere.json"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert "nowhere.json" in answer.stderr
