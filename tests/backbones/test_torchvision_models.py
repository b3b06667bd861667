import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from snn_action.backbones import build_backbone, infer
from snn_action.backbones.settings import BackboneSettings
from snn_action.backbones.torchvision_models import classifier_names, cut_last_layer, make_network
from snn_action.core.compat import torchvision
from snn_action.core.errors import ConfigError, WorkError

# One of each family that is quick to make: the feature's size and the side of the image it was made for.
FAMILIES = {
    "alexnet": (4096, 224),
    "convnext_tiny": (768, 224),
    "densenet121": (1024, 224),
    "efficientnet_b1": (1280, 240),
    "efficientnet_v2_s": (1280, 384),
    "googlenet": (1024, 224),
    "inception_v3": (2048, 299),
    "maxvit_t": (512, 224),
    "mnasnet0_5": (1280, 224),
    "mobilenet_v2": (1280, 224),
    "mobilenet_v3_small": (1024, 224),
    "resnet18": (512, 224),
    "resnet152": (2048, 224),
    "resnext50_32x4d": (2048, 224),
    "shufflenet_v2_x0_5": (1024, 224),
    "squeezenet1_0": (512, 224),
    "squeezenet1_1": (512, 224),
    "swin_t": (768, 224),
    "swin_v2_t": (768, 256),
    "vgg11": (4096, 224),
    "vgg16_bn": (4096, 224),
    "vit_b_16": (768, 224),
    "vit_h_14": (1280, 518),
    "wide_resnet50_2": (2048, 224),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_gives_its_last_layer_s_input(name: str) -> None:
    dim, size = FAMILIES[name]
    with torch.device("meta"):
        network = make_network(name, size).eval()
        images = torch.zeros(2, 3, size, size)
    full = network(images)
    found, last = cut_last_layer(network)
    assert full.shape == (2, 1000)
    assert found == dim
    assert network(images).shape == (2, dim)
    assert not any(key.startswith(f"{last}.") for key in network.state_dict())
    assert size == torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0]


def test_regnet_cannot_be_made_without_data_but_works() -> None:
    backbone = build_backbone(BackboneSettings(name="regnet_y_400mf", weights="random"))
    assert infer(backbone, torch.zeros(1, 3, 64, 64)).shape == (1, 440) == (1, backbone.feature_dim)


def test_the_feature_times_the_last_layer_is_the_classifier_s_output() -> None:
    settings = BackboneSettings(name="mobilenet_v2", weights="random")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        reference = torchvision.models.mobilenet_v2(weights=None).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    feature = build_backbone(settings, seed=5)(images)
    with torch.no_grad():
        torch.testing.assert_close(reference.classifier[1](feature), reference(images))


def test_squeezenet_s_feature_is_globally_average_pooled() -> None:
    backbone = build_backbone(BackboneSettings(name="squeezenet1_1", weights="random"))
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled = backbone.network.features(images).mean((2, 3))  # type: ignore[union-attr,operator]
    torch.testing.assert_close(infer(backbone, images), pooled)


def test_random_weights_come_from_the_seed_alone() -> None:
    settings = BackboneSettings(name="shufflenet_v2_x0_5", weights="random")
    torch.manual_seed(0)
    first = build_backbone(settings, seed=1)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), expected)  # building drew nothing from the caller's generator
    assert build_backbone(settings, seed=1).digest == first.digest
    assert build_backbone(settings, seed=2).digest != first.digest


def test_normalization_comes_from_the_published_weights() -> None:
    usual = build_backbone(BackboneSettings(name="shufflenet_v2_x0_5", weights="random"))
    assert usual.mean == (0.485, 0.456, 0.406)
    assert usual.std == (0.229, 0.224, 0.225)
    transforms = torchvision.models.EfficientNet_V2_L_Weights.DEFAULT.transforms()
    assert tuple(transforms.mean) == (0.5, 0.5, 0.5)  # the exception among them


def test_a_backbone_is_frozen_and_evaluating() -> None:
    backbone = build_backbone(BackboneSettings(name="shufflenet_v2_x0_5", weights="random"))
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize(
    ("name", "nearest"), [("mobilnet_v2", "mobilenet_v2"), ("ResNet152", "resnet152"), ("tinny", "tiny")]
)
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"{name!r}; did you mean {nearest!r}"):
        build_backbone(BackboneSettings(name=name, weights="random"))


def publish(weights: Any, path: Path, monkeypatch: pytest.MonkeyPatch, **states: torch.Tensor) -> Path:
    """Make ``path``, in PyTorch's folder, the file that torchvision publishes: its name has its digest."""
    monkeypatch.setenv("TORCH_HOME", str(path))
    folder = path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(states, folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    found = (folder / "new.pth").rename(folder / f"made-{digest[:8]}.pth")
    monkeypatch.setattr(weights.DEFAULT.value, "url", f"https://example.org/models/{found.name}")
    return found


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_default_weights_are_loaded_without_auxiliary_heads(name: str, tmp_path: Path, monkeypatch) -> None:
    published = torchvision.models.get_model(name, weights=None, aux_logits=True, init_weights=False).state_dict()
    publish(torchvision.models.get_model_weights(name), tmp_path, monkeypatch, **published)
    backbone = build_backbone(BackboneSettings(name=name, weights="default"))
    state = backbone.network.state_dict()
    assert not any(key.startswith(("fc.", "AuxLogits.", "aux")) for key in state)
    assert all(torch.equal(value, published[key]) for key, value in state.items())
    assert backbone.network.transform_input  # type: ignore[union-attr]
    assert backbone.provenance["trained_on"] == "ImageNet-1k"
    assert infer(backbone, torch.zeros(1, 3, 96, 96)).shape == (1, backbone.feature_dim)


def test_default_weights_are_downloaded_where_they_are_not_there(tmp_path: Path, monkeypatch) -> None:
    published = torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()
    weights = torchvision.models.ShuffleNet_V2_X0_5_Weights
    path = publish(weights, tmp_path / "there", monkeypatch, **published)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "here"))
    monkeypatch.setattr(weights.DEFAULT.value, "url", path.as_uri())
    backbone = build_backbone(BackboneSettings(name="shufflenet_v2_x0_5", weights="default"))
    assert torch.equal(backbone.network.state_dict()["conv1.0.weight"], published["conv1.0.weight"])
    assert (tmp_path / "here" / "hub" / "checkpoints" / path.name).read_bytes() == path.read_bytes()


def test_every_published_file_has_a_digest_in_its_name() -> None:
    for name in classifier_names():
        url = torchvision.models.get_model_weights(name).DEFAULT.url
        assert re.search(r"-[0-9a-f]{8,}\.pth$", url), url


def test_without_a_network_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", fail)
    with pytest.raises(WorkError, match=r"download\.pytorch\.org.*Name or service not known.*backbone\.weights"):
        build_backbone(BackboneSettings(name="mobilenet_v2", weights="default"))


VIDEO_NETWORKS = {  # side of images, mean of the first channel, frames and rate that the weights learned from
    "r3d_18": (112, 0.43216, "16 frames at 15 a second"),
    "r2plus1d_18": (112, 0.43216, "16 frames at 15 a second"),
    "mc3_18": (112, 0.43216, "16 frames at 15 a second"),
    "s3d": (224, 0.43216, "128 frames at 15 a second"),
    "mvit_v2_s": (224, 0.45, "16 frames at 7.5 a second"),
    "swin3d_t": (224, 0.485, "32 frames at 15 a second"),
}


@pytest.mark.parametrize("name", VIDEO_NETWORKS)
def test_a_network_of_videos_gets_images_as_its_weights_do(name: str, tmp_path: Path, monkeypatch) -> None:
    published = torchvision.models.get_model(name, weights=None).state_dict()
    publish(torchvision.models.get_model_weights(name), tmp_path, monkeypatch, **published)
    backbone = build_backbone(BackboneSettings(name=name, weights="default"))
    size, mean, learned = VIDEO_NETWORKS[name]
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    assert (backbone.input_size, backbone.mean[0], backbone.window) == (size, mean, 16)
    assert (backbone.mean, backbone.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert backbone.provenance["trained_on"] == "Kinetics-400"
    assert learned in backbone.provenance["images"]
    assert "windows of 16 frames" in backbone.provenance["images"]
    assert build_backbone(BackboneSettings(name=name, weights="random")).provenance["trained_on"] == "nothing"


def test_a_window_of_a_network_of_videos_is_its_clip() -> None:
    """Images come first and channels second here, the other way round in torchvision."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        reference = torchvision.models.get_model("r3d_18", weights=None).eval()
    backbone = build_backbone(BackboneSettings(name="r3d_18", weights="random"), seed=3)
    windows = torch.randn(2, 16, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(reference.fc(infer(backbone, windows)), reference(windows.transpose(1, 2)))
