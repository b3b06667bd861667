"""Weights and checkpoints of an attacker: nothing in them is run, and no advice to run it is passed on."""

import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from snn_action.backbones import build_backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.backbones.weights import read_weights
from snn_action.core.compat import torchvision
from snn_action.core.errors import ConfigError
from snn_action.training.checkpoints import read_checkpoint

ADVICE = ("weights_only", "allow_pickle", "trust")


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


@pytest.fixture
def target(tmp_path):
    """A file that the attacker's code would make."""
    yield tmp_path / "owned"
    assert not (tmp_path / "owned").exists()


def refuse(read, path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert not any(word in text for word in ADVICE), text
    return text


def write(content: object, path: Path, form: str) -> Path:
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    return path


@pytest.mark.parametrize("force", [None, "1"])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_no_code_of_a_file_is_run_whatever_the_environment_says(tmp_path, target, monkeypatch, form, force):
    if force:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", force)
    state = {"state_dict": {"model.weight": torch.zeros(1)}, "evil": Evil(target)}
    refuse(read_checkpoint, write(state, tmp_path / "last.ckpt", form))
    refuse(read_weights, write(state, tmp_path / "weights.pth", form))
    refuse(read_weights, write(Evil(target), tmp_path / "weights.pt", form))


def test_a_file_that_lies_where_default_weights_are_looked_for_is_held_against_its_name(tmp_path, target, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.ResNet50_Weights.DEFAULT.url
    path = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save({"evil": Evil(target)}, path)

    def build(_: Path) -> None:
        build_backbone(BackboneSettings(name="resnet50", weights="default"))

    assert "its SHA-256 is" in refuse(build, path)
    assert "delete it" in refuse(build, path)


def test_a_file_with_the_digest_of_its_name_is_still_only_data(tmp_path, target, monkeypatch):
    import hashlib

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({"evil": Evil(target)}, folder / "evil")
    digest = hashlib.sha256((folder / "evil").read_bytes()).hexdigest()
    path = (folder / "evil").rename(folder / f"evil-{digest[:8]}.pth")
    weights = torchvision.models.ShuffleNet_V2_X0_5_Weights.DEFAULT
    monkeypatch.setattr(weights.value, "url", f"https://example.org/{path.name}")
    refuse(lambda _: build_backbone(BackboneSettings(name="shufflenet_v2_x0_5", weights="default")), path)


def test_a_small_archive_does_not_fill_the_memory(tmp_path):
    torch.save({"state_dict": {"model.a": torch.zeros(2**22)}}, tmp_path / "large.pth")
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(tmp_path / "large.pth") as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in source.infolist():
            archive.writestr(part.filename, source.read(part))
    assert bomb.stat().st_size < 100_000
    for read in (read_weights, read_checkpoint):
        assert "would inflate to" in refuse(read, bomb)


@pytest.mark.parametrize(
    "value", [torch.zeros(3).to_sparse(), torch.zeros(3, dtype=torch.complex64), torch.empty(3, device="meta"), 3]
)
def test_what_is_no_tensor_of_numbers_is_named(tmp_path, value):
    torch.save({"weight": value}, tmp_path / "odd.pth")
    assert "'weight'" in refuse(read_weights, tmp_path / "odd.pth")


@pytest.mark.parametrize("name", ["pipe.pth", "pipe.safetensors", "pipe.ckpt"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    import os

    os.mkfifo(tmp_path / name)
    read = read_checkpoint if name.endswith("ckpt") else read_weights
    assert "not a regular file" in refuse(read, tmp_path / name)


def test_names_of_a_checkpoint_that_are_no_text(tmp_path):
    torch.save({"state_dict": {1: torch.zeros(1)}}, tmp_path / "a.ckpt")
    refuse(read_checkpoint, tmp_path / "a.ckpt")


def test_a_header_that_claims_more_than_the_file_holds(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(4)}, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(data.replace(b"[4]", b"[9]").replace(b"[0,16]", b"[0,36]"))
    refuse(read_weights, tmp_path / "a.safetensors")
