import pickle
import zipfile

import numpy as np
import pytest
import torch

from snn_action.core.errors import ConfigError
from snn_action.models import build_model
from snn_action.training.checkpoints import load_weights, read_checkpoint, save_weights

SETTINGS = {"type": "lmu", "units": 4, "order": 2, "memory_d": 2, "input_to_hidden": True}


def make(seed: int = 0, features: int = 5, classes: int = 3, **extra):
    return build_model({**SETTINGS, **extra}, features, classes, seed=seed)


def test_weights_come_back_and_no_other_file_stays(tmp_path):
    model, other = make(0), make(1)
    model.standardizer.mean += 2
    save_weights(model, tmp_path / "deep" / "a.ckpt")
    load_weights(other, tmp_path / "deep" / "a.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.ckpt"]


def test_names_of_earlier_versions_are_read(tmp_path):
    model, other = make(0), make(1)
    model.standardizer.mean += 2
    old = {key.replace("standardizer", "standardizer"): value for key, value in model.state_dict().items()}
    assert old.keys() != model.state_dict().keys()
    torch.save({"state_dict": {f"model.{key}": value for key, value in old.items()}}, tmp_path / "old.ckpt")
    load_weights(other, tmp_path / "old.ckpt")
    assert torch.equal(other.standardizer.mean, model.standardizer.mean)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"units": 6}, r"has shape \(\d.*not \("),
        ({"features": 7}, "shape"),
        ({"classes": 4}, "readout"),
        ({"hidden_recurrence": True}, "recurrent_kernel.weight is missing"),
        ({"input_to_hidden": False}, "input_kernel.weight is unknown"),
    ],
)
def test_weights_of_another_architecture_are_listed_and_change_nothing(tmp_path, other, says):
    save_weights(make(), tmp_path / "a.ckpt")
    model = make(**other)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ConfigError, match=rf"a\.ckpt: weights of another architecture: .*{says}"):
        load_weights(model, tmp_path / "a.ckpt")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Bomb:
    def __reduce__(self):
        return (print, ("boom",))


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04broken", pickle.dumps({"a": 1})])
def test_files_that_are_no_checkpoints_are_refused_by_name(tmp_path, content):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.ckpt: not a checkpoint"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_truncated_checkpoint_a_foreign_zip_and_a_folder_are_refused_by_name(tmp_path):
    save_weights(make(), tmp_path / "whole.ckpt")
    (tmp_path / "a.ckpt").write_bytes((tmp_path / "whole.ckpt").read_bytes()[:1500])
    with zipfile.ZipFile(tmp_path / "b.ckpt", "w") as archive:
        archive.writestr("x", "y")
    torch.save({"weights": {}}, tmp_path / "c.ckpt")
    torch.save([1, 2], tmp_path / "d.ckpt")
    (tmp_path / "e.ckpt").mkdir()
    for name in "abcdef":  # f is missing
        with pytest.raises(ConfigError, match=rf"{name}\.ckpt: "):
            read_checkpoint(tmp_path / f"{name}.ckpt")


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    torch.save({"state_dict": Bomb()}, tmp_path / "a.ckpt")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "a.ckpt")
    assert "boom" not in capsys.readouterr().out


def test_what_pytorch_advises_about_unsafe_files_is_not_passed_on(tmp_path):
    torch.save({"state_dict": Bomb()}, tmp_path / "a.ckpt")
    with pytest.raises(ConfigError) as caught:
        read_checkpoint(tmp_path / "a.ckpt")
    assert "weights_only" not in str(caught.value)
    assert "trust" not in str(caught.value)


@pytest.mark.parametrize("name", ["params.npz", "params"])
def test_a_parameter_file_of_nengo_dl_is_told_apart(tmp_path, name):
    np.savez(tmp_path / "params.npz", arr_0=np.zeros(3))
    with pytest.raises(ConfigError, match="NengoDL"):
        load_weights(make(), tmp_path / name)


def test_entries_that_are_no_tensors_are_named_as_missing(tmp_path):
    save_weights(make(), tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt")
    content["state_dict"]["model.readout.bias"] = "text"
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ConfigError, match=r"readout\.bias is missing"):
        load_weights(make(), tmp_path / "a.ckpt")
