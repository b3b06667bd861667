"""The original's own configuration goes the whole way, by the command that the original had."""

import json
import logging
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from snn_action.original_2020.pickles import read_array, write_pickles
from snn_action.original_2020.res_cnn_encoder import ResCNNEncoder
from snn_action.original_2020.translate import LEAK
from snn_action.report.metrics import LEAKED, MARK

MAIN = Path(__file__).parents[1] / "main.py"
SMALL = ("-o", "model.n_ensembles=20", "-o", "model.n_neurons=5")
NAMES = ["Walk", "Archery", "Run"]  # the original's labels are places in the sorted list
PICKLES = ("train_data", "test_data", "train_labels", "test_labels")


@pytest.fixture
def main(monkeypatch, tmp_path, capsys, caplog):
    """``python main.py WORDS...`` in the test's own folder: exit code, what was printed, what was logged."""
    package = logging.getLogger("snn_action")
    level = package.level
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["main.py", *words])
        capsys.readouterr()
        caplog.clear()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(MAIN), run_name="__main__")
        printed = capsys.readouterr()
        return end.value.code, printed.out + printed.err, caplog.text

    yield call
    package.setLevel(level)


def write_config(folder: Path, *, end_frame: int | None = None, **trainer: object) -> Path:
    raw = {
        "name": "original run",
        "seed": 3,
        "data_path": "frames",
        "use_cuda": False,
        "save_dir": "./save",
        "dataloader": {"shuffle": True, "pin_memory": True, "batch_size": 8, "workers": 0, "test_percent_size": 0.15},
        "pickle_locations": {
            name: f"./var_data/{name}" for name in ("SNN_weights", "action_names", *PICKLES)
        } | {"CNN_weights": "./var_data/cnn.pth"},
        "SNN": {"minibatch_size": 16, **({} if end_frame is None else {"end_frame": end_frame})},
        "SNN_trainer": {
            "epochs": 3,
            "import_CNN_forward_data": True,
            "get_initial_testing_accuracy": True,
            "do_SNN_training": True,
            **trainer,
        },
    }  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps(raw))
    (folder / "var_data").mkdir(exist_ok=True)
    (folder / "var_data" / "action_names").write_bytes(pickle.dumps(NAMES))
    return path


@pytest.fixture
def pickles(tmp_path: Path) -> Path:
    """Features of 3 classes that are easily told apart, pickled as the original did."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(3, 6)) * 3
    write_config(tmp_path)
    for side, count in (("train", 24), ("test", 9)):
        classes = np.arange(count) % 3
        features = means[classes][:, None] + rng.normal(size=(count, 7, 6))
        write_pickles(
            tmp_path / "var_data" / f"{side}_data", tmp_path / "var_data" / f"{side}_labels", features, classes
        )
    return tmp_path


def only_run(folder: Path) -> Path:
    (run,) = (folder / "save" / "original_run").iterdir()
    return run


def read_lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_originals_configuration_runs_on_its_pickles(main, pickles):
    code, printed, logged = main("-c", "config.json", *SMALL, "-o", "training.learning_rate=0.05")
    assert code == 0, printed
    assert "video accuracy" in printed
    assert '"n_ensembles": 10000' in logged, "the same in today's form is shown"
    assert "there is no validation" in logged
    assert LEAK in logged
    run = only_run(pickles)
    metrics = json.loads((run / "metrics.json").read_text())
    assert any("no validation" in note and "last epoch" in note for note in metrics["notes"])
    assert any(LEAK in note for note in metrics["notes"])
    assert [leak["kind"] for leak in metrics["leakage"]["leaks"]] == ["origin"]
    assert f"% ({LEAKED})" in printed
    report = (run / "report.html").read_text()
    assert "last epoch" in report
    assert "inflated" in report
    assert f"{MARK} {LEAKED.capitalize()}" in report
    lines = read_lines(run)
    assert [line["epoch"] for line in lines] == [-1, 0, 1, 2]
    assert metrics["initial"] == lines[0]["test"]
    assert metrics["best_epoch"] == 2
    assert (metrics["train_videos"], metrics["validation_videos"], metrics["test_videos"]) == (24, 0, 9)
    assert metrics["accuracy"]["clip"] == pytest.approx(lines[-1]["test"]["clip"]), "the last epoch was tested"
    assert metrics["accuracy"]["video"] > metrics["initial"]["video"]
    assert metrics["baseline"]["video"] == 1
    assert set(metrics["per_class"]) == set(NAMES)
    best, last = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert all(torch.equal(value, last["state_dict"][key]) for key, value in best["state_dict"].items())


def test_without_training_the_named_weights_are_tested(main, pickles):
    assert main("-c", "config.json", *SMALL, "--run-id", "one")[0] == 0
    trained = pickles / "save" / "original_run" / "one"
    weights = pickles / "var_data" / "SNN_weights"
    weights.write_bytes((trained / "checkpoints" / "last.ckpt").read_bytes())
    write_config(pickles, do_SNN_training=False)
    code, printed, _ = main("-c", "config.json", *SMALL, "--run-id", "two")
    assert code == 0, printed
    first, second = (json.loads((trained.parent / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert second["accuracy"] == first["accuracy"]
    assert second["spikes"] == first["spikes"]
    assert len(read_lines(trained.parent / "two")) == 1
    assert any("Nothing was trained" in note and "SNN_weights" in note for note in second["notes"])
    assert not any("last epoch" in note for note in second["notes"])
    code, printed, _ = main("-c", "config.json", "-o", "model.n_ensembles=21", "-o", "model.n_neurons=5")
    assert code == 2
    assert "another architecture" in printed


def test_without_training_and_without_weights_nothing_is_begun(main, pickles):
    write_config(pickles, do_SNN_training=False)
    code, printed, _ = main("-c", "config.json", *SMALL)
    assert code == 2
    assert "SNN_weights" in printed
    assert "No such file" in printed
    np.savez(pickles / "var_data" / "SNN_weights.npz", np.zeros(3))
    code, printed, _ = main("-c", "config.json", *SMALL)
    assert code == 2
    assert "SNN_weights.npz: a parameter file of NengoDL" in printed
    assert not (pickles / "save").exists(), "no run folder stays behind"


def test_a_malicious_pickle_and_a_missing_one_are_refused_by_name(main, pickles):
    (pickles / "var_data" / "train_data").write_bytes(b"cos\nsystem\n(S'touch harm'\ntR.")
    code, printed, _ = main("-c", "config.json", *SMALL)
    assert code == 2
    assert "train_data" in printed
    assert not (pickles / "harm").exists()
    (pickles / "var_data" / "train_data").unlink()
    code, printed, _ = main("-c", "config.json", *SMALL)
    assert code == 2
    assert "train_data" in printed


def write_frames(folder: Path, counts: dict[str, int]) -> None:
    """Folders of JPEG frames; each class has a color, each frame its own noise."""
    rng = np.random.default_rng(0)
    colors = {"walk": (200, 60, 60), "archery": (60, 200, 60), "run": (60, 60, 200)}
    for place, frames in counts.items():
        (folder / place).mkdir(parents=True)
        color = colors[place.split("_")[1].lower()]
        for number in range(1, frames + 1):
            image = rng.integers(-40, 40, (24, 32, 1)) + np.array(color)
            Image.fromarray(image.astype(np.uint8)).save(folder / place / f"frame{number:06d}.jpg")


def test_frames_go_through_the_cnn_into_pickles_that_a_second_run_imports(main, tmp_path):
    places = [
        f"{side}/v_{name}_g{group:02d}_c01"
        for side, groups in (("train", (3, 4)), ("test", (1,)))
        for group in groups
        for name in ("Walk", "ARCHERY", "Run")  # upper and lower case do not matter
    ]
    write_frames(tmp_path / "frames", {**dict.fromkeys(places, 5), "train/v_Run_g05_c01": 2})
    write_config(tmp_path, end_frame=5, import_CNN_forward_data=False)
    weights = tmp_path / "var_data" / "cnn.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(ResCNNEncoder().state_dict(), weights)
    code, printed, logged = main("-c", "config.json", *SMALL, "-o", "clip.size=32", "--run-id", "frames")
    weights.unlink()  # 240 MB
    assert code == 0, printed
    assert '"res_cnn_encoder"' in logged
    content = {name: read_array(tmp_path / "var_data" / name) for name in PICKLES}
    assert content["train_data"].shape == (7, 4, 512), "frames 1 to end_frame - 1"
    assert content["test_data"].shape == (3, 4, 512)
    assert content["train_data"].dtype == np.float64
    assert content["test_labels"][:, :, 0].tolist() == [[0] * 4, [1] * 4, [2] * 4]
    assert sorted(content["train_labels"][:, 0, 0].tolist()) == [0, 0, 1, 1, 1, 2, 2]
    padded = (content["train_data"] == 0).all(-1)
    assert padded.sum() == 2
    assert padded.any(1).sum() == 1, "the short video is padded with zeros"

    write_config(tmp_path)
    code, printed, _ = main("-c", "config.json", *SMALL, "--run-id", "pickles")
    assert code == 0, printed
    metrics = json.loads((tmp_path / "save" / "original_run" / "pickles" / "metrics.json").read_text())
    assert (metrics["train_videos"], metrics["test_videos"]) == (7, 3)
    assert metrics["operations"]["backbone"] is None
    whole = json.loads((tmp_path / "save" / "original_run" / "frames" / "metrics.json").read_text())
    assert whole["operations"]["backbone"]["dense_macs"] > 0
    assert any(LEAK in note for note in whole["notes"])
    assert [leak["kind"] for leak in whole["leakage"]["leaks"]] == ["backbone"]
