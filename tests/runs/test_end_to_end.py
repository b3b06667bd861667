"""Runs of models that are trained from frames: the whole way, resumed, reloaded, begun from cached features; errors."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from snn_action.config import AugmentSettings, load_config
from snn_action.core.errors import ConfigError
from snn_action.evaluation.segments import Segment
from snn_action.features.store.store import FeatureStore
from snn_action.report import read_run
from snn_action.runs import pipeline
from snn_action.runs.packing import write_pack
from snn_action.runs.prediction import load_run
from snn_action.runs.tuning.tune import tune
from snn_action.training import memory
from snn_action.training.checkpoints import read_checkpoint
from snn_action.training.history import EpochRecorder, read_lines

LMU = {"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 3, "dropout": 0.0}
SPIKING = {"type": "spiking_lmu", "units": 12, "order": 2, "theta": 6.0, "memory_d": 4, "dropout": 0.0}
CNN = {"name": "spiking_cnn", "channels": [4, 6], "pool": 2}


@pytest.fixture
def spiking(video_config):
    """From pixels, all of it spiking."""
    return load_config(
        video_config(
            clip={"frames": 8, "size": 24, "streams": ["rgb", "difference"]},
            backbone=CNN,
            model={"type": "end_to_end", "model": SPIKING, "recompute": True, "frames_together": 24},
            training={"epochs": 1, "batch_size": 4, "learning_rate": 0.02},
            evaluation={"batch_size": 4, "test_curve": False},
        )
    )


def make_partial(video_config, **extra):
    sections = {"model": {"type": "end_to_end", "model": LMU, "train_from": "convolutions.4"}, **extra}
    return load_config(video_config(**sections))


def test_the_whole_way_from_pixels(spiking, video_set):
    run = pipeline.run(spiking, run_id="one")
    names = [
        population["name"] if isinstance(population, dict) else population
        for population in run.metrics["spikes"]["populations"]
    ]
    assert names[0] == "stream 1: stem"
    assert names[-1] == "hidden"
    assert set(run.metrics["controls"]) == {"shuffled", "first_frame"}
    assert run.metrics["baseline"]["video"] >= 0
    assert run.metrics["operations"]["backbone"]["dense_macs"] == 0
    operations = run.metrics["operations"]["model"]
    assert operations["effective_acs"] > 0
    layers = {layer["name"]: layer for layer in run.metrics["energy"]["layers"]["head"]}
    stem = layers["encoder.layers.stem.part.convolution"]
    assert stem["dense_macs"] == 2 * 8 * 12 * 12 * 4 * 3 * 25  # two streams of eight frames: it alone sees numbers
    assert not any("stage" in name and layer.get("effective_macs") for name, layer in layers.items())
    assert read_run(run.folder).metrics.accuracy.video == run.metrics["accuracy"]["video"]
    recognizer = load_run(run.folder)
    with (run.folder / "predictions.csv").open() as file:
        for row in csv.DictReader(file):
            prediction = recognizer.predict(video_set / row["video"])
            assert prediction.top(1)[0][0] == row["predicted"]
            assert prediction.probabilities.max() == pytest.approx(float(row["probability"]), abs=1e-3)
    frames = np.random.default_rng(0).integers(0, 256, (20, 48, 48, 3), np.uint8)
    seen = list(recognizer.stream(frames))
    assert sum(not isinstance(moment, Segment) for moment in seen) >= 10


def test_images_are_kept_in_whole_numbers_and_serve_every_backbone(spiking, video_config):
    data = pipeline.load_data(spiking)
    assert data.features.streams[0].shards[0].dtype == torch.uint8
    assert data.features.dim == 2 * 3 * 24 * 24
    store = FeatureStore(spiking.features.store)
    before = store.measure()
    store.close()
    other = load_config(
        video_config(
            clip={"frames": 8, "size": 24, "streams": ["rgb", "difference"]},
            backbone={"name": "squeezenet1_1", "weights": "random"},
            model={"type": "end_to_end", "model": LMU},
        )
    )
    again = pipeline.load_data(other)
    assert again.extraction == {"videos_extracted": 0, "videos_from_store": 12}
    store = FeatureStore(spiking.features.store)
    assert store.measure() == before
    store.close()


VARIED = {"frames": {"versions": 2, "color": 0.2, "crop": 0.2}, "speed": [0.5, 2], "jitter": 0.5, "mixup": 0.2}


def test_frames_are_changed_before_the_layers_that_learn(video_set, spiking):
    (video_set / "Right").rename(video_set / "There")
    flip = AugmentSettings(frames={"versions": 3, "crop": 0, "color": 0, "flip": True, "left_right": ["Left"]})
    varied = spiking.training.model_copy(update={"augment": flip})
    features = pipeline.load_data(spiking.model_copy(update={"training": varied})).features
    seen = []
    for version in features.versions:
        for clip in np.flatnonzero(version.length):  # those of test videos have none
            plain, changed = (one.read([clip])[0].view(8, 2, 3, 24, 24) for one in (features, version))
            flipped = bool((changed - plain.flip(-1)).abs().max() <= 1)  # resized and rounded the other way round
            assert flipped or torch.equal(changed, plain)
            seen.append((int(features.label[clip]), flipped))
    assert set(seen) == {(0, False), (1, False), (1, True)}


@pytest.mark.parametrize("train_from", ["all", "convolutions.4", "head"])
def test_clips_are_varied(video_config, train_from):
    model = {"type": "end_to_end", "model": LMU, "train_from": train_from, "head": [9]}

    def train(**augment):
        training = {"epochs": 1, "batch_size": 4, "augment": augment}
        folder = pipeline.train(make_partial(video_config, model=model, clip={"frames": 4}, training=training))
        return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]

    plain = train()
    for augment in (VARIED, {"redraw": True, "drop": 0.2}):
        weights = train(**augment)
        assert all(bool(value.isfinite().all()) for value in weights.values())
        assert any(not torch.equal(value, plain[key]) for key, value in weights.items())


@pytest.mark.parametrize("augment", [{}, VARIED], ids=["plain", "varied"])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(video_config, monkeypatch, augment):
    model = {"type": "end_to_end", "model": LMU, "train_from": "linear", "head": [9], "rates": {"backbone": 0.5}}
    config = make_partial(video_config, model=model, training={"epochs": 3, "batch_size": 4, "augment": augment})
    whole = pipeline.train(config, run_id="whole")
    finish = EpochRecorder.finish

    def kill(self, *given):
        finish(self, *given)
        if self.next_epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(EpochRecorder, "finish", kill)
    with pytest.raises(KeyboardInterrupt):
        pipeline.train(config, run_id="killed")
    monkeypatch.setattr(EpochRecorder, "finish", finish)
    killed = pipeline.resume_training(whole.parent / "killed")
    wanted, found = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (whole, killed))
    assert len(wanted["lines"]) == len(found["lines"]) == 3
    assert wanted["state_dict"].keys() == found["state_dict"].keys()
    for key, value in wanted["state_dict"].items():
        torch.testing.assert_close(found["state_dict"][key], value, rtol=0, atol=0)


def test_it_begins_from_a_run_on_cached_features_and_learns_on(video_config, video_set):
    first = pipeline.train(load_config(video_config(model=LMU)), run_id="one")
    weights = str(first / "checkpoints" / "best.ckpt")
    begun = make_partial(video_config, training={"skip": True, "weights": weights})
    model = {"type": "end_to_end", "model": LMU, "train_from": "convolutions.4", "rates": {"backbone": 0.1}}
    training = {"epochs": 1, "batch_size": 4, "learning_rate": 0.002, "schedule": "constant", "weights": weights}
    learned = make_partial(video_config, model=model, training=training)
    same, other = pipeline.train(begun, run_id="two"), pipeline.train(learned, run_id="three")
    video = video_set / "Left" / "v_g1.avi"
    plain, again, changed = (load_run(folder).predict(video).probabilities for folder in (first, same, other))
    np.testing.assert_allclose(again, plain, atol=1e-5)
    assert np.abs(changed - plain).max() > 1e-4
    old = read_checkpoint(first / "checkpoints" / "best.ckpt")["state_dict"]
    content = read_checkpoint(other / "checkpoints" / "last.ckpt")
    new = content["state_dict"]
    assert torch.equal(new["model.model.standardizer.mean"], old["model.standardizer.mean"])
    assert not torch.equal(new["model.model.readout.weight"], old["model.readout.weight"])
    assert "model.encoder.network.convolutions.4.weight" in new
    assert not any("convolutions.3" in key for key in new)
    groups = content["optimizer_states"][0]["param_groups"]
    assert {round(group["lr"], 9): group.get("factor", 1.0) for group in groups} == {0.0002: 0.1, 0.002: 1.0}


def test_activations_of_frozen_layers_are_cached_once(video_config):
    config = make_partial(video_config)
    first, again = pipeline.load_data(config), pipeline.load_data(config)
    assert first.extraction["videos_extracted"] == 12
    assert again.extraction == {"videos_extracted": 0, "videos_from_store": 12}
    assert first.features.streams[0].shards[0].dtype == torch.float32
    assert first.features.dim == 64 * 8 * 8
    other = make_partial(video_config, model={"type": "end_to_end", "model": LMU, "train_from": "linear"})
    assert pipeline.load_data(other).extraction["videos_extracted"] == 12


def test_only_a_head_learns_on_the_backbone_s_own_features(video_config):
    model = {"type": "end_to_end", "model": LMU, "train_from": "head", "head": [16, 8]}
    folder = pipeline.train(make_partial(video_config, model=model, training={"epochs": 2, "batch_size": 4}))
    weights = read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"]
    assert {key.split(".")[1] for key in weights} == {"head", "model", "standardizer"}
    assert weights["model.head.0.weight"].shape == (16, 128)
    first, second = read_lines(folder)
    assert second["train"]["loss"] != first["train"]["loss"]


def test_a_head_may_learn_on_features_that_were_given(features_file, write_config):
    model = {"type": "end_to_end", "model": LMU, "train_from": "head", "head": [6]}
    config = load_config(write_config({"type": "features", "path": str(features_file)}, model=model))
    assert read_lines(pipeline.train(config))[-1]["validation"]["video"] > 0.7


def test_what_is_held_out_for_calibration_is_not_learned_by_its_own_encoder(video_config):
    training = {"epochs": 1, "batch_size": 8, "validation_share": 0}
    config = make_partial(video_config, evaluation={"calibration": True}, training=training)
    folder = pipeline.train(config)
    assert json.loads((folder / "calibration.json").read_text())["own_model"] is False


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"model": {"type": "end_to_end", "train_from": "convolutions.9"}},
            "'convolutions.9' is no layer of tiny; did you",
        ),
        (
            {
                "model": {"type": "end_to_end", "model": LMU},
                "training": {"epochs": 1, "feature_noise": 0.1},
            },
            "training.feature_noise: of features",
        ),
        (
            {"model": {"type": "end_to_end", "model": LMU}, "training": {"epochs": 1, "augment": {"noise": 0.1}}},
            "training.augment.noise: of features",
        ),
        (
            {"model": {"type": "end_to_end", "model": LMU}, "training": {"epochs": 0, "augment": {"jitter": 0.5}}},
            "training.augment: training.epochs is 0",
        ),
        (
            {"backbone": {"name": "tiny", "coding": "sigma_delta"}, "model": {"type": "end_to_end", "model": LMU}},
            "backbone.coding: of a frozen backbone",
        ),
        ({"backbone": CNN, "clip": {"frames": 8, "size": 16}, "model": {"type": "end_to_end"}}, None),
        (
            {"clip": {"frames": 8, "size": 32}, "model": {"type": "end_to_end", "model": LMU}},
            "clip.size: tiny cannot take images of side 32",
        ),
        (
            {
                "clip": {"frames": 8, "size": 32},
                "model": {"type": "end_to_end", "model": LMU, "train_from": "convolutions.4"},
            },
            "clip.size: tiny cannot take images of side 32",
        ),
    ],
)
def test_bad_input_is_found_before_anything_is_extracted(video_config, tmp_path, sections, words):
    config = load_config(video_config(**sections))
    if words is None:
        words, config = (
            "too small",
            config.model_copy(update={"backbone": config.backbone.model_copy(update={"pool": 8})}),
        )
    with pytest.raises(ConfigError, match=words):
        pipeline.run(config, run_id="one")
    assert not list((tmp_path / "store").rglob("*.safetensors"))
    assert not (tmp_path / "save" / "test" / "one").exists()


def test_a_step_that_memory_does_not_allow_is_found_before_work_begins(spiking, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "find_free_memory", lambda _: 10**6)
    plain = spiking.model_copy(update={"model": spiking.model.model_copy(update={"recompute": False})})
    with pytest.raises(ConfigError, match=r"takes about .* MiB of memory, .* are free: set model.recompute to true"):
        pipeline.run(plain, run_id="one")
    with pytest.raises(ConfigError, match=r"are free: lower training.batch_size"):
        pipeline.run(spiking, run_id="one")
    assert not list((tmp_path / "store").rglob("*.safetensors"))


def test_a_gpu_needs_memory_for_its_share_of_a_batch(spiking, monkeypatch):
    encoder = pipeline.load_data(spiking).encoder
    monkeypatch.setattr(memory, "find_free_memory", lambda _: None)
    alone = memory.check_memory(spiking, encoder)
    monkeypatch.setattr(memory.distributed, "world_size", lambda: 2)
    assert memory.check_memory(spiking, encoder) == alone  # on one processor all share one memory
    gpu = type("Device", (), {"main": torch.device("cuda")})()
    monkeypatch.setattr(memory, "resolve_device", lambda _: gpu)
    halved = spiking.model_copy(update={"training": spiking.training.model_copy(update={"batch_size": 2})})
    shared = memory.check_memory(spiking, encoder)
    monkeypatch.setattr(memory.distributed, "world_size", lambda: 1)
    assert shared == memory.check_memory(halved, encoder) < alone


def test_frames_that_move_before_the_first_step_are_drawn_by_the_seed(spiking):
    model = spiking.model.model_copy(update={"shift": 0.2, "zoom": 0.2, "batch_norm": "trained"})
    config, states = spiking.model_copy(update={"model": model}), []
    for number, seed in enumerate((1, 2)):
        torch.manual_seed(seed)  # what was drawn before does not matter
        last = pipeline.train(config, run_id=str(number)) / "checkpoints" / "last.ckpt"
        states.append(read_checkpoint(last)["state_dict"])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_test_needs_less_memory_than_a_training(spiking, monkeypatch):
    run = pipeline.run(spiking, run_id="one")
    encoder = pipeline.load_data(spiking).encoder
    frame = memory.measure_frame(encoder)
    needed = memory.estimate_test(spiking, encoder, frame)
    assert needed < memory.estimate_memory(spiking, encoder, frame, frame)
    monkeypatch.setattr(memory, "find_free_memory", lambda _: needed + memory.SLACK)
    assert pipeline.evaluate(run.folder).metrics["accuracy"] == run.metrics["accuracy"]
    monkeypatch.setattr(memory, "find_free_memory", lambda _: needed + memory.SLACK - 1)
    with pytest.raises(ConfigError, match=r"testing 4 clips of 8 frames .* lower evaluation.batch_size or"):
        pipeline.evaluate(run.folder)


def test_weights_of_another_model_are_found_before_anything_is_extracted(video_config, tmp_path):
    config = make_partial(video_config, training={"epochs": 1, "batch_size": 8})
    weights = pipeline.train(config, run_id="one") / "checkpoints" / "best.ckpt"
    model = {"type": "end_to_end", "model": {**LMU, "units": 9}, "train_from": "convolutions.4"}
    other = make_partial(
        video_config,
        model=model,
        training={"epochs": 1, "weights": str(weights)},
        features={"store": str(tmp_path / "other"), "workers": 0},
    )
    with pytest.raises(ConfigError, match=r"weights of another architecture: .* has shape"):
        pipeline.train(other, run_id="two")
    assert not list((tmp_path / "other").rglob("*.safetensors"))


def test_features_that_were_given_are_no_frames(features_file, write_config):
    path = write_config({"type": "features", "path": str(features_file)}, model={"type": "end_to_end", "model": LMU})
    with pytest.raises(ConfigError, match="learns from frames, but this dataset brings features along"):
        pipeline.run(load_config(path), run_id="one")


def test_what_cannot_be_done_with_it_is_said(video_config, tmp_path):
    config = make_partial(video_config, training={"epochs": 1, "batch_size": 8})
    with pytest.raises(ConfigError, match="tune: tries temporal models on cached features"):
        tune(config)
    folder = pipeline.train(config, run_id="one")
    with pytest.raises(ConfigError, match="trained end to end cannot be packed"):
        write_pack(folder, tmp_path / "one.pack")
    with pytest.raises(ConfigError, match="changes what"):
        load_run(folder, overrides=["model.train_from=linear"])
    shutil.rmtree(folder)
