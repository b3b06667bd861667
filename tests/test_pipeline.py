import csv
import json

import numpy as np
import pytest

from snn_action import pipeline
from snn_action.config import load_config
from snn_action.errors import ConfigError
from snn_action.evaluation import record_spikes
from snn_action.models import build_model
from snn_action.report import read_run
from snn_action.report.metrics import LEAKED, MARK
from snn_action.training.checkpoints import load_weights


@pytest.fixture
def config(features_file, write_config):
    return load_config(write_config({"type": "features", "path": str(features_file)}))


def without_timings(metrics):
    return {key: value for key, value in metrics.items() if key not in ("seconds", "videos_per_second")}


def test_a_run_leaves_every_file_of_the_run_folder(config):
    result = pipeline.run(config, run_id="one")
    names = {path.relative_to(result.folder).as_posix() for path in result.folder.rglob("*") if path.is_file()}
    assert names >= {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "metrics.json",
        "predictions.csv",
        "confusion.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "report.html",
        "run.log",
        "splits.json",
        "figures/anytime.png",
    }
    assert not [name for name in names if ".tmp" in name]
    assert json.loads((result.folder / "metrics.json").read_text()) == result.metrics
    assert result.metrics["accuracy"]["video"] > 0.8
    assert result.metrics["baseline"]["video"] > 0.8
    assert result.metrics["test_videos"] == 12
    assert result.metrics["train_videos"] + result.metrics["validation_videos"] == 36
    with (result.folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["correct"]) for row in rows) / len(rows) == result.metrics["accuracy"]["video"]
    assert read_run(result.folder).metrics.accuracy.video == result.metrics["accuracy"]["video"]
    assert "video accuracy" in result.summary


def test_the_same_seed_gives_the_same_metrics(config):
    first, second = (pipeline.run(config, run_id=name) for name in ("one", "two"))
    assert without_timings(first.metrics) == without_timings(second.metrics)
    other = pipeline.run(config.model_copy(update={"seed": 1}), run_id="three")
    assert without_timings(other.metrics) != without_timings(first.metrics)


def test_splits_never_share_a_group(config):
    folder = pipeline.run(config, run_id="one").folder
    (fold,) = json.loads((folder / "splits.json").read_text())["folds"]
    groups = {side: {name.split("_")[2] for name in fold[side]} for side in ("train", "validation", "test")}
    assert groups["test"] == {"g01", "g02"}
    per_class = {side: {name.rsplit("_", 1)[0] for name in fold[side]} for side in groups}
    assert not per_class["train"] & per_class["validation"]
    assert not per_class["train"] & per_class["test"]


def test_training_and_testing_apart_equal_a_whole_run(config):
    whole = pipeline.run(config, run_id="whole")
    folder = pipeline.train(config, run_id="parts")
    assert not (folder / "metrics.json").exists()
    assert "test" not in json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    parts = pipeline.evaluate(folder)
    assert without_timings(parts.metrics)["accuracy"] == without_timings(whole.metrics)["accuracy"]


def test_a_run_folder_that_exists_is_not_touched(config):
    folder = pipeline.run(config, run_id="one").folder
    before = (folder / "metrics.json").read_bytes()
    with pytest.raises(ConfigError, match="this run exists"):
        pipeline.run(config, run_id="one")
    with pytest.raises(ConfigError, match="finished"):
        pipeline.resume(folder)
    assert (folder / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("run_id", ["../out", "a/b", "", ".", ".."])
def test_a_run_id_is_a_plain_name(config, run_id):
    with pytest.raises(ConfigError, match="run id"):
        pipeline.run(config, run_id=run_id)


def test_resume_goes_on_where_a_run_was_interrupted(config, monkeypatch):
    whole = pipeline.run(config, run_id="whole")

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(config, run_id="cut")
    resumed = pipeline.resume(config.save_dir / "test" / "cut")
    assert without_timings(resumed.metrics) == without_timings(whole.metrics)


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no config\.json"):
        pipeline.resume(tmp_path)
    with pytest.raises(ConfigError, match=r"no config\.json"):
        pipeline.evaluate(tmp_path)


def split_in_three(features_file):
    data = dict(np.load(features_file))
    data["split"] = np.array([str(1 + int(name.split("_g")[1][:2]) % 3) for name in data["video_ids"]])
    np.savez(features_file, **data)


def test_several_folds_have_mean_and_deviation(features_file, write_config):
    split_in_three(features_file)
    config = load_config(write_config({"type": "features", "path": str(features_file), "split": "all"}))
    metrics = pipeline.run(config, run_id="folds").metrics
    assert len(metrics["folds"]) == 3
    mean = sum(fold["accuracy"]["video"] for fold in metrics["folds"]) / 3
    assert metrics["mean"]["accuracy"]["video"] == pytest.approx(mean)
    assert metrics["std"]["accuracy"]["video"] >= 0
    assert metrics["test_videos"] == 48
    folder = config.save_dir / "test" / "folds"
    assert (folder / "folds" / "2" / "checkpoints" / "best.ckpt").is_file()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 12


def test_shown_clips_have_the_spikes_of_the_first_folds_model(features_file, write_config):
    split_in_three(features_file)
    model = {"type": "spiking_lmu", "units": 60, "order": 4, "memory_d": 4, "max_rates": [400, 800]}
    path = write_config({"type": "features", "path": str(features_file), "split": "all"}, model=model)
    config = load_config(path)
    folder = pipeline.run(config, run_id="folds").folder
    data = pipeline.load_data(config)
    names, features = [video.name for video in data.catalog.videos], data.features
    shown = read_run(folder).examples
    assert len(shown) == config.report.clips
    for fold, same in (("1", True), ("3", False)):
        network = build_model(config.model, features.dim, len(shown[0].class_names), seed=0)
        load_weights(network, folder / "folds" / fold / "checkpoints" / "best.ckpt")
        for example in shown:
            spikes = record_spikes(network, features, features.clips_of([names.index(example.name)])[0])
            assert np.array_equal(example.spikes, spikes) == same
    assert [example.hidden_units for example in shown] == [60] * len(shown)


@pytest.mark.parametrize("kind", ["frame_average", "lstm", "ensemble_array"])
def test_every_kind_of_model_goes_the_whole_way(features_file, write_config, kind):
    small = {
        "frame_average": {},
        "lstm": {"units": 8, "layers": 2, "readout_units": 8},
        "ensemble_array": {"n_ensembles": 10, "n_neurons": 8},
    }[kind]
    path = write_config({"type": "features", "path": str(features_file)}, model={"type": kind, **small})
    metrics = pipeline.run(load_config(path), run_id=kind).metrics
    assert (metrics["spikes"] is not None) == (kind == "ensemble_array")
    assert metrics["operations"]["model"]["dense_macs"] > 0
    if kind == "frame_average":
        assert metrics["accuracy"] == {key: metrics["baseline"][key] for key in metrics["accuracy"]}


@pytest.fixture
def leaking(features_file, write_config):
    """Features whose second half of a group is in training, and a network that learned from two test videos."""
    import numpy as np

    data = dict(np.load(features_file))
    data["split"] = np.array(["test" if name.endswith("g01_c01.avi") else "train" for name in data["video_ids"]])
    data["backbone_videos"] = data["video_ids"][:1]
    np.savez(features_file, **data)
    return write_config({"type": "features", "path": str(features_file)})


def test_a_leak_stops_every_way_to_a_test(leaking):
    config = load_config(leaking)
    for start in (pipeline.run, pipeline.train):
        with pytest.raises(ConfigError) as error:
            start(config, run_id="one")
        for words in (
            "group: split test: 3 groups stand in training and in test (Archery_g01, Bowling_g01, Diving_g01)",
            "backbone: split test: the backbone learned from 1 of 3 test videos (Archery/v_Archery_g01_c01.avi)",
            "evaluation.allow_leakage",
        ):
            assert words in str(error.value)
        assert not (config.save_dir / "test" / "one").exists()
    trained = pipeline.train(load_config(leaking, ["evaluation.allow_leakage=true"]), run_id="two")
    with pytest.raises(ConfigError, match="the test is not clean"):
        pipeline.evaluate(trained, ["evaluation.allow_leakage=false"])
    assert not (trained / "metrics.json").exists()


def test_an_allowed_leak_marks_every_figure(leaking):
    result = pipeline.run(load_config(leaking, ["evaluation.allow_leakage=true"]), run_id="one")
    assert not result.metrics["leakage"]["clean"]
    assert [leak["kind"] for leak in result.metrics["leakage"]["leaks"]] == ["group", "backbone"]
    assert any(note.startswith("Leakage: 3 groups stand in training and in test") for note in result.metrics["notes"])
    assert result.summary.count(LEAKED) == 2  # accuracy and baseline
    assert "Leakage: " in (result.folder / "run.log").read_text()
    assert read_run(result.folder).metrics.mark.strip() == MARK


def test_a_clean_test_says_what_was_looked_at(config):
    result = pipeline.run(config, run_id="one")
    assert result.metrics["leakage"]["clean"]
    assert "groups: known of 48 of 48 videos" in result.metrics["leakage"]["checked"]
    assert LEAKED not in result.summary
    assert read_run(result.folder).metrics.mark == ""


def test_a_copy_of_a_training_video_in_the_test_set_is_found(video_config, video_set, write_clip):
    write_clip(video_set / "Right" / "v_g1.mp4", 1, 5, codec="libx264")  # as group 5 of training is, in another codec
    (video_set / "Right" / "v_g1.avi").unlink()
    with pytest.raises(ConfigError, match=r"duplicate: .*Right/v_g1\.mp4 like Right/v_g5\.avi"):
        pipeline.run(load_config(video_config()), run_id="one")
    config = load_config(video_config(evaluation={"allow_leakage": True}))
    metrics = pipeline.run(config, run_id="two").metrics
    assert [leak["kind"] for leak in metrics["leakage"]["leaks"]] == ["duplicate"]
    # three are all but plain: grey of nearly the bar's own brightness
    assert "near-duplicates: 9 of 12 videos compared" in metrics["leakage"]["checked"]
