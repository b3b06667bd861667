"""What bad input gets: one message that names the file or key and the way out, an exit code, nothing written half."""

import json
import pickle
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch

from snn_action.models import build_model


@pytest.fixture
def refuse(command):
    """Run a command that must fail: one message with ``words``, no traceback, and no run folder left behind."""

    def run(config: Path, code: int, *words: str, more: tuple[object, ...] = ()) -> str:
        found, out, err = command("run", "-c", config, "--run-id", "refused", *more)
        assert found == code, err
        assert "report:" not in out
        for word in words:
            assert word in err
        for line in ("Traceback", "weights_only", "still be loaded", "Value error"):
            assert line not in err
        assert sum(line.startswith("error: ") for line in err.splitlines()) == 1
        assert not list(config.parent.rglob("*.tmp"))
        folder = config.parent / "save" / "test" / "refused"
        assert folder.exists() == (code == 1)
        if code == 1:  # the folder from which --resume goes on, when what failed is fixed
            assert {path.name for path in folder.iterdir()} == {"config.json", "environment.json", "run.log", ".lock"}
        return err

    return run


@pytest.fixture
def change_features(features_file, write_config):
    def change(**arrays: np.ndarray) -> Path:
        np.savez(features_file, **{**np.load(features_file), **arrays})
        return write_config({"type": "features", "path": str(features_file)})

    return change


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainig.epochs=3", ["trainig: unknown key; did you mean 'training'?"]),
        ("training.epoch=3", ["training.epoch: unknown key; did you mean 'epochs'?"]),
        ("model.unit=3", ["model.unit: unknown key; did you mean 'units'?"]),
        ("model.type=lmuu", ["model.type: unknown model 'lmuu'; did you mean 'lmu'?"]),
        ("training.epochs=many", ["training.epochs: Input should be a valid integer", "(got 'many')"]),
        ("clip=3", ["clip: Input should be an object (got 3)"]),
    ],
)
def test_keys_and_types(refuse, change_features, override, words):
    refuse(change_features(), 2, "config.json: the configuration does not fit", *words, more=("-o", override))


def test_a_backbone_that_is_unknown(refuse, video_config):
    refuse(video_config(backbone={"name": "mobilnet_v2", "weights": "random"}), 2, "backbone.name", "'mobilenet_v2'")


def test_a_missing_data_folder(refuse, video_config, tmp_path):
    gone = tmp_path / "gone"
    refuse(video_config({"path": str(gone)}), 2, f"{gone}: no such folder; set dataset.path")


def test_an_empty_class_folder(refuse, video_config, video_set):
    (video_set / "Nothing").mkdir()
    refuse(video_config(), 2, f"{video_set / 'Nothing'}: holds no video; fill this class folder or remove it")


def test_list_entries_without_a_file(refuse, video_config, tmp_path):
    (tmp_path / "train.txt").write_text("Left/v_g1.avi\nRight/v_g1.avi\nLeft/v_g77.avi\n")
    (tmp_path / "test.txt").write_text("Left/v_g2.avi\n")
    lists = {"train_list": str(tmp_path / "train.txt"), "test_list": str(tmp_path / "test.txt"), "test_groups": None}
    refuse(video_config(lists), 2, "train.txt: 1 of 3 videos are not below", "Left/v_g77.avi")


def spoil(video_set: Path, write_clip) -> list[Path]:
    empty, garbage, cut = (video_set / "Left" / f"v_g{group}.avi" for group in (3, 4, 5))
    empty.write_bytes(b"")
    garbage.write_bytes(b"garbage" * 100)
    write_clip(cut, frames=200)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    return [empty, garbage, cut]


def test_broken_videos_beyond_the_share_are_an_error_that_names_all(refuse, video_config, video_set, write_clip):
    broken = spoil(video_set, write_clip)
    said = refuse(video_config(), 1, "3 of 12 videos cannot be read", "dataset.max_bad_share allows 5%", "truncated: ")
    for path in broken:
        assert said.count(f"{path}: ") == 1


def test_broken_videos_within_the_share_are_left_out_with_a_warning(command, video_config, video_set, write_clip):
    spoil(video_set, write_clip)
    config = video_config({"max_bad_share": 0.3})
    code, _, err = command("run", "-c", config, "--run-id", "one")
    assert code == 0
    assert "3 of 12 videos cannot be read and are left out" in err
    metrics = json.loads((config.parent / "save" / "test" / "one" / "metrics.json").read_text())
    assert {entry["video"] for entry in metrics["bad_videos"]} == {f"Left/v_g{group}.avi" for group in (3, 4, 5)}


def test_mended_videos_and_a_resumed_run(command, video_config, video_set, write_clip):
    config = video_config()
    spoil(video_set, write_clip)
    assert command("run", "-c", config, "--run-id", "one")[0] == 1
    for group in (3, 4, 5):
        write_clip(video_set / "Left" / f"v_g{group}.avi", -1, group)
    assert command("run", "--resume", config.parent / "save" / "test" / "one")[0] == 0


def test_videos_shorter_than_asked_are_padded_and_masked(command, video_config):
    config = video_config(clip={"frames": 40})
    code, _, _ = command("run", "-c", config, "--run-id", "one")
    assert code == 0
    metrics = json.loads((config.parent / "save" / "test" / "one" / "metrics.json").read_text())
    assert len(metrics["anytime"]) == 12


def test_backbone_weights_that_cannot_be_read_or_are_of_another_network(refuse, video_config, tmp_path):
    weights = tmp_path / "weights.pth"
    config = video_config(backbone={"name": "tiny", "weights": str(weights)})
    refuse(config, 2, f"{weights}: no such file")
    weights.write_bytes(b"garbage" * 30)
    refuse(config, 2, f"backbone.weights: {weights}: cannot be read")
    torch.save({"layer.weight": torch.zeros(3, 3)}, weights)
    refuse(config, 2, f"backbone.weights: {weights}: do not fit", "Weights of another architecture?")


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_malicious_pickles_run_nothing(refuse, video_config, write_config, tmp_path):
    target, weights, names = tmp_path / "owned", tmp_path / "weights.pth", tmp_path / "names.pkl"
    torch.save({"layer.weight": Evil(target)}, weights)
    refuse(video_config(backbone={"name": "tiny", "weights": str(weights)}), 2, f"{weights}: cannot be read")
    refuse(video_config(training={"weights": str(weights)}), 2, f"{weights}: not a checkpoint of a run")
    names.write_bytes(pickle.dumps(Evil(target)))
    keys = ("action_names", "train_data", "test_data", "train_labels", "test_labels")
    refuse(write_config({"type": "seed_pickles", **dict.fromkeys(keys, str(names))}), 2, str(names), "refused")
    assert not target.exists()


def test_weights_of_another_temporal_model(refuse, change_features, tmp_path):
    weights = tmp_path / "other.ckpt"
    model = build_model({"type": "lstm", "units": 4, "layers": 1}, 5, 3, 0)
    torch.save({"state_dict": {f"model.{key}": value for key, value in model.state_dict().items()}}, weights)
    more = ("-o", f"training.weights={weights}")
    refuse(change_features(), 2, f"{weights}: weights of another architecture", "settings of 'model'", more=more)
    weights.write_bytes(b"PK" + b"garbage" * 30)
    refuse(change_features(), 2, f"{weights}: not a checkpoint of a run", more=more)


def test_no_network_for_default_weights(refuse, video_config, tmp_path, monkeypatch):
    def refuse_connection(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", refuse_connection)
    said = refuse(video_config(backbone={"name": "mobilenet_v2"}), 1, "backbone.weights 'default'", "no route to host")
    assert "name the file in backbone.weights" in said


def test_a_gpu_that_is_not_there(refuse, change_features, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    refuse(change_features(), 2, "device: 'cuda' asks for GPU 0", "use 'auto' or 'cpu'", more=("-d", "cuda"))


def test_a_model_that_cannot_be_built_is_refused_before_a_video_is_read(refuse, video_config):
    model = {"type": "ensemble_array", "neuron": {"type": "izhikevich"}}
    config = video_config(model=model)
    refuse(config, 2, "error: model: izhikevich has no gradient mode 'spike_aware'; it has surrogate")
    assert not (config.parent / "store").exists()


def test_features_with_nan(refuse, change_features, features_file):
    features = np.load(features_file)["features"]
    features[3, 2, 1] = np.nan
    refuse(
        change_features(features=features),
        2,
        f"{features_file}: features hold NaN",
        "video 3 of 48",
        "extract them again",
    )


def test_features_of_a_wrong_shape(refuse, change_features, features_file):
    arrays = np.load(features_file)
    refuse(change_features(features=arrays["features"][:, 0]), 2, str(features_file), "expected (videos, time steps")


def test_labels_of_a_wrong_shape_and_range(refuse, change_features, features_file):
    labels = np.load(features_file)["labels"]
    refuse(change_features(labels=labels[:-1]), 2, f"{features_file}: labels has shape (47,), expected (48,)")
    refuse(change_features(labels=labels + 1), 2, f"{features_file}: ", "labels")


def test_one_class_only(refuse, change_features, video_config, video_set):
    one = {"labels": np.zeros(48, np.int64), "class_names": np.array(["Archery"])}
    refuse(change_features(**one), 2, "dataset: a recognizer needs at least two classes, found ['Archery']")
    (video_set / "Right").rename(video_set.parent / "Right")
    refuse(video_config(), 2, "dataset: a recognizer needs at least two classes, found ['Left']")


def test_a_test_class_absent_from_training(refuse, change_features, features_file):
    arrays = np.load(features_file)
    labels = np.where((arrays["split"] == "train") & (arrays["labels"] == 2), 1, arrays["labels"])
    said = refuse(change_features(labels=labels), 2, "tests classes that were never trained: Diving")
    assert "add training videos" in said


def test_a_run_folder_that_exists_stays_as_it_is(command, change_features):
    config = change_features()
    folder = config.parent / "save" / "test" / "one"
    assert command("run", "-c", config, "--run-id", "one")[0] == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in ("run", "train"):
        code, out, err = command(name, "-c", config, "--run-id", "one", "-o", "seed=5")
        assert (code, out) == (2, "")
        assert f"{folder}: this run exists; continue it with --resume {folder}, or name another with --run-id" in err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_masks_with_holes():
    model = build_model({"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 3}, 5, 3, 0)
    with pytest.raises(ValueError, match="mask"):
        model(torch.zeros(1, 4, 5), mask=torch.tensor([[True, False, True, True]]))
