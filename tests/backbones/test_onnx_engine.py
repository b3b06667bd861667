"""ONNX Runtime in the place of PyTorch: the same features, the same keys, and clear errors before work begins."""

import copy
import importlib
import logging
import pickle
import sys
import warnings

import pytest
import torch
from torch import nn

from snn_action.backbones import Backbone, build_backbone, infer
from snn_action.backbones import onnx_engine as module
from snn_action.backbones.settings import BackboneSettings
from snn_action.core.errors import ConfigError
from snn_action.core.settings import SettingsError

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
SIZE = 32


class Means(nn.Module):
    """Of windows (N, W, 3, S, S): means of each image's channels."""

    def forward(self, windows):
        return windows.mean((3, 4)).flatten(1)


class Undecided(nn.Module):
    """Goes another way for other values, which no export can follow."""

    def forward(self, images):
        means = images.mean((2, 3))
        return means if float(means[0, 0]) > 0.1 else -means


def make(network: nn.Module, **options) -> Backbone:
    return Backbone(network, name="small", feature_dim=3, input_size=SIZE, **options)


def convolution() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


def images(count: int, *shape: int) -> torch.Tensor:
    made = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))
    return made.contiguous(memory_format=torch.channels_last) if made.ndim == 4 else made


@pytest.fixture(scope="module")
def exported() -> Backbone:
    """Of ``convolution``; an export takes seconds."""
    backbone = make(convolution())
    backbone.use_engine("onnx", SIZE)
    return backbone


def test_features_are_those_of_pytorch_for_any_number_of_images(exported):
    backbone, plain = exported, make(convolution())
    given = {count: images(count, 3, SIZE, SIZE) for count in (1, 2, 7)}
    wanted = {count: infer(plain, some) for count, some in given.items()}
    assert backbone.engine is not None
    assert backbone.engine.agrees
    for count, some in given.items():
        found = infer(backbone, some)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted[count], rtol=0, atol=1e-5)
    assert any(not torch.equal(infer(backbone, some), wanted[count]) for count, some in given.items())  # it did run


def test_windows_of_images_too():
    backbone = make(Means(), window=4)
    some = images(3, 4, 3, SIZE, SIZE)
    wanted = infer(backbone, some)
    backbone.use_engine("onnx", SIZE)
    torch.testing.assert_close(infer(backbone, some), wanted, rtol=0, atol=1e-5)


def test_it_is_part_of_the_key_only_where_features_differ(exported, monkeypatch):
    before = make(convolution()).fingerprint
    assert exported.fingerprint == before
    monkeypatch.setattr(exported.engine, "difference", 2 * module.TOLERANCE)
    assert exported.fingerprint == (*before, {"engine": "onnx"})
    assert copy.deepcopy(exported).fingerprint == before


def test_it_is_made_once_for_a_size_and_can_be_put_away(exported):
    first = exported.engine
    exported.use_engine("onnx", SIZE)
    assert exported.engine is first
    backbone = copy.deepcopy(exported)
    backbone.use_engine("onnx", 2 * SIZE)
    assert infer(backbone, images(1, 3, 2 * SIZE, 2 * SIZE)).shape == (1, 8)
    backbone.use_engine("torch", SIZE)
    assert backbone.engine is None


def test_copies_run_in_pytorch(exported):
    backbone = exported
    some = images(2, 3, SIZE, SIZE)
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert other.engine is None
        torch.testing.assert_close(infer(other, some), infer(backbone, some), rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_named():
    with pytest.raises(ConfigError, match=r"backbone\.engine 'onnx': small cannot be exported \(.*set it to 'torch'"):
        make(Undecided()).use_engine("onnx", SIZE)


def test_warnings_and_levels_of_loggers_stay_as_they_were():
    logging.getLogger("torch.onnx").setLevel(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(convolution()).use_engine("onnx", SIZE)
        with pytest.raises(UserWarning):
            warnings.warn("kept", UserWarning, stacklevel=1)
    assert logging.getLogger("torch.onnx").level == logging.DEBUG
    logging.getLogger("torch.onnx").setLevel(logging.NOTSET)


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx", "onnxscript"])
def test_a_missing_package_names_the_extra(missing, monkeypatch):
    original = importlib.import_module

    def fail(name: str, *rest):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *rest)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ConfigError, match=rf"package {missing} is not installed; pip install 'snn-action\[onnx\]'"):
        make(convolution()).use_engine("onnx", SIZE)
    assert "onnxruntime" in sys.modules


def test_half_precision_is_refused():
    with pytest.raises(ValueError, match="engine: 'onnx' computes in precision '32'"):
        BackboneSettings(engine="onnx", precision="bf16")
    with pytest.raises(SettingsError, match="'onnx' computes in precision '32'"):
        build_backbone({"name": "tiny", "engine": "onnx", "precision": "bf16"})
