"""The commands, in this process: what they print, write and answer."""

import json
from pathlib import Path

import pytest

from snn_action.cli import commands
from snn_action.config import make_schema
from snn_action.runs import pipeline


@pytest.fixture
def given(features_file, write_config):
    """A configuration on features."""
    return write_config({"type": "features", "path": str(features_file)})


def run_folder(config: Path, name: str) -> Path:
    return config.parent / "save" / "test" / name


def test_run_says_the_accuracy_and_where_the_report_is(command, given):
    code, out, _ = command("run", "-c", given, "--run-id", "one")
    folder = run_folder(given, "one")
    assert code == 0
    assert "video accuracy" in out
    assert f"report: {folder / 'report.html'}" in out
    assert (folder / "metrics.json").is_file()


def test_train_then_evaluate_then_report(command, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("train", "-c", given, "--run-id", "one")
    folder = run_folder(given, "one")
    assert code == 0
    assert f"test it: snn-action evaluate {folder}" in out
    assert not (folder / "metrics.json").exists()

    code, _, err = command("report", folder)
    assert code == 1
    assert "not finished" in err

    assert command("evaluate", folder)[0] == 0
    first = json.loads((folder / "metrics.json").read_text())
    code, out, _ = command("evaluate", "-c", given)  # the newest run of the configuration
    assert code == 0
    assert str(folder) in out
    assert json.loads((folder / "metrics.json").read_text())["accuracy"] == first["accuracy"]

    (folder / "report.html").unlink()
    code, out, _ = command("report", folder)
    assert code == 0
    assert (folder / "report.html").is_file()

    assert command("run", "-c", given, "--run-id", "two", "-o", "training.epochs=1")[0] == 0
    code, out, _ = command("report", folder, run_folder(given, "two"))
    assert code == 0
    assert "one" in out
    assert "two" in out
    assert (tmp_path / "comparison.html").is_file()
    assert command("report", folder, run_folder(given, "two"), "--out", tmp_path / "other.html")[0] == 0
    assert (tmp_path / "other.html").is_file()
    code, _, err = command("report", folder, run_folder(given, "two"), "--out", given)
    assert (code, "is there and no comparison of runs" in err) == (2, True)
    code, _, err = command("report", folder, "--out", tmp_path / "other.html")
    assert (code, "--out is the place of a comparison" in err) == (2, True)


def test_overrides_and_device_reach_the_configuration(command, given):
    words = ("-o", "training.epochs=1", "-o", "seed=3", "-d", "cpu")
    assert command("run", "-c", given, "--run-id", "one", *words)[0] == 0
    config = json.loads((run_folder(given, "one") / "config.json").read_text())
    assert (config["training"]["epochs"], config["seed"], config["device"]) == (1, 3, "cpu")


def test_the_default_configuration_is_used_where_none_is_given(command, given, monkeypatch):
    monkeypatch.chdir(given.parent)
    (given.parent / "configs").mkdir()
    given.rename(given.parent / "configs" / "config.json")
    assert command("run", "--run-id", "one")[0] == 0


def test_extract_reuses_what_is_in_the_store(command, video_config):
    config = video_config()
    code, out, _ = command("extract", "-c", config)
    assert code == 0
    assert "12 videos: 12 extracted" in out
    code, out, _ = command("extract", "-c", config)
    assert code == 0
    assert "12 videos: 0 extracted" in out
    assert "12 in the store" in out
    assert not (config.parent / "save").exists()


def test_schema_is_json(command):
    code, out, _ = command("schema")
    assert code == 0
    assert json.loads(out) == make_schema()


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("run", "--help"), ("predict", "-h")])
def test_help(command, words):
    code, out, _ = command(*words)
    assert code == 0
    assert "Usage" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rum",), "rum"),
        (("run", "--confg", "x.json"), "--confg"),
        (("predict", "somewhere"), "SOURCE"),
        (("predict", "run", "video", "--top", "0"), "top"),
        (("report",), "RUN"),
    ],
)
def test_wrong_usage(command, words, said):
    code, _, err = command(*words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_resumed_run_takes_no_configuration(command, given):
    code, _, err = command("run", "--resume", given.parent, "-c", given)
    assert code == 2
    assert "--resume continues a run with the run's own configuration" in err
    code, _, err = command("evaluate", given.parent, "-c", given)
    assert code == 2
    assert "not both" in err


def test_interrupted_and_resumed(command, given, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_evaluate", interrupt)
        code, _, err = command("run", "-c", given, "--run-id", "one")
    assert code == 130
    assert "finished epochs and shards are kept" in err
    assert "Traceback" not in err
    assert command("run", "--resume", run_folder(given, "one"))[0] == 0
    code, _, err = command("run", "--resume", run_folder(given, "one"))
    assert code == 2
    assert "this run is finished" in err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("odd"), 1, "error: RuntimeError: odd\n(--debug shows where)"),
        (PermissionError(13, "Permission denied", "a.txt"), 1, "a.txt"),
    ],
)
def test_an_unforeseen_error_is_one_message(command, given, monkeypatch, error, code, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pipeline, "run", fail)
    found, _, err = command("run", "-c", given)
    assert found == code
    assert said in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback_wherever_it_stands(monkeypatch, tmp_path):
    nowhere = str(tmp_path / "nowhere.json")
    for words in (["--debug", "run", "-c", nowhere], ["run", "-c", nowhere, "--debug"]):
        monkeypatch.setattr("sys.argv", ["snn-action", *words])
        with pytest.raises(commands.ConfigError, match="nowhere"):
            commands.main()  # raised on: Python prints the traceback
