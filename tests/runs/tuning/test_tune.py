import json

import numpy as np
import pytest

from snn_action.config import load_config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.runs import pipeline
from snn_action.runs.tuning.tune import tune

QUICK = {"models": ["lmu", "spiking_lmu"], "trials": 3, "inner_folds": 3}


@pytest.fixture
def config(features_file, write_config):
    return load_config(write_config({"type": "features", "path": str(features_file)}))


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_the_choice_is_written_and_tested_once(config, tmp_path):
    found = tune(config, out=tmp_path / "tuning", **QUICK)
    (fold,) = found.folds
    chosen = load_config(tmp_path / "tuning" / "tuned.json")
    assert chosen.name == "test_tuned"
    assert fold.run is not None
    assert fold.run.folder.parent == tmp_path / "save" / "test_tuned"
    assert load_config(fold.run.folder / "config.json") == chosen
    assert found.accuracy == fold.run.metrics["accuracy"]["video"] > 0.8
    table = json.loads((tmp_path / "tuning" / "tuning.json").read_text())
    assert table["tried"] == len(fold.outcomes) >= 3
    assert sum(row["chosen"] for row in table["rows"]) == 1
    for text in ("(* is chosen)", "against the best baseline", "tuned.json", "video accuracy"):
        assert text in found.summary


def test_test_videos_play_no_part_in_the_choice(config, features_file, tmp_path):
    first = tune(config, out=tmp_path / "one", test=False, **QUICK)
    arrays = dict(np.load(features_file))
    tested = arrays["split"] == "test"
    arrays["features"][tested] = np.random.default_rng(5).normal(size=arrays["features"][tested].shape)
    np.savez(features_file, **arrays)
    second = tune(config, out=tmp_path / "two", test=False, **QUICK)
    assert first.folds[0].run is None
    assert without_seconds(first.folds[0].rows) == without_seconds(second.folds[0].rows)
    assert (tmp_path / "one" / "tuned.json").read_text() == (tmp_path / "two" / "tuned.json").read_text()


def test_each_fold_has_a_choice_of_its_own(features_file, write_config, tmp_path):
    arrays = dict(np.load(features_file))
    groups = np.array([str(name).split("_g")[1][:2] for name in arrays["video_ids"]])
    arrays["split"] = np.where(groups <= "04", "1", "2")
    np.savez(features_file, **arrays)
    config = load_config(write_config({"type": "features", "path": str(features_file)}))
    found = tune(config, out=tmp_path / "tuning", **QUICK | {"trials": 1})
    assert [fold.name for fold in found.folds] == ["1", "2"]
    for fold in found.folds:
        assert load_config(fold.file).dataset.split == int(fold.name)
        assert fold.run is not None
        assert fold.run.metrics["test_videos"] == 24
    assert "over 2 splits, each with its own choice" in found.summary


def test_a_spiking_head_is_chosen_on_request(config, tmp_path):
    found = tune(config, out=tmp_path / "tuning", spiking=True, trials=2, inner_folds=2, test=False)
    assert found.folds[0].choice.chosen.candidate.kind in ("spiking_lmu", "ensemble_array")
    assert {row["model"] for row in found.folds[0].rows} <= {"mean_pool", "spiking_lmu", "ensemble_array"}


def test_streams_of_videos_are_tried_apart_joined_and_late(video_config, tmp_path):
    config = load_config(video_config(clip={"frames": 8, "streams": ["rgb", "difference"]}))
    found = tune(config, out=tmp_path / "tuning", models=["lmu"], trials=4, inner_folds=2)
    sources = {row["streams"] for row in found.folds[0].rows if row["model"] == "mean_pool"}
    assert sources == {"rgb", "difference", "rgb + difference", "rgb | difference"}
    run = found.folds[0].run
    assert run is not None
    assert pipeline.evaluate(run.folder).metrics["accuracy"] == run.metrics["accuracy"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"models": ["lmuu"]}, "unknown model 'lmuu'"),
        ({"models": ["mean_pool", "late_fusion"]}, "nothing is left to try"),
        ({"models": ["lstm"], "spiking": True}, "nothing is left to try"),
        ({"seconds": 0.0}, "--budget must be more than 0 s"),
    ],
)
def test_what_cannot_be_followed_is_said_before_work_begins(config, options, says, monkeypatch):
    monkeypatch.setattr("snn_action.runs.tuning.tune.load_data", lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(ConfigError, match=says):
        tune(config, **options)


def test_what_the_inner_folds_cannot_say_is_said(config, tmp_path, caplog):
    tune(config, out=tmp_path / "tuning", test=False, **QUICK | {"models": ["lmu"], "trials": 1, "inner_folds": 20})
    assert "inner folds, not 20: there are too few groups of training videos" in caplog.text


def test_several_processes_of_torchrun_are_refused(config, monkeypatch):
    monkeypatch.setattr("snn_action.core.distributed.world_size", lambda: 2)
    with pytest.raises(ConfigError, match="start the command several times instead"):
        tune(config, **QUICK)


def test_a_search_does_not_go_on_with_other_features(config, features_file, tmp_path):
    tune(config, out=tmp_path / "tuning", test=False, **QUICK)
    arrays = dict(np.load(features_file))
    arrays["features"] = arrays["features"] + 1
    np.savez(features_file, **arrays)
    with pytest.raises(ConfigError, match="was begun with other videos, features or settings"):
        tune(config, out=tmp_path / "tuning", test=False, **QUICK)


def test_a_folder_that_cannot_be_made_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="name another folder with --out"):
        tune(config, out=tmp_path / "file" / "tuning", **QUICK)


def test_targets_of_one_models_populations_are_refused_before_work_begins(config, monkeypatch):
    monkeypatch.setattr("snn_action.runs.tuning.tune.load_data", lambda *_, **__: pytest.fail("work began"))
    loss = config.training.loss.model_copy(update={"spike_target": {"hidden": 0.1}})
    named = config.model_copy(update={"training": config.training.model_copy(update={"loss": loss})})
    with pytest.raises(ConfigError, match=r"training\.loss\.spike_target: .*; give one number"):
        tune(named, **QUICK)
