"""The spiking CNN: against a plain loop over steps, neurons and blocks; folded normalization; counts of its spikes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.backbones import Backbone, build_backbone
from snn_action.backbones.cut import cut_backbone
from snn_action.backbones.settings import SpikingCNNSettings
from snn_action.backbones.spiking_cnn import OfWindows, SpikingCNN
from snn_action.backbones.spiking_layers import NormalizedConvolution
from snn_action.core import registry
from snn_action.core.errors import ConfigError
from snn_action.evaluation.energy.count import count_head, count_network
from snn_action.evaluation.energy.counter import Counter
from snn_action.evaluation.energy.layers import Layer, total
from snn_action.models import find_spikes
from snn_action.models.end_to_end import EndToEnd
from snn_action.snn.counting import listen

SIZE, BATCH, STEPS = 16, 3, 6
LENGTHS = torch.tensor([6, 2, 4])
SMALL: dict[str, Any] = {"name": "spiking_cnn", "size": SIZE, "channels": [4, 6], "pool": 2}


def make(dtype: torch.dtype = torch.float64, **extra: Any) -> SpikingCNN:
    """With statistics of batch normalization that differ from channel to channel."""
    settings: SpikingCNNSettings = registry.parse("backbone", {**SMALL, **extra})
    torch.manual_seed(0)
    network = SpikingCNN(settings)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, std=0.2)
    return network.to(dtype).eval()


def clips(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (BATCH, STEPS, 3 * SIZE * SIZE), generator=generator)
    return frames.to(dtype), torch.arange(STEPS) < LENGTHS.unsqueeze(1)


def run(network: SpikingCNN, frames: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Any]:
    return network(frames, network.initial_state(len(frames), frames.device, frames.dtype), mask)


def reference(network: SpikingCNN, frames: Tensor) -> Tensor:
    """Features of one clip (T, D), step by step, each layer by PyTorch's own modules and the paper's PLIF equations."""
    voltage: dict[str, Tensor] = {}

    def fire(name: str, x: Tensor) -> Tensor:
        layer: Any = network.layers[name]
        z = layer.part.norm(layer.part.convolution(x[:, :, :: layer.part.step, :: layer.part.step]))
        before = voltage.get(name, torch.zeros_like(z))
        k = layer.neuron.w.sigmoid()
        now = before + k * (z * layer.gain + layer.bias - before)
        spikes = (now >= 1).to(now)
        voltage[name] = now * (1 - spikes)
        return spikes

    found = []
    for frame in frames:
        y = fire("stem", (frame.view(1, 3, SIZE, SIZE) / 255 - 0.5) / 0.5)
        y = fire("stage1_block1_2", fire("stage1_block1_1", y)) + y
        y = fire("stage2_block1_2", fire("stage2_block1_1", y)) + fire("stage2_block1_shortcut", y)
        found.append(F.avg_pool2d(y, SIZE // 4 // 2).flatten())
    return torch.stack(found)


def test_it_is_the_plain_loop():
    network = make(max_rate=500.0)
    frames, _ = clips()
    features, state = run(network, frames)
    assert features.shape == (BATCH, STEPS, 6 * 4)
    wanted = torch.stack([reference(network, clip) for clip in frames])
    torch.testing.assert_close(features, wanted, atol=1e-12, rtol=0)
    assert 0.02 < float(features.detach().mean()) < 0.9
    assert len(find_spikes(state)) == len(network.populations) == 6


@pytest.mark.parametrize("neuron", [name for name, _ in registry.items("neuron")])
def test_any_neuron_serves_and_stepping_equals_forward(neuron):
    settings = registry.parse("neuron", {"type": neuron})
    rate = None if neuron == "sliding_psn" else 150.0  # it has no rate that a gain could be solved for
    network = make(neuron=settings, gradient=settings.load().gradients[-1], max_rate=rate)
    frames, mask = clips()
    features, final = run(network, frames)
    state = network.initial_state(BATCH, frames.device, frames.dtype)
    for t in range(STEPS):
        step, state = network(frames[:, t : t + 1], state, None)
        torch.testing.assert_close(step[:, 0], features[:, t])
    padded, state = run(network, frames.where(mask.unsqueeze(-1), 0), mask)
    assert not padded[~mask].any()
    torch.testing.assert_close(padded[mask], features[mask])
    for counted, whole in zip(find_spikes(state), find_spikes(final), strict=True):
        torch.testing.assert_close(counted[0], whole[0])  # the first clip is not padded


def test_normalization_is_folded_in_evaluation_mode():
    torch.manual_seed(0)
    part = NormalizedConvolution(3, 5, 3, 2).train()
    for _ in range(20):
        part(torch.randn(8, 3, 9, 9) * 2 + 1)
    part.eval()
    x = torch.randn(4, 3, 9, 9)
    torch.testing.assert_close(part(x), part.norm(part.convolution(x)), atol=1e-5, rtol=1e-5)
    weight, bias = part.fold()
    torch.testing.assert_close(part(x), F.conv2d(x, weight, bias, 2, 1))


def test_parts_of_clips_give_what_the_whole_gives_and_equal_gradients():
    network = make()
    frames, mask = clips()
    wanted, state = run(network, frames, mask)
    for together in (1, 3, 4, 100):
        network.frames_together = together
        found, after = run(network, frames, mask)
        torch.testing.assert_close(found, wanted)
        for a, b in zip(find_spikes(after), find_spikes(state), strict=True):
            assert torch.equal(a, b)
    gradients = []
    for recompute, together in ((False, 1), (True, 4), (True, 9)):
        network.train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        network.recompute, network.frames_together = recompute, together
        network.zero_grad()
        (run(network, frames, mask)[0] * torch.linspace(-1, 1, 24)).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0])


def test_padded_frames_are_not_in_the_statistics_and_recomputing_does_not_count_twice():
    frames, mask = clips()
    found = []
    for padding, recompute in ((0.0, False), (200.0, False), (0.0, True)):
        network = make().train()
        network.recompute = recompute
        features, _ = run(network, frames.where(mask.unsqueeze(-1), padding), mask)
        features.sum().backward()
        found.append([buffer.clone() for name, buffer in network.named_buffers() if "running" in name or "num" in name])
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    torch.testing.assert_close(found[2], found[0])


def test_fused_kernels_give_the_gradients_of_plain_operations():
    frames, mask = clips()
    slopes = []
    for dtype in (torch.float64, torch.float32):
        network = make(dtype).train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        features, _ = run(network, frames.to(dtype), mask)
        (features * torch.linspace(-1, 1, 24, dtype=dtype)).sum().backward()
        slopes.append(torch.cat([parameter.grad.double().flatten() for parameter in network.parameters()]))
    assert (slopes[1] - slopes[0]).norm() < 0.02 * slopes[0].norm()  # a spike may fall one step later in float32


def test_populations_count_the_synapses_of_all_convolutions_that_their_spikes_reach():
    network = make()
    sides = {"stem": 8, "stage1_block1_1": 8, "stage1_block1_2": 8, "stage2_block1_1": 4}
    by_name = {population.name: population for population in network.populations}
    assert all(by_name[name].neurons == by_name[name].neurons // side**2 * side**2 for name, side in sides.items())
    stem = by_name["stem"]
    assert stem.neurons == 4 * 8 * 8
    first, second, shortcut = 4 * 64 * 4 * 9, 6 * 16 * 4 * 9, 6 * 16 * 4  # synapses of the layers that it reaches
    assert stem.fan_out == round((first + second + shortcut) / stem.neurons)
    assert by_name["stage2_block1_2"].fan_out == 1  # averaged over fields
    weights = sum(layer.part.convolution.weight.numel() for layer in network.layers.values())
    stem_weights = network.layers["stem"].part.convolution.weight.numel()
    assert sum(synapses.weights for synapses in network.synapses) == weights - stem_weights


def count_by_hand(network: SpikingCNN, frames: Tensor) -> tuple[dict[str, int], dict[str, int], float]:
    """Dense MACs by convolution, neurons by layer, and products of spikes with weights that lie in the image."""
    dense, neurons, products = {}, {}, [0.0]

    def see(name: str, layer: Any) -> Any:
        def hook(_: Any, given: tuple[Tensor, ...], made: Tensor) -> None:
            dense[name], neurons[name] = made[0].numel() * layer.weight[0].numel(), made[0].numel()
            ones = F.conv2d(given[0].abs(), torch.ones_like(layer.weight), None, layer.stride, layer.padding)
            products[0] += 0.0 if name == "stem" else float(ones.sum())

        return hook

    hooks = []
    for name, module in network.layers.items():
        layer: Any = module.part.convolution
        hooks.append(layer.register_forward_hook(see(name, layer)))
    with listen(Counter(network)), torch.no_grad():  # else the folded weights are used
        run(network, frames)
    for hook in hooks:
        hook.remove()
    return dense, neurons, products[0]


def check_by_hand(layers: list[Layer], network: SpikingCNN, frames: Tensor, steps: int) -> None:
    dense, neurons, products = count_by_hand(network, frames)
    with torch.no_grad():
        _, state = run(network, frames)
    spikes = [float(count) for count in find_spikes(state)]
    fields = sum(shape.channels * shape.side**2 for name, shape in network._shapes.items() if name == "stage2_block1_2")
    met = [layer for layer in layers if layer.by_spikes]
    stem = next(layer for layer in layers if "stem.part.convolution" in layer.name)
    assert stem.dense_macs == steps * dense.pop("stem")
    assert total(met, "dense_macs") == steps * (sum(dense.values()) + fields)  # each synapse once
    assert total(layers, "neuron_updates") == steps * sum(neurons.values())
    assert total(layers, "spikes") == sum(spikes) > 0
    pooled = sum(layer.effective_acs for layer in met if layer.name.endswith("features"))
    assert pooled == spikes[-1] + spikes[-2]  # the last block's layer and its shortcut
    assert products < total(met, "effective_acs") - pooled < 1.3 * products  # beside the image too
    assert total(met, "parameters") == sum(
        layer.part.convolution.weight.numel() for name, layer in network.layers.items() if name != "stem"
    )


@pytest.mark.parametrize("size", [16, 17])
def test_a_frozen_one_is_counted_with_all_its_populations(size):
    backbone: Backbone = build_backbone({**SMALL, "window": 3}, seed=2)
    images = torch.randn(1, 3, 3, size, size, generator=torch.Generator().manual_seed(0))
    wanted = backbone(images)
    layers = count_network(backbone, images)
    assert torch.equal(backbone(images), wanted)
    encoder: Any = backbone.network.encoder
    pixels = (images * encoder.std + encoder.mean) * 255
    check_by_hand(layers, encoder, pixels.flatten(2), 3)
    assert {layer.part for layer in layers} == {"backbone"}
    assert {layer.steps for layer in layers} == {3}
    doubled = count_network(backbone, images, images, times=5)
    assert total(doubled, "effective_acs") == pytest.approx(10 * total(layers, "effective_acs"))
    assert total(doubled, "states") == total(layers, "states") == sum(one.neurons for one in encoder.populations)
    cut: Any = cut_backbone(backbone, "head", size)
    assert count_network(cut, images) == layers


@pytest.mark.parametrize("size", [16, 17])
def test_one_that_learns_is_counted_with_each_synapse_once(size):
    network = make(torch.float32, size=size)
    model = EndToEnd(3 * size**2, 3, encoder=network, model={"type": "lmu", "units": 4, "order": 2, "memory_d": 3})
    frames = torch.rand(1, 4, 3 * size**2, generator=torch.Generator().manual_seed(0)) * 255
    layers = count_head(model, frames, None)
    check_by_hand(layers, network, frames, 4)


def test_one_of_neurons_that_send_rates_is_counted_as_numbers():
    network = make(torch.float32, neuron={"type": "rectified_linear"}, gradient="rate")
    layers = count_network(OfWindows(network), torch.randn(1, 2, 3, SIZE, SIZE))
    dense = count_by_hand(network, torch.rand(1, 2, 3 * SIZE**2) * 255)[0]
    assert total(layers, "dense_macs") == 2 * sum(dense.values())
    assert total(layers, "effective_acs") == 0


def test_a_frozen_one_sees_the_last_images_from_rest():
    backbone: Backbone = build_backbone({**SMALL, "window": 3}, seed=2)
    images = torch.randn(2, 3, 3, SIZE, SIZE)
    assert torch.equal(backbone(images)[:1], backbone(images[:1]))
    encoder: Any = backbone.network.encoder
    state = encoder.initial_state(2, images.device, images.dtype)
    wanted = encoder.see(images.flatten(0, 1), state, None)[0].mean(1)
    assert torch.equal(backbone(images), wanted)
    large = torch.randn(2, 3, 3, 24, 24)
    assert backbone(large).shape == (2, backbone.feature_dim)


def test_shipped_weights_are_learned_and_depend_on_no_seed():
    """Also where the size of images, the fields and how gradients pass are others than in the default settings."""
    shipped = {"name": "spiking_cnn", "weights": "default", "size": 48, "pool": 2, "gradient": "surrogate"}
    one, other = (build_backbone(shipped, seed=seed) for seed in (1, 2))
    assert one.provenance["trained_on"].startswith("clips of synthetic figures that no synthetic dataset holds")
    assert not one.network.encoder.is_drawn
    assert one.provenance == other.provenance
    drawn = build_backbone({**shipped, "weights": "random"}, seed=1)
    images = torch.rand(1, 8, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(one(images), other(images))
    assert not torch.equal(one(images), drawn(images))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"weights": "default"}, r"learned with the default of backbone.channels, \(16, 32, 64\): leave it out"),
        ({"weights": "default", "channels": [16, 32, 64], "neuron": {"type": "plif", "tau": 0.003}}, "backbone.neuron"),
        ({"pool": 16}, "too small"),
        ({"max_rate": 5000.0}, r"backbone.max_rate: .*at most|backbone.max_rate"),
        ({"gradient": "rate"}, "no gradient mode"),
        ({"weights": "nothing.pth"}, "no such file"),
    ],
)
def test_what_does_not_fit_is_said(extra, words):
    with pytest.raises(ConfigError, match=words):
        build_backbone({**SMALL, **extra}, seed=0)
