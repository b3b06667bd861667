import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from optuna.trial import TrialState

from snn_action.config import load_config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.runs.data import load_data
from snn_action.runs.tuning import search as searching
from snn_action.runs.tuning.search import PROCESS, Plan, list_outcomes, open_study, search
from snn_action.runs.tuning.validation import Validation, divide

PLAN = Plan(("lmu", "spiking_lmu"), ("given",), (5,), 6, seconds=600, trials=6, seed=0)


@pytest.fixture
def validation(features_file, write_config):
    config = load_config(write_config({"type": "features", "path": str(features_file)}))
    data = load_data(config)
    return Validation(config, data, divide(data.catalog, data.catalog.folds[0], 3, config.seed))


@pytest.fixture
def address(tmp_path):
    return f"sqlite:///{tmp_path / 'trials.sqlite'}"


def test_baselines_and_starts_come_first(validation, address):
    study = open_study(address, "one", {}, seed=0)
    search(study, validation, PLAN)
    kinds = [outcome.candidate.kind for outcome in list_outcomes(study)]
    assert kinds[0] == "mean_pool"
    assert set(kinds[1:]) == {"lmu", "spiking_lmu"}
    assert max(outcome.accuracy for outcome in list_outcomes(study)) > 0.9
    assert all(len(outcome.folds) == 3 and len(outcome.right) == 36 for outcome in list_outcomes(study))


def test_a_search_goes_on_and_tries_nothing_twice(validation, address, monkeypatch):
    search(open_study(address, "one", {}, seed=0), validation, PLAN)
    tested = []
    real = Validation.test
    monkeypatch.setattr(Validation, "test", lambda self, one: (tested.append(one.to_text()), real(self, one))[1])
    study = open_study(address, "one", {}, seed=0)
    before = {outcome.candidate.to_text() for outcome in list_outcomes(study)}
    search(study, validation, replace(PLAN, trials=3))
    assert not before & set(tested)
    assert len([*study.trials]) >= 7


def test_other_videos_or_models_need_another_study(address):
    open_study(address, "one", {"videos": ["a"], "models": ["lmu"]}, seed=0)
    with pytest.raises(ConfigError, match="was begun with other videos; choose another --out or --storage"):
        open_study(address, "one", {"videos": ["b"], "models": ["lmu"]}, seed=0)
    open_study(address, "two", {"videos": ["b"], "models": ["lmu"]}, seed=0)


def test_processes_that_begin_at_once_share_one_study(address):
    """Each of them makes the tables."""
    begin = Barrier(5)

    def start(_):
        begin.wait()
        return open_study(address, "one", {"videos": ["a"]}, seed=0)

    with ThreadPoolExecutor(5) as pool:
        studies = [*pool.map(start, range(5))]
    assert len({study._study_id for study in studies}) == 1
    assert all(study.user_attrs["fits"] == {"videos": ["a"]} for study in studies)


@pytest.mark.parametrize("storage", ["nonsense", "sqlite:////nowhere/at/all.sqlite", "mysql://nobody@localhost/x"])
def test_a_database_that_cannot_be_used_is_named(storage):
    with pytest.raises(ConfigError, match="cannot be kept there"):
        open_study(storage, "one", {}, seed=0)


def test_a_damaged_database_is_named(tmp_path, address):
    (tmp_path / "trials.sqlite").write_bytes(b"no database" * 400)
    with pytest.raises(ConfigError, match=r"trials\.sqlite"):
        open_study(address, "one", {}, seed=0)


def test_what_a_killed_process_tried_is_tried_again(address):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    study = open_study(address, "one", {}, seed=0)
    start = {"model": "lmu"}
    study.enqueue_trial(start)
    trial = study.ask()
    trial.suggest_categorical("model", ["lmu", "spiking_lmu"])
    trial.set_user_attr(PROCESS, json.dumps([socket.gethostname(), gone.pid]))
    alive = study.ask()
    alive.suggest_categorical("model", ["lmu", "spiking_lmu"])
    alive.set_user_attr(PROCESS, json.dumps([socket.gethostname(), os.getpid()]))
    study = open_study(address, "one", {}, seed=0)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]
    assert study.trials[2].system_attrs["fixed_params"] == start
    again = study.ask()
    again.suggest_categorical("model", ["lmu", "spiking_lmu"])
    again.set_user_attr(PROCESS, json.dumps([socket.gethostname(), gone.pid]))
    study = open_study(address, "one", {}, seed=0)  # killed twice: it may be what kills
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.RUNNING, TrialState.FAIL]


def test_control_c_puts_the_candidate_back(validation, address, monkeypatch):
    study = open_study(address, "one", {}, seed=0)

    def stop(self, candidate):
        if candidate.kind == "mean_pool":
            yield from real(self, candidate)
        else:
            raise KeyboardInterrupt

    real = Validation.test
    monkeypatch.setattr(Validation, "test", stop)
    with pytest.raises(KeyboardInterrupt):
        search(study, validation, PLAN)
    waiting = [trial.system_attrs["fixed_params"] for trial in study.get_trials(states=[TrialState.WAITING])]
    stopped = study.get_trials(states=[TrialState.FAIL])[0]
    assert stopped.params in waiting


@pytest.mark.parametrize("error", [WorkError("the loss is nan"), RuntimeError("cannot allocate"), ValueError("odd")])
def test_a_candidate_that_cannot_be_trained_costs_itself(validation, address, monkeypatch, error):
    real = Validation.test

    def fail(self, candidate):
        if candidate.kind == "lmu":
            raise error
        return real(self, candidate)

    monkeypatch.setattr(Validation, "test", fail)
    study = open_study(address, "one", {}, seed=0)
    search(study, validation, PLAN)
    assert {outcome.candidate.kind for outcome in list_outcomes(study)} == {"mean_pool", "spiking_lmu"}
    waiting = study.get_trials(states=[TrialState.WAITING])
    assert not any(trial.system_attrs["fixed_params"]["model"] == "lmu" for trial in waiting)


def test_no_candidate_at_all_says_why(validation, address, monkeypatch):
    real = Validation.test

    def fail(self, candidate):
        if candidate.kind != "mean_pool":
            raise WorkError("the loss is nan")
        return real(self, candidate)

    monkeypatch.setattr(Validation, "test", fail)
    with pytest.raises(WorkError, match=r"no head could be trained; the last reason: (spiking_)?lmu: the loss is nan"):
        search(open_study(address, "one", {}, seed=0), validation, PLAN)


def test_a_budget_too_small_for_one_head_is_said(validation, address, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(searching.time, "monotonic", lambda: next(clock))
    with pytest.raises(WorkError, match=r"the budget of 0\.001 s was over before one head was tried"):
        search(open_study(address, "one", {}, seed=0), validation, replace(PLAN, seconds=0.001))


def test_the_first_head_is_tested_to_its_end_and_the_budget_is_said_to_be_too_small(
    validation, address, monkeypatch, caplog
):
    clock = iter([0.0, 1.0, *range(20, 100)])
    monkeypatch.setattr(searching.time, "monotonic", lambda: next(clock))
    study = open_study(address, "one", {}, seed=0)
    search(study, validation, replace(PLAN, seconds=10.0))
    assert [outcome.candidate.kind for outcome in list_outcomes(study)] == ["mean_pool", "lmu"]
    said = [record.message for record in caplog.records if "the budget is too small" in record.message]
    assert len(said) == 1


def test_a_head_that_is_under_way_at_the_end_of_the_budget_is_put_back(validation, address, monkeypatch):
    study = open_study(address, "one", {}, seed=0)
    search(study, validation, replace(PLAN, trials=1))
    clock = iter([0.0, 1.0, 20.0, 20.0])
    monkeypatch.setattr(searching.time, "monotonic", lambda: next(clock))
    search(study, validation, replace(PLAN, seconds=10.0))
    (stopped,) = study.get_trials(states=[TrialState.FAIL])
    assert len(stopped.intermediate_values) == 1
    assert stopped.params in [
        trial.system_attrs["fixed_params"] for trial in study.get_trials(states=[TrialState.WAITING])
    ]


def test_a_clearly_worse_candidate_is_given_up(validation, address, monkeypatch):
    monkeypatch.setattr(searching, "FIRST", 1)
    study = open_study(address, "one", {}, seed=0)
    search(study, validation, PLAN)
    real = Validation.test

    def worsen(self, candidate):
        for score in real(self, candidate):
            yield replace(score, right=score.right & False)

    monkeypatch.setattr(Validation, "test", worsen)
    search(study, validation, replace(PLAN, trials=3))
    pruned = study.get_trials(states=[TrialState.PRUNED])
    assert pruned
    assert all(len(trial.intermediate_values) == 1 for trial in pruned)
