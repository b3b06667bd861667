"""A trained run is tested on data of others; a split is examined without a run."""

import csv
import json
import shutil

import numpy as np
import pytest

from snn_action.config import load_config
from snn_action.core.errors import ConfigError
from snn_action.report import read_run
from snn_action.runs import pipeline
from snn_action.runs.other_data import evaluate_on


@pytest.fixture
def trained(video_config):
    return pipeline.train(load_config(video_config()), run_id="one")


@pytest.fixture
def others(tmp_path, write_clip):
    """Videos of groups that the run does not have."""
    folder = tmp_path / "others"
    rows = []
    for name, direction in (("Left", -1), ("Right", 1)):
        (folder / name).mkdir(parents=True)
        for group in (9, 11):
            write_clip(folder / name / f"w{group}.avi", direction, group)
            rows.append((f"{name}/w{group}.avi", name))
    return folder, rows


def write_table(path, rows, header=("path", "label")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_a_table_is_tested_whole_with_the_runs_weights(command, trained, others):
    folder, rows = others
    table = write_table(folder / "all.csv", rows)
    code, out, err = command("evaluate", trained, "--on", table)
    assert code == 0, err
    out_folder = trained / "on" / "all"
    run = read_run(out_folder)
    assert {(row.video, row.label) for row in run.predictions} == set(rows)
    assert run.metrics.test_videos == 4
    assert run.metrics.train_videos + run.metrics.validation_videos == 8
    assert "video accuracy: " in out
    assert str(out_folder / "report.html") in out
    assert not (trained / "metrics.json").exists()
    assert evaluate_on(trained, table).folder == trained / "on" / "all-2"


def test_a_run_on_the_test_videos_of_its_own_configuration_is_its_own_test(trained, video_config):
    own = pipeline.evaluate(trained)
    other = evaluate_on(trained, video_config())
    assert other.metrics["accuracy"] == own.metrics["accuracy"]
    assert other.metrics["leakage"]["clean"]


def test_videos_that_were_learned_from_are_refused_marked_or_left_out(trained, others, video_set):
    folder, rows = others
    shutil.copy(video_set / "Left" / "v_g3.avi", folder / "Left" / "copy.avi")  # of training or validation
    table = write_table(folder / "t.csv", [*rows, ("Left/copy.avi", "Left")])
    with pytest.raises(ConfigError, match=r"the test is not clean.*\n.*duplicate.*Left/copy\.avi like Left/v_g3\.avi"):
        evaluate_on(trained, table)
    assert not (trained / "on").exists()
    marked = evaluate_on(trained, table, ["evaluation.leakage=mark"])
    assert not marked.metrics["leakage"]["clean"]
    assert marked.metrics["test_videos"] == 5
    dropped = evaluate_on(trained, table, ["evaluation.leakage=drop"])
    assert dropped.metrics["leakage"]["clean"]
    assert dropped.metrics["leakage"]["left_out"] == 1
    assert dropped.metrics["test_videos"] == 4
    shutil.rmtree(video_set / "Left")  # the run's videos are gone: contents are known all the same
    with pytest.raises(ConfigError, match="1 of 5 test videos have the content of videos that the run learned from"):
        evaluate_on(trained, table)


def test_groups_that_were_learned_from_are_found(trained, others):
    folder, rows = others
    group = json.loads((trained / "splits.json").read_text())["videos"]["Left/v_g3.avi"]["group"]
    table = write_table(
        folder / "t.csv", [(*rows[0], group), *((*row, "new") for row in rows[1:])], ("path", "label", "group")
    )
    with pytest.raises(ConfigError, match="group: split other data: 1 groups stand in training and in test"):
        evaluate_on(trained, table)
    marked = evaluate_on(trained, table, ["evaluation.leakage=mark"]).metrics["leakage"]
    assert (marked["shared"]["videos"], marked["unshared"]["videos"]) == (1, 3)


def test_what_does_not_fit_the_run(command, trained, others, features_file, tmp_path):
    folder, rows = others
    table = write_table(folder / "t.csv", [*rows[:3], (rows[3][0], "Up")])
    with pytest.raises(ConfigError, match="classes that the run does not know: Up; it knows Left, Right"):
        evaluate_on(trained, table)
    given = tmp_path / "given.json"
    raw = {"name": "x", "dataset": {"type": "features", "path": str(features_file)}, "model": {"type": "lmu"}}
    given.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match="trained on videos, this is not the same kind"):
        evaluate_on(trained, given)
    with pytest.raises(ConfigError, match="no fold 'x'"):
        evaluate_on(trained, table, fold="x")
    assert command("evaluate", trained, "--fold", "1")[0] == 2
    with pytest.raises(ConfigError, match=r"nowhere\.csv"):
        evaluate_on(trained, tmp_path / "nowhere.csv")


def test_features_are_tested_on_features(features_file, write_config, tmp_path):
    path = write_config({"type": "features", "path": str(features_file)})
    folder = pipeline.train(load_config(path), run_id="one")
    own = pipeline.evaluate(folder)
    assert evaluate_on(folder, path).metrics["accuracy"] == own.metrics["accuracy"]
    data = dict(np.load(features_file))
    data["split"] = np.where(data["split"] == "test", "train", "test")
    np.savez(tmp_path / "turned.npz", **data)
    turned = tmp_path / "turned.json"
    turned.write_text(path.read_text().replace(str(features_file), str(tmp_path / "turned.npz")))
    with pytest.raises(ConfigError, match=r"group: .*\n.*36 of 36 test videos have the content of videos"):
        evaluate_on(folder, turned)


def test_a_split_is_examined_without_a_run(command, others, tmp_path):
    folder, rows = others
    sides = [(*row, "train" if "w9" in row[0] else "test") for row in rows]
    table = write_table(folder / "clean.csv", sides, ("path", "label", "split"))
    code, out, err = command("check-split", table, "-o", f"features.store={tmp_path / 'store'}")
    assert code == 0, err
    assert "split test: 2 videos train, 2 test" in out
    shutil.copy(folder / "Left" / "w9.avi", folder / "Left" / "copy.avi")
    table = write_table(folder / "t.csv", [*sides, ("Left/copy.avi", "Left", "test")], ("path", "label", "split"))
    found = tmp_path / "found.json"
    code, out, _ = command("check-split", table, "--json", found, "-o", f"features.store={tmp_path / 'store'}")
    assert code == 1
    assert "Left/copy.avi like Left/w9.avi" in out
    assert "the split is not clean" in out
    assert [leak["kind"] for leak in json.loads(found.read_text())["leaks"]] == ["duplicate"]
    assert command("check-split", tmp_path / "nowhere.csv")[0] == 2
