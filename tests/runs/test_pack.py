"""One file of a trained run: it says what the run says, needs nothing else, and tells what is wrong with it."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import snn_action
from snn_action.backbones import build_backbone
from snn_action.backbones.thresholds import Thresholds
from snn_action.config import load_config
from snn_action.core.errors import ConfigError
from snn_action.models.rounding import round_matrix
from snn_action.runs import pipeline
from snn_action.runs.pack import KEY, digest_pack, read_pack
from snn_action.runs.packing import remove_unfinished, write_pack
from snn_action.runs.prediction import load_run


def change(path, edit, digest=True):
    """Write a pack again after ``edit`` changed its text and tensors in place; with the digest that fits."""
    with safetensors.safe_open(path, "pt") as file:
        content = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    edit(content, tensors)
    if digest:
        del content["digest"]
        content["digest"] = digest_pack(content, tensors)
    path.write_bytes(safetensors.torch.save(tensors, {KEY: json.dumps(content)}))
    return path


def test_it_says_what_the_run_says_without_run_weights_or_network(trained, video_set, tmp_path, monkeypatch):
    video = video_set / "Left" / "v_g1.avi"
    wanted = load_run(trained).predict(video)
    digest = write_pack(trained, tmp_path / "model.snn")
    shutil.rmtree(trained)
    monkeypatch.setattr("snn_action.backbones.tiny.WEIGHTS", tmp_path / "gone.safetensors")
    found = snn_action.load_run(tmp_path / "model.snn").predict(video)
    np.testing.assert_array_equal(found.probabilities, wanted.probabilities)
    assert found.confidence == wanted.confidence
    assert found.to_dict() == wanted.to_dict()
    assert len(digest) == 64


def test_what_a_killed_pack_left_is_removed_when_surely_ours(tmp_path):
    begin = safetensors.torch.save({"model.a": torch.zeros(1)}, {KEY: "{}"})[:50]
    ours, fresh, anothers, other, link = (tmp_path / f".{name}.tmp" for name in (
        "a.snn.abcdefgh", "a.snn.bbcdefgh", "a.snn.cbcdefgh", "b.snn.abcdefgh", "a.snn.dbcdefgh"
    ))  # fmt: skip
    for path in (ours, fresh, other):
        path.write_bytes(begin + b"some")
    anothers.write_bytes(b"somebody's notes")
    link.symlink_to(other)
    for path in (ours, anothers, other):
        os.utime(path, (0, 0))
    remove_unfinished(tmp_path / "a.snn")
    assert {*tmp_path.glob(".*.tmp")} == {fresh, anothers, other, link}


def test_the_same_run_gives_the_same_bytes(trained, tmp_path):
    for name in ("a.snn", "b.snn"):
        write_pack(trained, tmp_path / name)
    assert (tmp_path / "a.snn").read_bytes() == (tmp_path / "b.snn").read_bytes()


@pytest.mark.parametrize("model", ["lstm", "mean_pool", "stacked_lmu", "spiking_lmu", "ensemble_array"])
def test_every_model_comes_out_as_it_went_in(video_config, video_set, tmp_path, model):
    small = {"n_ensembles": 20} if model == "ensemble_array" else {} if model == "mean_pool" else {"units": 8}
    config = load_config(video_config(model={"type": model, **small}, training={"epochs": 1}))
    folder = pipeline.train(config, run_id="one")
    write_pack(folder, tmp_path / "model.snn")
    video = video_set / "Right" / "v_g1.avi"
    of_run, of_pack = (load_run(place).predict(video).probabilities for place in (folder, tmp_path / "model.snn"))
    np.testing.assert_array_equal(of_run, of_pack)
    assert "Not tested" in read_pack(tmp_path / "model.snn").text


def test_commands(command, trained, video_set, tmp_path):
    path, video = tmp_path / "model.snn", video_set / "Left" / "v_g1.avi"
    code, out, _ = command("pack", trained, path, "--license", "CC BY 4.0")
    assert code == 0
    assert f"packed: {path}" in out
    code, _, err = command("pack", trained, path)
    assert code == 2
    assert f"{path}: there already; --force replaces it" in err
    assert command("pack", trained, path, "--force", "--license", "CC BY 4.0")[0] == 0
    code, out, _ = command("predict", path, video, "--json")
    assert code == 0
    (said,) = json.loads(out)
    assert {"unknown", "confidence", "score", "threshold"} <= said.keys()
    code, _, err = command("predict", path, video, "--fold", "1")
    assert code == 2
    assert "leave the fold out" in err
    assert command("pack", trained, video_set)[0] == 2


def test_its_card_has_the_figures_of_the_run_and_no_path(trained, tmp_path):
    metrics = json.loads((trained / "metrics.json").read_text())
    write_pack(trained, tmp_path / "model.snn", license_note="CC BY 4.0")
    pack = read_pack(tmp_path / "model.snn")
    assert pack.card["results"]["accuracy"] == metrics["accuracy"]
    assert pack.card["classes"] == ["Left", "Right"]
    assert f"{100 * metrics['accuracy']['video']:.1f} %" in pack.text
    assert "CC BY 4.0" in pack.text
    assert "Calibrated on" in pack.text
    content = (tmp_path / "model.snn").read_bytes()
    place = Path(json.loads((trained / "config.json").read_text())["dataset"]["path"]).parent
    assert not [path for path in (tmp_path, place) if str(path).encode() in content]


def test_folds_are_packed_one_by_one(video_config, video_set, tmp_path):
    path = video_config({"test_groups": None, "folds": 2, "split": "all"})
    folder = pipeline.run(load_config(path), run_id="folds").folder
    for fold in "12":
        write_pack(folder, tmp_path / f"{fold}.snn", fold=fold)
        video = video_set / "Left" / "v_g1.avi"
        of_fold, of_pack = load_run(folder, fold=fold), load_run(tmp_path / f"{fold}.snn")
        np.testing.assert_array_equal(of_fold.predict(video).probabilities, of_pack.predict(video).probabilities)
        assert read_pack(tmp_path / f"{fold}.snn").card["fold"] == fold


def test_without_backbone_its_weights_are_named_asked_for_and_checked(command, trained, video_set, tmp_path):
    from snn_action.backbones.tiny import WEIGHTS

    whole, head, video = tmp_path / "whole.snn", tmp_path / "head.snn", video_set / "Left" / "v_g1.avi"
    write_pack(trained, whole)
    assert command("pack", trained, head, "--without-backbone")[0] == 0
    assert head.stat().st_size < whole.stat().st_size / 2
    digest = read_pack(head).backbone["digest"]
    code, _, err = command("predict", head, video)
    assert code == 2
    assert f"the weights of its backbone tiny are not in it: get default (digest {digest[:16]})" in err
    assert "-o backbone.weights=FILE" in err
    code, _, err = command("predict", head, video, "-o", "backbone.weights=random")
    assert code == 2
    assert "other weights of tiny than its model was trained with" in err
    assert command("predict", head, video, "-o", f"backbone.weights={WEIGHTS}")[0] == 0


def test_what_was_learned_cannot_be_changed_but_how_much_is_called_unknown(trained, tmp_path):
    path = tmp_path / "model.snn"
    write_pack(trained, path)
    with pytest.raises(ConfigError, match=r"model\.snn: this changes what the model has learned: clip\.frames is 4"):
        load_run(path, overrides=["clip.frames=4"])
    with pytest.raises(ConfigError, match=r"model\.units is 4"):
        load_run(path, overrides=["model.units=4"])
    thresholds = [
        load_run(path, overrides=[f"evaluation.known_share={share}"]).calibration.threshold for share in (0.3, 1.0)
    ]
    assert thresholds[0] < thresholds[1]
    assert load_run(path, overrides=["evaluation.calibration=false"]).calibration is None


def test_a_newer_one_and_a_changed_one_are_refused(trained, tmp_path):
    path = tmp_path / "model.snn"
    write_pack(trained, path)
    whole = path.read_bytes()

    def flip(_, tensors):
        tensors["model.readout.weight"].view(torch.uint8)[0, 0] ^= 1

    with pytest.raises(ConfigError, match=r"wrong digest"):
        read_pack(change(path, flip, digest=False))
    path.write_bytes(whole)
    with pytest.raises(ConfigError, match=r"wrong digest"):
        read_pack(change(path, lambda content, _: content["class_names"].reverse(), digest=False))
    path.write_bytes(whole)
    with pytest.raises(ConfigError, match=r"model\.snn: packed by a newer version of snn-action; update it"):
        read_pack(change(path, lambda content, _: content.update(version=2), digest=False))


def test_what_is_no_pack_is_said(command, trained, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors.torch.save({"a": torch.zeros(2)}))
    code, _, err = command("predict", path, "x.avi")
    assert code == 2
    assert "a file of weights, but not a packed model" in err
    (tmp_path / "x.snn").write_text("hello")
    code, _, err = command("predict", tmp_path / "x.snn", "x.avi")
    assert code == 2
    assert "x.snn: not a packed model, or damaged" in err
    (trained / "metrics.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"metrics\.json: broken"):
        write_pack(trained, tmp_path / "model.snn")


def test_a_full_disk_leaves_the_old_file(trained, tmp_path, monkeypatch):
    path = tmp_path / "model.snn"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("snn_action.runs.packing.write_atomic", fail)
    with pytest.raises(OSError, match="No space"):
        write_pack(trained, path, replace=True)
    assert path.read_text() == "old"


def test_a_coded_backbone_is_packed_with_its_thresholds(video_config, video_set, tmp_path):
    thresholds = tmp_path / "t.json"
    Thresholds("tiny", build_backbone("tiny").digest, 0.1, (), {"images": 0.3, "relu_1": 0.02}).write(thresholds)
    coding = {"name": "tiny", "coding": "sigma_delta", "thresholds": str(thresholds)}
    folder = pipeline.train(load_config(video_config(backbone=coding)), run_id="one")
    video = video_set / "Left" / "v_g1.avi"
    wanted = load_run(folder).predict(video).probabilities
    write_pack(folder, tmp_path / "model.snn")
    thresholds.unlink()
    assert str(tmp_path).encode() not in (tmp_path / "model.snn").read_bytes()
    packed = load_run(tmp_path / "model.snn")
    np.testing.assert_array_equal(packed.predict(video).probabilities, wanted)
    assert packed.backbone.coded.thresholds["images"] == 0.3

    def spoil(content, _):
        content["backbone"]["own"][0]["coding"]["sigma_delta"]["images"] = -1

    with pytest.raises(ConfigError, match="its thresholds are broken"):
        load_run(change(tmp_path / "model.snn", spoil))


def test_a_run_of_few_bits_says_so_everywhere_and_its_pack_has_the_rounded_weights(video_config, tmp_path, command):
    config = load_config(video_config(model={"type": "lmu", "units": 8}, training={"epochs": 1, "weight_bits": 4}))
    result = pipeline.run(config, run_id="one")
    energy = result.metrics["energy"]
    assert (energy["bits"], energy["weight_bits"]) == (8, 4)
    bits = {layer["name"]: layer.get("weight_bits", 0) for layer in energy["layers"]["head"]}
    assert {name for name, value in bits.items() if value} == {"encoder", "memory_kernel", "readout"}
    assert not any(layer.get("weight_bits") for layer in energy["layers"]["baseline"])
    note = "The model was trained, and tested, with matrices rounded to 4 bits."
    assert note in result.metrics["notes"]
    assert "matrices of the temporal model of the 4 bits" in (result.folder / "report.html").read_text()
    assert "matrices of the 4 bits that the model was trained with" in command("energy", result.folder)[1]
    write_pack(result.folder, tmp_path / "model.snn")
    pack = read_pack(tmp_path / "model.snn")
    assert pack.card["weight_bits"] == 4
    assert "- Model: `lmu`, its matrices rounded to 4 bits, on `tiny`" in pack.text
    for name in ("encoder", "memory_kernel", "readout"):
        weight = pack.tensors[f"model.{name}.weight"]
        torch.testing.assert_close(round_matrix(weight, 4), weight)
        assert all(len(row.unique()) <= 15 for row in weight)
