import warnings

import pytest
import torch
from torch import Tensor, nn

from snn_action.backbones import Backbone, build_backbone, infer, infer_next
from snn_action.backbones.sigma_delta import IMAGES, SigmaDeltaNetwork
from snn_action.core.compat import torchvision
from snn_action.core.errors import ConfigError
from snn_action.evaluation.energy.count import count_network
from snn_action.evaluation.energy.layers import total

CODED = (
    *("resnet18", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5"),
    *("shufflenet_v2_x0_5", "densenet121", "efficientnet_b0", "regnet_y_400mf", "googlenet"),
)
REFUSED = {"vit_b_32": "its graph cannot be read|of the kind", "convnext_tiny": "parameter", "swin_t": "LayerNorm"}


def frames(n: int, side: int = 64, seed: int = 0) -> Tensor:
    """A bright square that moves over a still background."""
    still = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))
    images = still.repeat(n, 1, 1, 1)
    for t, image in enumerate(images):
        image[:, 10:20, 5 + 3 * t : 15 + 3 * t] = 2.0
    return images


def make(name: str) -> nn.Module:
    """The network with random weights, normalization among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network


@pytest.fixture
def small() -> nn.Module:
    """Two convolutions around a pool, a sum, a linear layer: small enough to be counted by hand."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3, padding=1)
            self.pool = nn.MaxPool2d(2)
            self.second = nn.Conv2d(4, 4, 1, bias=False)
            self.last = nn.Linear(4, 2)

        def forward(self, images: Tensor) -> Tensor:
            x = self.pool(torch.relu(self.first(images)))
            x = torch.relu(self.second(x) + x)
            features: Tensor = self.last(x.mean([2, 3]))
            return features

    torch.manual_seed(1)
    return Small().eval()


@pytest.mark.parametrize("name", CODED)
def test_without_thresholds_features_are_those_of_the_network(name: str) -> None:
    network, images = make(name), frames(3)
    coded = SigmaDeltaNetwork(network)
    with torch.inference_mode():
        plain, (features, _) = network(images), coded(images)
    assert float((features - plain).abs().max()) <= 1e-5 * float(plain.abs().max().clamp(min=1))


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_cannot_be_coded_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"backbone\.coding: this network cannot be coded.*{REFUSED[name]}"):
        SigmaDeltaNetwork(make(name))


def test_layers_work_with_what_was_sent_alone(small: nn.Module) -> None:
    """The network as its equations say, each layer adding up what the changes give, image by image."""
    thresholds = {"images": 0.3, "relu": 0.2, "mean": 0.05, "relu_1": 0.1}
    coded, images = SigmaDeltaNetwork(small, thresholds), frames(6, side=24)
    assert coded.names == ("images", "relu", "relu_1", "mean")
    with torch.inference_mode():
        features, state = coded(images)
        held = {name: torch.zeros(()) for name in thresholds}

        def send(name: str, value: Tensor) -> Tensor:
            change = value - held[name]
            quantized = thresholds[name] * torch.round(change / thresholds[name])
            sent = torch.where(change.abs() >= thresholds[name], quantized, 0.0)
            held[name] = held[name] + sent
            return sent

        sums: list[Tensor] = [torch.zeros(()) for _ in range(3)]
        pooled = torch.zeros(())
        found = []
        for image in images.split(1):
            sums[0] = sums[0] + small.first._conv_forward(send("images", image), small.first.weight, None)
            send("relu", torch.relu(sums[0] + small.first.bias.view(-1, 1, 1)))
            before, pooled = pooled, small.pool(held["relu"])
            sums[1] = sums[1] + small.second(pooled - before)
            send("relu_1", torch.relu(sums[1] + pooled))
            sums[2] = sums[2] + send("mean", held["relu_1"].mean([2, 3])) @ small.last.weight.T
            found.append(sums[2] + small.last.bias)
    torch.testing.assert_close(features, torch.cat(found), rtol=1e-4, atol=1e-4)
    for name, last in zip(coded.names, state, strict=True):
        assert len(last.held) == 1, name


def test_a_stream_is_one_pass(small: nn.Module) -> None:
    coded, images = SigmaDeltaNetwork(small, {"images": 0.2, "relu": 0.1}), frames(7, side=24)
    with torch.inference_mode():
        whole, _ = coded(images)
        state, parts = None, []
        for part in (images[:3], images[3:4], images[4:]):
            features, state = coded(part, state)
            parts.append(features)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-5)


def test_operations_are_those_of_what_was_sent(small: nn.Module) -> None:
    coded, images = SigmaDeltaNetwork(small, {"images": 0.5}), frames(1, side=24).repeat(5, 1, 1, 1)
    still = {layer.name: layer for layer in count_network(coded, images)}
    once = {layer.name: layer for layer in count_network(coded, images[:1])}
    assert still["images neurons"].neuron_updates == 5 * 3 * 24 * 24
    for name, layer in still.items():
        assert layer.steps == 5
        assert layer.spikes == once[name].spikes, name  # nothing moves after the first image
        assert layer.effective_macs == once[name].effective_macs, name
        assert layer.dense_macs == 5 * once[name].dense_macs, name
    sent = (images[0] / 0.5).round().where(images[0] >= 0.5, 0.0)
    assert still["images neurons"].spikes == int(sent.count_nonzero())
    ones = nn.functional.conv2d((sent != 0).float().unsqueeze(0), torch.ones(4, 3, 3, 3), padding=1)
    assert still["graph_module.first"].effective_macs == int(ones.sum())


def test_higher_thresholds_cost_less(small: nn.Module) -> None:
    costs = []
    for level in (0.0, 0.1, 0.5):
        coded = SigmaDeltaNetwork(small)
        coded = SigmaDeltaNetwork(small, dict.fromkeys(coded.names, level))
        costs.append(total(count_network(coded, frames(6, side=24)), "effective_macs"))
    assert costs == sorted(costs, reverse=True)
    assert costs[2] < 0.7 * costs[0]


def test_unknown_values_and_wrong_thresholds_are_refused(small: nn.Module) -> None:
    with pytest.raises(ConfigError, match="sends no value 'relu_7'; it has images"):
        SigmaDeltaNetwork(small, {"relu_7": 0.1})
    with pytest.raises(ConfigError, match="threshold must be"):
        SigmaDeltaNetwork(small, {IMAGES: -1.0})


def test_a_coded_backbone_goes_on_from_image_to_image() -> None:
    plain = build_backbone({"name": "tiny"})
    backbone = build_backbone({"name": "tiny", "coding": "sigma_delta"})
    assert backbone.fingerprint != plain.fingerprint
    assert backbone.digest == plain.digest
    images = frames(4, side=plain.input_size)
    whole = infer(backbone, images)
    torch.testing.assert_close(whole, infer(plain, images), rtol=1e-4, atol=1e-5)
    backbone.code(dict.fromkeys(backbone.coded.names, 0.3))
    whole = infer(backbone, images)
    first, state = infer_next(backbone, images[:2])
    second, _ = infer_next(backbone, images[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    assert not torch.allclose(infer(backbone, images[2:]), second)


def test_windows_cannot_be_coded() -> None:
    backbone = Backbone(nn.Flatten(), name="own", feature_dim=3, input_size=1, window=2)
    with pytest.raises(ConfigError, match="own sees windows of images"):
        backbone.code()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"coding": "sigma_delta", "engine": "onnx"}, "runs with engine 'torch'"),
        ({"coding": "sigma_delta", "precision": "bf16"}, "precision '32'"),
        ({"thresholds": "a.json"}, "they need coding: 'sigma_delta'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build_backbone({"name": "tiny", **settings})
