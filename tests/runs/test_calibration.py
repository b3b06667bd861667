"""Runs calibrate on what their model did not learn, once, also when killed between; and say when they cannot."""

import json
import shutil

import numpy as np
import pytest

from snn_action.config import load_config
from snn_action.core.errors import ConfigError
from snn_action.evaluation.calibration import read_calibration
from snn_action.runs import calibration as calibration_module
from snn_action.runs import pipeline
from snn_action.runs.calibration import FILE, FOLDER, take_classes
from snn_action.runs.split_file import read_split
from snn_action.training import read_checkpoint


@pytest.fixture
def configure(features_file, write_config):
    """A configuration on features of three classes and six training groups."""

    def make(*overrides, **sections):
        return load_config(write_config({"type": "features", "path": str(features_file)}, **sections), overrides)

    return make


def test_validation_videos_calibrate_the_model_itself(configure):
    run = pipeline.run(configure(), run_id="one")
    found = read_calibration(run.folder / FILE)
    split = read_split(run.folder)
    assert found.own_model
    assert found.videos == len(split.folds[0].validation) > 0
    assert found.groups == len({split.members[name].group for name in split.folds[0].validation})
    assert found.auroc is None
    assert found.score == "maximum_softmax"
    said = run.metrics["calibration"]
    assert said["videos"] == 12
    assert said["reason"] is None
    assert said["folds"][0]["temperature"] == found.temperature
    assert 0 <= said["after"]["error"] <= 1
    assert not (run.folder / FOLDER).exists()


def test_nothing_is_held_out_unless_one_more_model_may_be_trained(configure):
    said = pipeline.run(configure("training.validation_share=0"), run_id="one")
    assert not (said.folder / FILE).exists()
    assert said.metrics["calibration"]["after"] is None
    assert "evaluation.calibration true" in said.metrics["calibration"]["reason"]
    assert "Not calibrated: no videos were held out" in (said.folder / "report.html").read_text(encoding="utf-8")
    asked = pipeline.run(configure("training.validation_share=0", "evaluation.calibration=true"), run_id="two")
    found = read_calibration(asked.folder / FILE)
    split = read_split(asked.folder)
    assert not found.own_model
    assert found.videos == len(split.folds[0].baseline)
    one, other = (read_checkpoint(run.folder / "checkpoints" / "best.ckpt")["state_dict"] for run in (said, asked))
    assert all(one[key].equal(other[key]) for key in one), "the fold's own model is the same"
    assert not (asked.folder / FOLDER).exists()
    html = (asked.folder / "report.html").read_text(encoding="utf-8")
    assert "one more model, trained without them" in html
    assert (asked.folder / "figures" / "reliability.png").is_file()


def test_the_model_that_is_asked_never_saw_a_held_out_or_test_video(configure, monkeypatch):
    seen = []
    original = calibration_module.train_model

    def train(model, features, sides, *words, **options):
        seen.append((len(set(features.label[list(sides.train)])), {*sides.train, *sides.validation}))
        original(model, features, sides, *words, **options)

    monkeypatch.setattr(calibration_module, "train_model", train)
    config = configure(model={"type": "mean_pool"})
    run = pipeline.run(config, run_id="one")
    data = pipeline.load_data(config, read_split(run.folder))
    (fold,) = data.catalog.folds
    closed = {*fold.validation, *fold.test}
    assert fold.validation
    assert [classes for classes, _ in seen] == [3], "three classes have no two halves"
    for _, clips in seen:
        assert not closed & {int(data.features.video[clip]) for clip in clips}


def test_halves_of_four_classes_choose_the_score(write_config, tmp_path):
    rng = np.random.default_rng(0)
    rows = [(k, group) for group in range(1, 11) for k in range(4)]
    labels = np.array([k for k, _ in rows])
    means = 3 * rng.normal(size=(4, 5))
    np.savez(
        tmp_path / "four.npz",
        features=(means[labels][:, None] + rng.normal(size=(40, 6, 5))).astype(np.float16),
        labels=labels,
        class_names=np.array(["A", "B", "C", "D"]),
        video_ids=np.array([f"{k}_{g}" for k, g in rows]),
        groups=np.array([f"g{g}" for _, g in rows]),
        split=np.array(["test" if g <= 2 else "train" for _, g in rows]),
    )
    path = write_config({"type": "features", "path": str(tmp_path / "four.npz")}, model={"type": "mean_pool"})
    run = pipeline.run(load_config(path, ["evaluation.background=D"]), run_id="one")
    found = read_calibration(run.folder / FILE)
    assert set(found.auroc) == {"maximum_softmax", "energy"}
    assert all(area > 0.5 for area in found.auroc.values())
    assert found.auroc[found.score] == max(found.auroc.values())
    assert len(found.known_scores) < found.videos, "those of the background class set no threshold"


def test_taking_classes_leaves_others_out_of_training_but_not_out_of_sight(configure):
    data = pipeline.load_data(configure())
    part = take_classes(data, [2, 0])
    assert part.catalog.class_names == ("Diving", "Archery")
    (fold,), (whole,) = part.catalog.folds, data.catalog.folds
    assert {part.catalog.videos[index].label for index in fold.train} == {0, 1}
    assert fold.test == whole.test
    moved = {2: 0, 0: 1, 1: -1}
    assert [video.label for video in part.catalog.videos] == [moved[video.label] for video in data.catalog.videos]
    assert part.features.label.tolist() == [moved[label] for label in data.features.label.tolist()]


def test_a_run_that_was_killed_before_or_while_it_was_calibrated_goes_on(configure, monkeypatch):
    config = configure("training.validation_share=0", "evaluation.calibration=true", "save_dir=" + "save/whole")
    whole = pipeline.run(config, run_id="one")
    wanted = (whole.folder / FILE).read_bytes()
    config = config.model_copy(update={"save_dir": config.save_dir.parent / "killed"})

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(calibration_module, "write_atomic", stop)  # all models are trained by then
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(config, run_id="one")
    folder = config.save_dir / config.name / "one"
    assert (folder / "trained").exists()
    assert (folder / FOLDER / "all" / "trained").exists()
    trained = []
    monkeypatch.setattr("snn_action.training.fit._fit_epochs", lambda *_, **__: trained.append(1))
    run = pipeline.resume(folder)
    assert not trained, "what was trained is not trained again"
    assert (folder / FILE).read_bytes() == wanted
    assert not (folder / FOLDER).exists()
    assert run.metrics["calibration"] == whole.metrics["calibration"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_of_an_earlier_version_is_calibrated_when_it_is_tested_again(configure):
    folder = pipeline.run(configure(), run_id="one").folder
    wanted = (folder / FILE).read_bytes()
    (folder / FILE).unlink()
    assert pipeline.evaluate(folder).metrics["calibration"]["after"]
    assert (folder / FILE).read_bytes() == wanted
    off = pipeline.evaluate(folder, ["evaluation.calibration=false"])
    assert off.metrics["calibration"]["reason"] == "evaluation.calibration is false"


def test_another_share_of_known_videos_needs_nothing_fitted_anew(configure):
    folder = pipeline.run(configure(), run_id="one").folder
    before = (folder / FILE).read_bytes()
    shares = (0.5, 1.0)
    low, high = (
        pipeline.evaluate(folder, [f"evaluation.known_share={share}"]).metrics["calibration"]["folds"][0]["threshold"]
        for share in shares
    )
    assert low < high
    assert (folder / FILE).read_bytes() == before


def test_why_there_is_none(configure, features_file):
    folder = pipeline.run(configure(), run_id="one").folder
    weights = folder / "checkpoints" / "best.ckpt"
    further = pipeline.run(configure(f"training.weights={weights}", "evaluation.leakage=mark"), run_id="two")
    assert "may have learned" in further.metrics["calibration"]["reason"]
    with np.load(features_file) as file:
        parts = dict(file)
    parts["video_ids"] = np.array([f"video {number}" for number in range(len(parts["labels"]))])
    np.savez(features_file, **parts)
    unknown = pipeline.run(configure("evaluation.leakage=mark"), run_id="three")
    assert unknown.metrics["calibration"]["reason"] == "groups are unknown, so that no videos can be held out"


def test_a_background_that_is_no_class_is_said_before_any_work(configure):
    with pytest.raises(ConfigError, match=r"evaluation\.background: no class 'Archey'; did you mean 'Archery'"):
        pipeline.run(configure("evaluation.background=Archey"), run_id="one")


def test_a_broken_file_is_named_with_the_way_out(configure, command):
    folder = pipeline.run(configure(), run_id="one").folder
    (folder / FILE).write_text(json.dumps({"version": 1}))
    code, _, err = command("evaluate", folder)
    assert code == 2
    assert f"error: {folder / FILE}: not a calibration" in err
    assert "remove it" in err
    shutil.rmtree(folder / "figures")


@pytest.fixture
def on_videos(train_once, tmp_path):
    """A run on videos, calibrated by its own model."""
    return shutil.copytree(train_once(), tmp_path / "trained")


def test_what_streams_told_is_added_to_a_calibration_of_before_and_nothing_else_changes(on_videos):
    path = on_videos / FILE
    wanted = path.read_bytes()
    content = json.loads(wanted)
    assert 0 <= content["segments"]["threshold"] <= 1
    assert len(content["segments"]["known_scores"]) >= 7, "one of each stream at least"
    del content["segments"]
    path.write_text(json.dumps(content))
    pipeline.evaluate(on_videos)
    assert path.read_bytes() == wanted


def test_streams_are_read_by_a_model_that_never_saw_them(video_config, monkeypatch):
    seen = []
    original = calibration_module.calibrate_segments

    def calibrate(model, streams, *words):
        parts = list(streams)
        seen.append((model, sum(len(rows) for rows, _ in parts)))
        return original(model, iter(parts), *words)

    trained = []
    monkeypatch.setattr(calibration_module, "calibrate_segments", calibrate)
    monkeypatch.setattr(
        calibration_module,
        "train_model",
        lambda model, features, sides, *_, **__: trained.append((model, {int(features.video[c]) for c in sides.train})),
    )
    asked = []
    join = calibration_module.join_clips
    monkeypatch.setattr(
        calibration_module,
        "join_clips",
        lambda features, clips, seed: (
            asked.append({int(features.video[c]) for c in clips}) or join(features, clips, seed)
        ),
    )
    overrides = ["training.validation_share=0", "evaluation.calibration=true"]
    config = load_config(video_config(), overrides)
    folder = pipeline.train(config, run_id="one")
    (fold,) = pipeline.load_data(config, read_split(folder)).catalog.folds
    (model, learned), *_ = trained
    assert [one for one, _ in seen] == [model]
    assert asked == [set(fold.baseline)]
    assert not asked[0] & learned
    assert not asked[0] & set(fold.test)


def test_features_without_videos_make_no_streams(configure):
    folder = pipeline.run(configure(), run_id="one").folder
    assert json.loads((folder / FILE).read_text())["segments"] is None
    before = (folder / FILE).read_bytes()
    pipeline.evaluate(folder)
    assert (folder / FILE).read_bytes() == before
