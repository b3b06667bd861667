import importlib
from pathlib import Path

import pytest
import safetensors.torch
import torch

from snn_action.backbones import build_backbone, infer
from snn_action.core.compat import torchvision
from snn_action.core.errors import ConfigError, WorkError

assert torchvision  # made importable before timm, which imports it
timm = pytest.importorskip("timm", reason="the extra timm is not installed")
hub = pytest.importorskip("huggingface_hub", reason="the extra timm is not installed")
NAME = "mobilenetv3_small_050.lamb_in1k"
# One of each way in which a model pools: the feature's size and the side of the image it was made for.
MODELS = {
    "resnet18.a1_in1k": (512, 224),
    "mobilenetv3_small_050.lamb_in1k": (1024, 224),
    "convnext_atto.d2_in1k": (320, 224),
    "vit_tiny_patch16_224.augreg_in21k": (192, 224),
    "deit_tiny_distilled_patch16_224.fb_in1k": (192, 224),
    "efficientnet_b1.ft_in1k": (1280, 224),
}


def build(model: str = NAME, weights: object = "random"):
    return build_backbone({"name": "timm", "model": model, "weights": str(weights)})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the hub's client makes it: weights of a whole network, its classifier included."""
    folder = tmp_path_factory.mktemp("repository")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        state = timm.create_model(NAME, pretrained=False).state_dict()
    safetensors.torch.save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("model", MODELS)
def test_a_model_gives_its_pooled_feature(model):
    backbone = build(model)
    dim, size = MODELS[model]
    assert (backbone.feature_dim, backbone.input_size) == (dim, size)
    assert infer(backbone, torch.zeros(1, 3, size, size)).shape == (1, dim)
    data = timm.get_pretrained_cfg(model)
    assert (backbone.mean, backbone.std) == (data.mean, data.std)
    assert backbone.options == {"model": model}
    assert backbone.provenance["trained_on"] == "nothing"


def test_the_model_is_part_of_the_key():
    assert build().fingerprint != build("mobilenetv3_small_050").fingerprint


def test_published_weights_are_loaded_and_their_origin_is_named(published, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **kept: asked.append((name, kept)) or str(published))
    backbone = build(weights="default")
    assert asked == [("timm/mobilenetv3_small_050.lamb_in1k", {"allow_patterns": ["*.safetensors"]})]
    network = timm.create_model(NAME, pretrained=False).eval()
    network.load_state_dict(safetensors.torch.load_file(published / "model.safetensors"))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = network.forward_head(network.forward_features(images), pre_logits=True)
        torch.testing.assert_close(network.classifier(infer(backbone, images)), network(images))
    torch.testing.assert_close(infer(backbone, images), wanted)
    assert backbone.provenance["trained_on"] == "ImageNet-1k"
    assert "bicubic" in backbone.provenance["images"]
    assert "bilinear" in backbone.provenance["images"]


def test_a_folder_or_a_file_of_ones_own(published, tmp_path):
    folder, file = build(weights=published), build(weights=published / "model.safetensors")
    assert folder.digest == file.digest != build().digest
    assert "trained_on" not in folder.provenance
    state = safetensors.torch.load_file(published / "model.safetensors")
    torch.save(state, tmp_path / "model.pth")
    (tmp_path / "model.json").write_text('{"trained_on": "Kinetics-400"}')
    own = build(weights=tmp_path / "model.pth")
    assert own.digest == file.digest
    assert own.provenance["trained_on"] == "Kinetics-400"


def test_weights_of_another_model_and_folders_without_safetensors_are_refused(published, tmp_path):
    with pytest.raises(ConfigError, match=r"model\.safetensors: do not fit"):
        build("resnet18", published / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match="no safetensors file there; weights in other forms may hold code"):
        build(weights=tmp_path)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("resnet17", "timm has no model 'resnet17'; did you mean .*'resnet18'"),
        ("qqqq", r"timm\.list_models\(\) names all"),
        ("hf-hub:somebody/network", "timm has no model"),
        ("resnet18.foo", r"Invalid pretrained tag.*known: .*resnet18\.a1_in1k"),
    ],
)
def test_an_unknown_model_gets_the_nearest(model, says):
    with pytest.raises(ConfigError, match=says):
        build(model)


def test_a_model_without_published_weights_is_named():
    assert not timm.get_pretrained_cfg("mnasnet_050").hf_hub_id
    with pytest.raises(ConfigError, match="timm has no published weights of 'mnasnet_050'"):
        build("mnasnet_050", "default")


def test_without_a_network_the_way_out_is_named(monkeypatch):
    def fail(*_, **__):
        raise hub.errors.LocalEntryNotFoundError("Name or service not known")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(
        WorkError, match=r"Name or service not known.*hf download timm/mobilenet\S+ .*backbone\.weights"
    ):
        build(weights="default")


def test_without_the_extra_it_is_named(monkeypatch):
    original = importlib.import_module

    def fail(name, *rest):
        if name == "timm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *rest)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ConfigError, match=r"package timm is not installed; pip install 'snn-action\[timm\]'"):
        build()
