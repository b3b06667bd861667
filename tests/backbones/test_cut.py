"""Backbones cut in two: both parts together do what the whole does; layers that do not exist or cannot be cut at."""

import copy
import io

import pytest
import torch

from snn_action.backbones import Backbone, build_backbone, infer
from snn_action.backbones.cut import FrozenPart, cut_backbone
from snn_action.core.compat import import_torchvision
from snn_action.core.errors import ConfigError

SIZE = 64


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_backbone({"name": "resnet18", "weights": "random"}, seed=0)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def rejoin(part: Backbone, images: torch.Tensor) -> torch.Tensor:
    assert isinstance(part, FrozenPart)
    assert part.encoder is not None
    with torch.inference_mode():
        return part.encoder.eval()(infer(part, images).unsqueeze(1), (), None)[0].squeeze(1)


@pytest.mark.parametrize("layer", ["bn1", "layer2", "layer4", "layer4.1", "layer3.1.conv1"])
def test_both_parts_together_are_the_whole(backbone, images, layer):
    part = cut_backbone(backbone, layer, SIZE)
    assert part.feature_dim == infer(part, images).shape[1]
    torch.testing.assert_close(rejoin(part, images), infer(backbone, images), atol=1e-5, rtol=1e-5)
    names = dict(part.encoder.network.named_parameters())
    assert names.keys() == {k for k, _ in backbone.network.named_parameters()} & names.keys()  # with the same names
    first = layer if layer == "bn1" else layer.removesuffix(".1").removesuffix(".1.conv1")
    assert any(name.startswith(first) for name in names)
    assert not any(name.startswith("conv1") for name in names)


def test_other_networks_are_cut_at_their_blocks(images):
    for name, layer in (("squeezenet1_1", "features.10"), ("mobilenet_v2", "features.17")):
        whole = build_backbone({"name": name, "weights": "random"}, seed=0)
        torch.testing.assert_close(
            rejoin(cut_backbone(whole, layer, SIZE), images), infer(whole, images), atol=1e-5, rtol=1e-5
        )


def test_all_hands_images_on_and_head_keeps_the_whole(backbone, images):
    everything = cut_backbone(backbone, "all", SIZE)
    assert everything.is_empty
    assert everything.feature_dim == 3 * SIZE * SIZE
    numbers = (images * torch.tensor(backbone.std).view(3, 1, 1) + torch.tensor(backbone.mean).view(3, 1, 1)) * 255
    with torch.inference_mode():
        found = everything.encoder.eval()(numbers.flatten(1).unsqueeze(1), (), None)[0].squeeze(1)
    torch.testing.assert_close(found, infer(backbone, images), atol=1e-4, rtol=1e-4)
    head = cut_backbone(backbone, "head", SIZE)
    assert head.encoder is None
    assert torch.equal(infer(head, images), infer(backbone, images))


def test_only_frozen_weights_decide_the_keys_of_the_store(backbone):
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        other.network.layer4[0].conv1.weight.add_(1)
    changed = Backbone(other.network, name=other.name, feature_dim=512, input_size=224)
    assert changed.digest != backbone.digest
    for layer in ("all", "layer4"):
        a, b = (cut_backbone(one, layer, SIZE) for one in (backbone, changed))
        assert a.fingerprint == b.fingerprint
        assert (a.digest, b.digest) == (backbone.digest, changed.digest)
    a, b = (cut_backbone(one, "head", SIZE) for one in (backbone, changed))
    assert a.fingerprint != b.fingerprint
    assert cut_backbone(backbone, "layer3", SIZE).fingerprint != cut_backbone(backbone, "layer4", SIZE).fingerprint


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("layer5", r"'layer5' is no layer of resnet18; did you mean 'layer\d'\? Known: all, head, bn1"),
        ("layer4.0.conv2", "inside a block of resnet18, past which other values run"),
        ("layer4.0.downsample", "inside a block"),
        ("conv1", "did you mean 'all'"),
        ("avgpool", "no layer of resnet18 from 'avgpool' on has weights"),
        ("nonsense", "is no layer of resnet18; .*Known: all, head"),
    ],
)
def test_layers_that_cannot_be_cut_at_are_named(backbone, layer, words):
    with pytest.raises(ConfigError, match=words):
        cut_backbone(backbone, layer, SIZE)


def test_a_spiking_cnn_is_trained_whole():
    spiking = build_backbone({"name": "spiking_cnn", "size": 16, "channels": [4], "pool": 2}, seed=0)
    with pytest.raises(ConfigError, match="keep a state from frame to frame"):
        cut_backbone(spiking, "stage1", 16)
    part = cut_backbone(spiking, "all", 24)
    assert part.window == 1
    assert part.encoder.shape == (3, 24, 24)
    assert spiking.window > 1


def test_windows_of_images_can_be_cut_too():
    video = build_backbone({"name": "r3d_18", "weights": "random"}, seed=0)
    windows = torch.randn(1, 16, 3, 32, 32)
    part = cut_backbone(video, "layer4", 32)
    torch.testing.assert_close(rejoin(part, windows), infer(video, windows), atol=1e-5, rtol=1e-4)


def test_a_block_that_takes_more_than_its_input_can_be_cut_at():
    """Blocks of timm's transformers have a mask as well, which nobody gives."""
    import_torchvision()
    pytest.importorskip("timm", reason="the extra timm is not installed")
    model = {"name": "timm", "model": "vit_tiny_patch16_224", "weights": "random"}
    backbone = build_backbone(model, seed=0)
    x = torch.randn(2, 3, 224, 224)
    part = cut_backbone(backbone, "blocks.11", 224)
    torch.testing.assert_close(rejoin(part, x), infer(backbone, x), atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"Known: all, head, .*blocks\.0.*norm, fc_norm, head_drop$"):
        cut_backbone(backbone, "block", 224)


def test_a_frozen_part_can_be_copied_and_saved_whole(backbone, images):
    part = cut_backbone(backbone, "layer4", SIZE)
    file = io.BytesIO()
    torch.save(part, file)
    file.seek(0)
    for other in (copy.deepcopy(part), torch.load(file, weights_only=False)):
        assert torch.equal(rejoin(other, images), rejoin(part, images))
        assert other.fingerprint == part.fingerprint
