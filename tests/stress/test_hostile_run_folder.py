"""Run folders of somebody else, half-made and broken ones: nothing is written outside, and each says one way out."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from snn_action.config import load_config
from snn_action.core.run_access import hold
from snn_action.report import class_figures, html, read_run
from snn_action.runs import pipeline
from snn_action.runs.folder import read_run_config
from snn_action.runs.timing import read_timing
from tests.stress.conftest import make_run

pytestmark = pytest.mark.usefixtures("few_figures")


def unfinish(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).unlink()
    return folder


COMMANDS = [
    ("run", "--resume"),
    ("train", "--resume"),
    ("evaluate",),
    ("report",),
    ("evaluate", "--on"),
]


def words_of(command: tuple[str, ...], folder: Path) -> list[object]:
    if command == ("evaluate", "--on"):
        return ["evaluate", folder, "--on", folder / "config.json", "-o", "evaluation.leakage=mark"]
    return [*command, folder]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", ["figures", "run.log", "trained", "checkpoints/best.ckpt", "on"])
def test_no_command_follows_a_link_out_of_a_run_folder(command, received, tmp_path, words, name):
    unfinish(received, "metrics.json", "report.html", "trained")
    outside = tmp_path / "outside"
    outside.mkdir()
    target = outside if name in ("figures", "on") else outside / "file"
    path = received / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    code, _, err = command(*words_of(words, received))
    assert code == 2
    assert f"error: {path}: a link, where this command would write; remove it" in err
    assert not list(outside.iterdir())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_works_beside_a_live_one(command, received, words):
    with hold(received):
        code, _, err = command(*words_of(words, received))
    assert code == 1
    assert f"error: {received}: another process is at work in this run" in err


def test_a_run_folder_names_no_place_for_pickles(received, tmp_path):
    """``seed_frames`` replaces the files that its configuration names: only one that the user names has that."""
    raw = json.loads((received / "config.json").read_text())
    paths = {name: str(tmp_path / name) for name in ("train_data", "test_data", "train_labels", "test_labels")}
    raw["dataset"] = {"type": "seed_frames", "path": str(tmp_path), "action_names": "x.pkl", "pickles": paths}
    (received / "config.json").write_text(json.dumps(raw))
    assert read_run_config(received).dataset.pickles is None
    assert load_config(received / "config.json").dataset.pickles is not None


@pytest.mark.parametrize("is_own", [False, True])
def test_a_run_folder_names_no_place_for_logs(received, is_own):
    path = received / "config.json"
    raw = json.loads(path.read_text())
    raw["training"]["loggers"] = ["mlflow", "csv", "wandb"]
    if is_own:  # it lies where it says
        raw |= {"save_dir": str(received.parent.parent), "name": received.parent.name}
    path.write_text(json.dumps(raw))
    assert read_run_config(received).training.loggers == (["mlflow", "csv", "wandb"] if is_own else ["csv"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", "", "restore it, or begin a new run with: snn-action run -c CONFIG"),
        ("config.json", None, "begin a new run with: snn-action run -c CONFIG"),
        ("splits.json", "", "broken"),
        ("splits.json", None, "restore it"),
        ("checkpoints/best.ckpt", None, "restore it, or begin a new run"),
    ],
)
@pytest.mark.parametrize("words", COMMANDS[:3], ids=" ".join)
def test_what_is_broken_is_named_with_one_way_out(command, received, words, name, content, said):
    unfinish(received, "metrics.json", "report.html")
    path = received / name
    path.unlink() if content is None else path.write_text(content)
    code, _, err = command(*words_of(words, received))
    assert code == 2, err
    assert said in err
    assert path.name in err
    assert str(received) in err


@pytest.mark.parametrize("content", ["", "[]"])
def test_a_broken_environment_ends_the_report_alone(command, received, content):
    (received / "environment.json").write_text(content)
    code, _, err = command("report", received)
    assert code == 2
    assert f"{received / 'environment.json'}: broken" in err
    assert "remove it" in err
    (received / "environment.json").unlink()
    assert command("report", received)[0] == 0


STAGES = {
    "environment": ("splits.json", "checkpoints", "metrics.jsonl", "trained"),
    "split": ("checkpoints", "metrics.jsonl", "trained"),
    "trained": (),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("words", [("evaluate",), ("report",)], ids=" ".join)
def test_a_half_made_run_names_the_command_that_ends_it(command, received, stage, words):
    unfinish(received, "metrics.json", "report.html", "examples.npz", "predictions.csv", "confusion.csv")
    for name in STAGES[stage]:
        path = received / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, out, err = command(*words, received)
    if words == ("evaluate",) and stage == "trained":
        assert (code, "video accuracy" in out) == (0, True)
        return
    assert code == (2 if words == ("evaluate",) else 1)
    assert f"snn-action run --resume {received}" in err
    assert command("run", "--resume", received)[0] == 0
    assert command(*words, received)[0] == 0


def test_a_run_killed_before_its_report_gets_it_and_nothing_else(command, received, monkeypatch):
    unfinish(received, "report.html")
    before = {name: (received / name).stat().st_mtime_ns for name in ("metrics.json", "predictions.csv")}
    code, _, err = command("train", "--resume", received)
    assert (code, f"its report is made by: snn-action run --resume {received}" in err) == (2, True)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "load_data", None)
        code, out, _ = command("run", "--resume", received)
    assert (code, f"report: {received / 'report.html'}" in out) == (0, True)
    assert {name: (received / name).stat().st_mtime_ns for name in before} == before
    code, _, err = command("run", "--resume", received)
    assert (code, f"finished; test it again with: snn-action evaluate {received}" in err) == (2, True)


def test_results_whose_data_is_gone_have_a_report(command, received):
    unfinish(received, "report.html", "examples.npz")
    code, _, err = command("run", "--resume", received)
    assert code == 0, err
    unfinish(received, "report.html", "examples.npz")
    raw = json.loads((received / "config.json").read_text())
    raw["dataset"]["path"] = "nowhere.npz"
    (received / "config.json").write_text(json.dumps(raw))
    code, _, err = command("run", "--resume", received)
    assert code == 2
    assert "nowhere.npz" in err
    assert f"its results are kept; for a report without clips: snn-action report {received}" in err
    assert command("report", received)[0] == 0


def test_a_run_that_is_tested_again_and_killed_is_no_finished_one(command, received, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_examples", stop)
        assert command("evaluate", received)[0] == 130
    assert not (received / "report.html").exists()
    assert command("run", "--resume", received)[0] == 0
    assert (received / "report.html").exists()


def test_an_empty_folder_of_a_killed_start_is_told_from_a_run(command, finished):
    config = finished.parents[2] / "config.json"
    (finished.parent / "empty").mkdir()
    code, _, err = command("run", "-c", config, "--run-id", "empty")
    assert (code, "no run has begun in it; remove it, or name another" in err) == (2, True)
    code, _, err = command("run", "--resume", finished.parent / "empty")
    assert (code, "there is nothing to continue; begin a new run with" in err) == (2, True)
    assert not list((finished.parent / "empty").iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX system")
@pytest.mark.parametrize(
    "name", ["splits.json", "timing.json", "calibration.json", "metrics.json", "metrics.jsonl", "predictions.csv",
             "confusion.csv", "examples.npz", "environment.json", "config.json"]
)  # fmt: skip
def test_a_pipe_is_not_waited_for(command, received, finished, name, tmp_path):
    (received / name).unlink(missing_ok=True)
    os.mkfifo(received / name)
    read_timing(received, load_config(finished / "config.json"))
    commands = [("evaluate",), ("predict", "x.avi"), ("energy",), ("report", finished, "--out", tmp_path / "page.html")]
    for word, *more in commands:
        code, _, err = command(word, received, *more)
        assert code in (0, 1, 2)
        assert code == 0 or str(received) in err
        assert word != "evaluate" or name == "config.json" or f"{name}: no" in err


def test_the_note_of_a_failure_follows_no_link(command, finished, tmp_path):
    outside = tmp_path / "bashrc"
    outside.write_text("the user's own")
    (finished.parent / "failed.log").symlink_to(outside)
    code, _, err = command("run", "-c", finished.parents[2] / "config.json", "-o", "dataset.path=nowhere.npz")
    (finished.parent / "failed.log").unlink()
    assert (code, "failed.log: cannot be written" in err) == (2, True)
    assert outside.read_text() == "the user's own"


NAMES = ("=cmd|' /C calc'!A0", "'+1 $\\frac{", "\N{FULLWIDTH EQUALS SIGN}SUM(1)\u202e <b>&amp;")


def test_names_that_mean_something_elsewhere_are_only_names(tmp_path, monkeypatch):
    monkeypatch.undo()
    folder = make_run(tmp_path, NAMES)
    run = read_run(folder)
    assert run.class_names == NAMES
    assert {prediction.label for prediction in run.predictions} == set(NAMES)
    assert not run.left_out
    for name in ("predictions.csv", "confusion.csv"):
        with (folder / name).open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert cells
        assert not [cell for cell in cells if cell.lstrip()[:1] in {*"=+-@", "\N{FULLWIDTH EQUALS SIGN}"} and cell]


def test_a_figure_that_cannot_be_drawn_costs_itself(command, received, monkeypatch):
    def fail(*_: object) -> None:
        raise RecursionError("too deep")

    before = (received / "metrics.json").read_bytes()
    (received / "report.html").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(class_figures, "draw_confusion", fail)
        code, _, err = command("run", "--resume", received)
    assert code == 0
    words = "figure confusion cannot be shown: RecursionError: too deep"
    assert f"left out of the report: {words}" in err
    assert words in (received / "run.log").read_text()
    assert f"Left out of this report: {words}" in (received / "report.html").read_text()
    assert not (received / "figures" / "confusion.png").exists()
    assert (received / "metrics.json").read_bytes() == before
    monkeypatch.setattr(html, "_render", fail)
    code, _, err = command("report", received)
    assert (code, "the results are kept" in err, "Traceback" in err) == (1, True, False)


def test_what_is_not_ours_stays_in_the_folder_of_calibration(command, received):
    mine = received / "calibration" / "notes.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    (mine.parent / "half0").mkdir()
    code, _, err = command("evaluate", received)
    assert (code, mine.read_text(), [path.name for path in mine.parent.iterdir()]) == (0, "mine", ["notes.txt"]), err
