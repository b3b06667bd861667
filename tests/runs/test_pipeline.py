import csv
import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch

from snn_action.config import load_config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.evaluation import record_spikes
from snn_action.evaluation.energy.count import count_head
from snn_action.features.extraction import versions
from snn_action.models import build_model
from snn_action.report import read_run
from snn_action.report.metrics import LEAKED, MARK
from snn_action.runs import pipeline
from snn_action.training.checkpoints import load_weights, read_trained_on
from snn_action.training.clips import EpochSampler


@pytest.fixture
def config(features_file, write_config):
    return load_config(write_config({"type": "features", "path": str(features_file)}))


def without_timings(metrics):
    return {key: value for key, value in metrics.items() if key not in ("seconds", "videos_per_second")}


def test_what_is_sent_as_changes_is_counted_as_the_mean_of_several_clips(features_file, write_config):
    """Each of the twelve test clips has six steps: eight of them are counted."""
    model = {"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 3, "input_threshold": 0.5}
    path = write_config({"type": "features", "path": str(features_file)}, model=model)
    config = load_config(path)
    run = pipeline.run(config, run_id="one")
    data = pipeline.load_data(config)
    model = build_model(config.model, data.features.dim, 3, 0).eval()
    load_weights(model, run.folder / "checkpoints" / "best.ckpt")
    sent = []
    for clip in data.features.clips_of(data.catalog.folds[0].test)[:8]:
        layers = count_head(model, data.features.read([clip])[0], None)
        sent.append(sum(layer.spikes for layer in layers))
    (senders,) = (layer for layer in run.metrics["energy"]["layers"]["head"] if layer.get("spikes"))
    assert len(set(sent)) > 1
    assert senders["spikes"] == pytest.approx(np.mean(sent))


@pytest.mark.real_figures
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
    assert (result.folder / "figures/anytime.png").stat().st_size > 1000
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


def change(path, **arrays):
    """Put arrays into a file of features."""
    np.savez(path, **{**np.load(path), **arrays})


def read_sides(folder):
    (fold,) = json.loads((folder / "splits.json").read_text())["folds"]
    return {side: fold[side] for side in ("train", "validation", "test")}


def read_tested(folder):
    with (folder / "predictions.csv").open() as file:
        return sorted(row["video"] for row in csv.DictReader(file))


def test_videos_that_are_added_after_training_change_nothing(video_config, video_set, write_clip):
    config = load_config(video_config({"test_groups": None}))  # a seeded share of each class tests
    whole = pipeline.run(config, run_id="whole")
    folder = pipeline.train(config, run_id="parts")
    for group in (7, 8):
        write_clip(video_set / "Left" / f"v_g{group}.avi", -1, group)
    again = pipeline.evaluate(folder)
    assert read_tested(folder) == sorted(read_sides(folder)["test"]) == read_tested(whole.folder)
    assert not set(read_tested(folder)) & set(read_sides(folder)["train"] + read_sides(folder)["validation"])
    assert again.metrics["accuracy"] == whole.metrics["accuracy"]
    assert again.metrics["baseline"] == whole.metrics["baseline"]
    assert again.metrics["train_videos"] == whole.metrics["train_videos"]


def test_a_resumed_run_keeps_its_split(video_config, video_set, write_clip, monkeypatch):
    config = load_config(video_config({"test_groups": None}))
    whole = pipeline.run(config, run_id="whole")

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "train_model", stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(config, run_id="cut")
    write_clip(video_set / "Left" / "v_g7.avi", -1, 7)
    resumed = pipeline.resume(config.save_dir / config.name / "cut")
    assert read_sides(resumed.folder) == read_sides(whole.folder)
    assert without_timings(resumed.metrics) == without_timings(whole.metrics)


def test_what_is_no_longer_as_it_was_stops_the_test(video_config, video_set, write_clip):
    folder = pipeline.train(load_config(video_config()), run_id="one")
    one = video_set / "Left" / "v_g1.avi"
    content = one.read_bytes()
    one.unlink()
    with pytest.raises(ConfigError, match=r"1 of the 12 videos of this run are gone: Left/v_g1\.avi"):
        pipeline.evaluate(folder)
    write_clip(one, 1, 9)
    with pytest.raises(ConfigError, match=r"the content of 1 videos .* began with: Left/v_g1\.avi"):
        pipeline.evaluate(folder)
    one.write_bytes(content)
    (video_set / "Left").rename(video_set / "Zigzag")
    with pytest.raises(ConfigError, match="gone: Left; new: Zigzag"):
        pipeline.evaluate(folder)
    (video_set / "Zigzag").rename(video_set / "Left")
    moved = video_set.rename(video_set.with_name("moved"))
    assert pipeline.evaluate(folder, [f"dataset.path={moved}"]).metrics["test_videos"] == 4


def test_features_that_changed_stop_the_test(config, features_file):
    folder = pipeline.train(config, run_id="one")
    features = np.load(features_file)["features"]
    features[3] += 1
    change(features_file, features=features)
    with pytest.raises(ConfigError, match="the content of 1 features"):
        pipeline.evaluate(folder)


def test_an_override_never_changes_what_was_learned_or_is_tested(config):
    folder = pipeline.train(config, run_id="one")
    for override in ("dataset.split=1", "seed=3", "model.units=9", "clip.frames=4", "precision=bf16"):
        with pytest.raises(ConfigError, match="changes what the run has learned or is tested on"):
            pipeline.evaluate(folder, [override])
        assert not (folder / "metrics.json").exists()
    assert pipeline.evaluate(folder, ["device=cpu", "evaluation.batch_size=7", "evaluation.baseline=false"]).metrics


def test_the_other_fold_is_never_tested_by_an_override(features_file, write_config):
    split_in_three(features_file)
    folder = pipeline.train(
        load_config(write_config({"type": "features", "path": str(features_file), "split": "1"})), run_id="one"
    )
    with pytest.raises(ConfigError, match=r'dataset\.split is "2", was "1"'):
        pipeline.evaluate(folder, ['dataset.split="2"'])


def test_a_run_whose_configuration_was_edited_does_not_go_on(config, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(config, run_id="cut")
    folder = config.save_dir / "test" / "cut"
    raw = json.loads((folder / "config.json").read_text())
    raw["model"]["units"] = 9
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match=r"model\.units is 9, was 8"):
        pipeline.resume(folder)


def test_checkpoints_of_another_network_are_refused_by_name(config, monkeypatch):
    folders = []
    for units in (8, 9):
        own = config.model_copy(update={"model": config.model.model_copy(update={"units": units})})
        with monkeypatch.context() as patch:
            patch.setattr(EpochSampler, "set_epoch", interrupt_at(2))
            with pytest.raises(KeyboardInterrupt):
                pipeline.run(own, run_id=f"units{units}")
        folders.append(config.save_dir / "test" / f"units{units}")
    last = "checkpoints/last.ckpt"
    (folders[0] / last).write_bytes((folders[1] / last).read_bytes())
    with pytest.raises(ConfigError, match=r"last\.ckpt: weights of another architecture: .* has shape"):
        pipeline.resume(folders[0])


def interrupt_at(epoch):
    def hook(self, beginning):
        if beginning == epoch:
            raise KeyboardInterrupt
        original(self, beginning)

    original = EpochSampler.set_epoch
    return hook


def test_names_of_folds_never_leave_the_run_folder(features_file, write_config):
    ids = np.load(features_file)["video_ids"]
    path = write_config({"type": "features", "path": str(features_file)})
    folders = []
    for names in (["../../x", "../../y"], ["x", "x/y"]):
        change(features_file, split=np.array([names[int(name.split("_g")[1][:2]) % 2] for name in ids]))
        run = pipeline.run(load_config(path), run_id=f"r{len(folders)}")
        assert {fold["name"] for fold in run.metrics["folds"]} == set(names)
        assert len(list((run.folder / "folds").glob("*/checkpoints/best.ckpt"))) == 2
        folders.append(run.folder)
    assert sorted(run.folder.parent.iterdir()) == folders


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


@pytest.mark.parametrize("kind", ["mean_pool", "lstm", "ensemble_array"])
def test_every_kind_of_model_goes_the_whole_way(features_file, write_config, kind):
    small = {
        "mean_pool": {},
        "lstm": {"units": 8, "layers": 2, "readout_units": 8},
        "ensemble_array": {"n_ensembles": 10, "n_neurons": 8},
    }[kind]
    path = write_config({"type": "features", "path": str(features_file)}, model={"type": kind, **small})
    metrics = pipeline.run(load_config(path), run_id=kind).metrics
    assert (metrics["spikes"] is not None) == (kind == "ensemble_array")
    assert metrics["operations"]["model"]["dense_macs"] > 0
    if kind == "mean_pool":
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
            "evaluation.leakage",
        ):
            assert words in str(error.value)
        assert not (config.save_dir / "test" / "one").exists()
    trained = pipeline.train(load_config(leaking, ["evaluation.leakage=mark"]), run_id="two")
    with pytest.raises(ConfigError, match="the test is not clean"):
        pipeline.evaluate(trained, ["evaluation.leakage=refuse"])
    assert not (trained / "metrics.json").exists()


def test_an_allowed_leak_marks_every_figure(leaking):
    result = pipeline.run(load_config(leaking, ["evaluation.leakage=mark"]), run_id="one")
    assert not result.metrics["leakage"]["clean"]
    assert [leak["kind"] for leak in result.metrics["leakage"]["leaks"]] == ["group", "backbone"]
    assert any(note.startswith("Leakage: 3 groups stand in training and in test") for note in result.metrics["notes"])
    assert result.summary.count(LEAKED) == 4  # accuracy, baseline and both controls
    assert "Leakage: " in (result.folder / "run.log").read_text()
    assert read_run(result.folder).metrics.mark.strip() == MARK


def test_shared_and_unshared_test_videos_have_accuracies_of_their_own(features_file, write_config):
    data = dict(np.load(features_file))
    own = np.array(["g01_c01" in name or "g02" in name for name in data["video_ids"]])
    change(features_file, split=np.where(own, "test", "train"))
    path = write_config({"type": "features", "path": str(features_file)}, evaluation={"leakage": "mark"})
    run = pipeline.run(load_config(path), run_id="one")
    leakage = run.metrics["leakage"]
    assert (leakage["shared"]["videos"], leakage["unshared"]["videos"]) == (3, 6)  # g01 has its other clip in training
    with (run.folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for side, word in (("shared", "g01"), ("unshared", "g02")):
        right = [int(row["correct"]) for row in rows if word in row["video"]]
        assert leakage[side]["accuracy"] == pytest.approx(np.mean(right))
    assert "6 test videos that share no group with training" in run.summary
    path = write_config({"type": "features", "path": str(features_file)}, evaluation={"leakage": "drop"})
    dropped = pipeline.run(load_config(path), run_id="two")
    assert dropped.metrics["leakage"]["clean"]
    assert dropped.metrics["leakage"]["dropped"] == 3
    assert dropped.metrics["leakage"]["shared"]["videos"] == 0
    assert len(json.loads((dropped.folder / "splits.json").read_text())["folds"][0]["dropped"]) == 3
    again = pipeline.evaluate(dropped.folder)
    assert again.metrics["leakage"] == dropped.metrics["leakage"]


def test_controls_test_the_same_weights_without_the_order(config):
    run = pipeline.run(config, run_id="one")
    controls = run.metrics["controls"]
    assert controls.keys() == {"shuffled", "first_frame"}
    assert controls["shuffled"]["accuracy"] != controls["first_frame"]["accuracy"]
    assert "frames in random order" in run.summary
    assert "in random order" in (run.folder / "report.html").read_text()
    off = pipeline.evaluate(run.folder, ["evaluation.controls=false"])
    assert off.metrics["controls"] is None
    assert off.metrics["accuracy"] == run.metrics["accuracy"]


def test_operations_are_those_of_a_clip_of_mean_length(features_file, write_config):
    lengths = np.array([6, 1] * 24)
    data = dict(np.load(features_file))
    lengths[data["split"] == "test"] = 3
    change(features_file, lengths=lengths)
    path = write_config({"type": "features", "path": str(features_file)}, model={"type": "mean_pool"})
    metrics = pipeline.run(load_config(path), run_id="one").metrics
    assert metrics["operations"]["model"]["dense_macs"] == 3 * 5 * 3  # steps, features, classes


def test_times_are_those_of_the_model_alone(config):
    metrics = pipeline.run(config, run_id="one").metrics
    seconds = metrics["seconds"]["evaluate"]
    assert metrics["videos_per_second"] == pytest.approx(metrics["test_videos"] / seconds)


def test_features_from_the_store_are_said_to_be(video_config):
    config = load_config(video_config())
    first, second = (pipeline.run(config, run_id=name) for name in ("one", "two"))
    for run, counts in ((first, (12, 0)), (second, (0, 12))):
        assert (run.metrics["seconds"]["videos_extracted"], run.metrics["seconds"]["videos_from_store"]) == counts
    assert "from the store, 12 videos" in (second.folder / "report.html").read_text()


def test_without_a_terminal_every_stage_and_epoch_is_a_line(config, caplog):
    with caplog.at_level("INFO", logger="snn_action"):
        run = pipeline.run(config, run_id="one")
    log = (run.folder / "run.log").read_text()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == f"run folder: {run.folder}"
    stages = (
        "Looking for videos in ",
        "split test: training on ",
        "Preparing the model",
        "epoch 1 of 4: loss ",
        "epoch 4 of 4: loss ",
        "Testing, split test: 12 clips",
        "Testing shuffled, split test",
        "Fitting the baseline, split test",
        "Counting operations",
        "Writing the report",
    )
    places = [next(i for i, line in enumerate(lines) if line.startswith(words)) for words in stages]
    assert places == sorted(places)
    for words in stages:
        assert words in log


def test_the_log_holds_why_the_work_ended(config, monkeypatch):
    def fail(*_, **__):
        raise WorkError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_evaluate_fold", fail)
        with pytest.raises(WorkError):
            pipeline.run(config, run_id="one")
    folder = config.save_dir / "test" / "one"
    assert "ERROR snn_action.core.run_access: WorkError: the disk is full" in (folder / "run.log").read_text()


def test_a_start_that_failed_leaves_its_reason(leaking):
    config = load_config(leaking)
    with pytest.raises(ConfigError):
        pipeline.run(config, run_id="one")
    text = (config.save_dir / "test" / "failed.log").read_text()
    assert " one: the test is not clean" in text


def test_without_its_split_a_trained_run_does_not_go_on(config, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(config, run_id="one")
    folder = config.save_dir / "test" / "one"
    (folder / "splits.json").unlink()
    for go_on in (pipeline.resume, pipeline.evaluate):
        with pytest.raises(ConfigError, match=r"splits\.json: missing, so nobody knows what this run was trained on"):
            go_on(folder)


def test_the_old_switch_of_leakage_is_read(leaking):
    raw = json.loads(leaking.read_text())
    for old, new in ((True, "mark"), (False, "refuse")):
        leaking.write_text(json.dumps({**raw, "evaluation": {"allow_leakage": old}}))
        assert load_config(leaking).evaluation.leakage == new


def test_a_clean_test_says_what_was_looked_at(config):
    result = pipeline.run(config, run_id="one")
    assert result.metrics["leakage"]["clean"]
    assert "groups: known of 48 of 48 videos" in result.metrics["leakage"]["checked"]
    assert LEAKED not in result.summary
    assert read_run(result.folder).metrics.mark == ""


def test_a_copy_of_a_training_video_in_the_test_set_is_found(video_config, video_set, write_clip):
    write_clip(video_set / "Right" / "v_g1.mp4", 1, 5)  # as group 5 of training is, in another container
    (video_set / "Right" / "v_g1.avi").unlink()
    with pytest.raises(ConfigError, match=r"duplicate: .*Right/v_g1\.mp4 like Right/v_g5\.avi"):
        pipeline.run(load_config(video_config()), run_id="one")
    config = load_config(video_config(evaluation={"leakage": "mark"}))
    metrics = pipeline.run(config, run_id="two").metrics
    assert [leak["kind"] for leak in metrics["leakage"]["leaks"]] == ["duplicate"]
    assert any("near-duplicates: 12 of 12 videos compared" in words for words in metrics["leakage"]["checked"])


def run_with_workers(path: str, store: str, workers: int) -> list[float]:
    workers_of = [f"features.workers={workers}", f"training.workers={workers}"]
    config = load_config(path, [f"features.store={store}", *workers_of])
    return list(pipeline.run(config).metrics["accuracy"].values())


def test_a_run_in_a_daemonic_process_is_the_same(video_config, tmp_path):
    """A worker of a pool may not start the processes that decode videos and read batches."""
    path = str(video_config())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply_async(run_with_workers, (path, str(tmp_path / "one"), 2)).get(300)
    assert found == run_with_workers(path, str(tmp_path / "other"), 0)


def test_a_precision_that_the_device_lacks_is_known_before_anything_is_extracted(video_config, tmp_path):
    with pytest.raises(ConfigError, match="'16' needs a GPU"):
        pipeline.run(load_config(video_config(precision="16")))
    assert not (tmp_path / "store").exists()


def test_weights_carry_what_they_were_trained_on(features_file, write_config):
    def configure(**training):
        training = {"epochs": 1, "batch_size": 16, **training}
        return load_config(write_config({"type": "features", "path": str(features_file)}, training=training))

    first = pipeline.run(configure(), run_id="first")
    weights = str(first.folder / "checkpoints" / "last.ckpt")
    learned = {video.name for video in read_trained_on(first.folder / "checkpoints" / "last.ckpt").videos}
    assert learned == set(read_sides(first.folder)["train"] + read_sides(first.folder)["validation"])
    again = pipeline.run(configure(weights=weights), run_id="again")
    assert again.metrics["leakage"]["verdict"] == "clean"
    assert any(
        "the 36 videos that they learned from are named" in words for words in again.metrics["leakage"]["checked"]
    )
    split = np.load(features_file)["split"]
    change(features_file, split=np.where(split == "test", "train", "test"))
    with pytest.raises(ConfigError, match=r"weights: split test: training\.weights learned from 36 of 36 test videos"):
        pipeline.run(configure(weights=weights), run_id="turned")
    with pytest.raises(ConfigError, match=r"training\.weights learned from 36 of 36"):  # what it began from is kept
        pipeline.run(configure(weights=str(again.folder / "checkpoints" / "best.ckpt")), run_id="turned-twice")
    with pytest.raises(ConfigError, match=r"training\.weights learned from 36 of 36"):
        pipeline.run(configure(weights=weights, skip=True), run_id="tested")


def test_weights_that_do_not_say_what_they_were_trained_on_are_of_unknown_origin(config, tmp_path):
    first = pipeline.run(config, run_id="first")
    content = torch.load(first.folder / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({"state_dict": content["state_dict"]}, tmp_path / "bare.ckpt")
    training = config.training.model_copy(update={"weights": tmp_path / "bare.ckpt"})
    begun = pipeline.run(config.model_copy(update={"training": training}), run_id="second")
    assert begun.metrics["leakage"]["verdict"] == "clean as far as compared, training.weights of unknown origin"
    (tmp_path / "bare.ckpt").unlink()  # needed no more
    assert pipeline.evaluate(begun.folder).metrics["leakage"] == begun.metrics["leakage"]
    (begun.folder / "metrics.json").unlink()
    assert without_timings(pipeline.resume(begun.folder).metrics) == without_timings(begun.metrics)


def test_training_on_frames_drawn_anew_is_repeatable_and_tests_plain_clips(video_config):
    augment = {"redraw": True, "speed": [0.7, 1.4], "frames": {"versions": 1}}
    clip = {"frames": 8, "sampling": "segments", "clips": 2}
    training = {"epochs": 2, "batch_size": 4, "augment": augment}
    config = load_config(video_config(clip=clip, training=training))
    runs = [pipeline.train(config, run_id=name) for name in ("one", "two")]
    data = pipeline.load_data(config)
    weights = []
    for folder in runs:
        model = build_model(config.model, data.features.dim, 2)
        load_weights(model, folder / "checkpoints" / "best.ckpt")
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert [len(version) for version in data.features.versions] == [len(data.features)] * 2
    clips = data.features.clips_of(data.catalog.folds[0].test)
    assert len(clips) == 2 * len(data.catalog.folds[0].test)
    assert not data.features.versions[0].length[clips].any()  # nobody trains on them
    plain = load_config(video_config(clip=clip, training={**training, "augment": {}}))
    assert torch.equal(data.features.read(clips)[0], pipeline.load_data(plain).features.read(clips)[0])


def test_versions_are_made_for_training_alone_and_told(video_config, caplog, monkeypatch):
    training = {"epochs": 1, "augment": {"redraw": True, "frames": {"versions": 1, "crop": 0.3}}}
    config = load_config(video_config(training=training))
    extract = versions.extract_features
    monkeypatch.setattr(versions, "extract_features", lambda *given: replace(extract(*given), seconds=1000.0))
    with caplog.at_level("INFO"):
        folder = pipeline.run(config, run_id="one").folder
    assert "versions of training videos: 16 extracted, 0 in the store" in caplog.text
    assert "store with them: " in caplog.text
    assert " images in 2000.0 s" in caplog.text
    assert 2000 < json.loads((folder / "metrics.json").read_text())["seconds"]["extract"] < 3000
    monkeypatch.setattr(versions, "extract_features", None)
    pipeline.evaluate(folder)  # asks for none
    with pytest.raises(TypeError):
        pipeline.train(config, run_id="two")
    monkeypatch.setattr(versions, "extract_features", extract)
    calibrated = pipeline.evaluate(folder, overrides=["evaluation.calibration=true"])  # trains once more
    assert calibrated.metrics["calibration"]


@pytest.mark.parametrize("frames", [{"flip": True}, {"blur": 0.01}])
def test_changes_of_frames_without_versions_are_an_error(video_config, frames):
    with pytest.raises(ConfigError, match=r"training\.augment\.frames: versions: 0, so no frame is changed"):
        load_config(video_config(training={"augment": {"frames": frames}}))


def test_a_flip_of_videos_whose_classes_are_sides_is_an_error(video_config):
    augment = {"frames": {"versions": 1, "flip": True}}
    with pytest.raises(ConfigError, match="left and right matter in 'Left', 'Right'"):
        pipeline.run(load_config(video_config(training={"augment": augment})))


def test_augmentation_that_cannot_be_is_an_error_before_anything_is_written(features_file, write_config, tmp_path):
    dataset = {"type": "features", "path": str(features_file)}
    for augment, words in (
        ({"redraw": True}, "redraw: the features of this dataset came with it"),
        ({"frames": {"versions": 2}}, "versions: the features of this dataset came with it"),
        ({"mix_streams": 0.5}, "there is one stream"),
    ):
        config = load_config(write_config(dataset, training={"augment": augment}))
        with pytest.raises(ConfigError, match=words):
            pipeline.run(config)
    assert not list(tmp_path.rglob("*.ckpt"))
