"""The file of a search may be anybody's, and so may the names of folds: nothing is read or written outside."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from optuna.exceptions import OptunaError
from sqlalchemy.exc import OperationalError

from benchmarks.robustness.readers import damage
from snn_action.config import load_config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.runs.tuning import search, storage
from snn_action.runs.tuning.search import list_outcomes, open_study
from snn_action.runs.tuning.tune import TRIALS, tune

QUICK = {"models": ["lmu"], "trials": 1, "inner_folds": 2, "test": False}


@pytest.fixture
def config(features_file, write_config):
    return load_config(write_config({"type": "features", "path": str(features_file)}))


@pytest.fixture(scope="session")
def searched(tmp_path_factory) -> Path:
    """The file of a study of one trial."""
    path = tmp_path_factory.mktemp("searched") / TRIALS
    study = open_study(path, "one", {"videos": "a"}, 0)
    trial = study.ask()
    trial.suggest_categorical("model", ["lmu"])
    kept = {"right": "10", "folds": [0.5], "loss": 1.0, "seconds": 1.0, "operations": {"dense_macs": 1.0}}
    candidate = {"model": {"type": "lmu"}, "source": "given", "training": {"epochs": 0}, "weights": None}
    for key, value in {**kept, "candidate": json.dumps(candidate)}.items():
        trial.set_user_attr(key, value)
    study.tell(trial, 0.5)
    return path


@pytest.mark.parametrize("names", [("../../../outside", "b"), ("007", "8")])
def test_names_of_folds_are_no_paths(config, features_file, tmp_path, names):
    arrays = dict(np.load(features_file))
    groups = np.array([str(name).split("_g")[1][:2] for name in arrays["video_ids"]])
    arrays["split"] = np.where(groups <= "04", *names)
    np.savez(features_file, **arrays)
    found = tune(config, out=tmp_path / "deep" / "er" / "tuning", **QUICK)
    assert [fold.name for fold in found.folds] == sorted(names)
    folders = {fold.file.parent for fold in found.folds}
    assert len(folders) == 2
    assert {folder.resolve().parent for folder in folders} == {tmp_path / "deep" / "er" / "tuning"}
    assert [str(fold.config.dataset.split) for fold in found.folds] == [fold.name for fold in found.folds]


def test_a_folder_may_have_any_name(config, tmp_path):
    folder = tmp_path / "a?mode=memory&b {x} 100 %41 #1"
    tune(config, out=folder, **QUICK)
    assert sorted(path.name for path in folder.iterdir()) == [TRIALS, "tuned.json", "tuning.json"]


@pytest.mark.parametrize("kind", ["link", "loose link", "pipe", "folder", "text", "another database"])
def test_what_is_no_study_is_left_as_it_is(tmp_path, kind):
    path, outside = tmp_path / "tuning" / TRIALS, tmp_path / "outside.sqlite"
    path.parent.mkdir()
    if "link" in kind:
        path.symlink_to(outside)
    if kind in ("link", "another database"):
        sqlite3.connect(outside if kind == "link" else path).execute("CREATE TABLE mine (x)").connection.close()
    {"pipe": os.mkfifo, "folder": Path.mkdir, "text": lambda one: one.write_text("notes" * 200)}.get(kind, str)(path)
    before = outside.read_bytes() if outside.exists() else None
    content = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigError, match=TRIALS):
        open_study(path, "one", {"videos": "a"}, 0)
    assert (outside.read_bytes() if outside.exists() else None) == before
    assert (path.read_bytes() if path.is_file() else None) == content


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("right", 3),
        ("right", ""),
        ("folds", "x"),
        ("loss", None),
        ("loss", float("nan")),
        ("operations", [1]),
        ("candidate", 3),
        ("candidate", "{}"),
        ("candidate", "[" * 5000),
        ("process", "x"),
        *(
            ("candidate", json.dumps({"model": {"type": "lmu"}, "source": "given", "weights": None, "training": one}))
            for one in ({"weights": "/etc/passwd"}, {"skip": True}, {"loggers": ["wandb"]}, [], None)
        ),
    ],
)
def test_a_trial_of_somebody_else_sets_nothing_that_a_search_does_not(searched, tmp_path, key, value):
    path = Path(shutil.copy(searched, tmp_path / TRIALS))
    database = sqlite3.connect(path)
    with database:
        database.execute("DELETE FROM trial_user_attributes WHERE key = ?", (key,))
        database.execute(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, ?, ?)", (key, json.dumps(value))
        )
        if key == "process":
            database.execute("UPDATE trials SET state = 'RUNNING'")
    database.close()
    with pytest.raises(ConfigError, match=f"{TRIALS}.*choose another --out"):
        open_study(path, "one", {"videos": "a"}, 0)


def test_a_damaged_file_is_read_or_refused_by_its_name(searched, tmp_path):
    whole, rng, path = searched.read_bytes(), np.random.default_rng(0), tmp_path / TRIALS
    for _ in range(25):
        path.write_bytes(damage(whole, rng))
        try:
            list_outcomes(open_study(path, "one", {"videos": "a"}, 0))
        except (ConfigError, WorkError) as error:
            assert str(path) in str(error)  # noqa: PT017 - only some of many fail


def test_a_database_that_cannot_be_written_is_said_in_a_line(tmp_path, monkeypatch):
    """As on a full disk."""
    monkeypatch.setattr(storage, "PATIENCE", 0.1)
    monkeypatch.setattr(search, "WAITS", ())
    (tmp_path / "tuning").mkdir()
    path = tmp_path / "tuning" / TRIALS
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError) as caught:
            open_study(path, "one", {"videos": "a"}, 0)
    assert "database is locked" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    full = OptunaError("a page of text")
    full.__cause__ = OperationalError("INSERT INTO trials", {}, sqlite3.OperationalError("database or disk is full"))
    assert storage.explain_storage(full) == "OperationalError: database or disk is full"
