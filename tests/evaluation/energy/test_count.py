"""Layers of models and networks: names, sizes, inputs, states; their sums are tested in ``test_operations``."""

import pytest
import torch
from torch import nn

from snn_action.evaluation.energy.count import CARRIED, count_head, count_heads, count_network, mark_rounded
from snn_action.evaluation.energy.layers import Layer, total
from snn_action.evaluation.operations import Operations
from snn_action.models import build_model

D, T, K = 5, 9, 4
MEMORY = {"units": 7, "order": 3, "memory_d": 2, "theta": 6.0}
ENSEMBLES = {"n_ensembles": 6, "n_neurons": 8}


def count(settings: dict, spikes=None) -> dict[str, Layer]:
    model = build_model(settings, D, K, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-3)
    clip = torch.randn(1, T, D, generator=torch.Generator().manual_seed(1))
    return {layer.name: layer for layer in count_head(model, clip, spikes)}


def test_layers_of_an_lmu():
    layers = count({"type": "lmu", **MEMORY, "activation": "relu"})
    assert list(layers) == ["encoder", "memory.A", "memory.B", "memory_kernel", "readout", CARRIED]
    encoder, kernel, readout = layers["encoder"], layers["memory_kernel"], layers["readout"]
    assert (encoder.parameters, encoder.fan_in, encoder.fan_out, encoder.outputs) == (D * 2, D, 2, 2)
    assert (kernel.parameters, kernel.fan_in, kernel.fan_out, kernel.outputs) == (6 * 7 + 7, 6, 7, 7)
    assert (readout.parameters, readout.values, readout.steps) == (7 * K + K, 7 * T, T)
    assert 0 < readout.activation_sparsity < 1  # ReLU
    assert readout.effective_macs == readout.active * K
    assert encoder.activation_sparsity == encoder.connection_sparsity == 0
    a, b = layers["memory.A"], layers["memory.B"]
    assert (a.parameters, a.dense_macs, a.fan_in) == (9, T * 2 * 9, 3)  # two memories share the matrix
    assert (b.parameters, b.dense_macs, b.fan_in) == (3, T * 2 * 3, 1)
    assert layers[CARRIED].states == 2 * 3  # of its hidden units nothing depends
    fed = count({"type": "lmu", **MEMORY, "hidden_recurrence": True})
    assert fed[CARRIED].states == 2 * 3 + 7
    assert {layer.part for layer in layers.values()} == {"head"}


def test_layers_of_a_spiking_lmu():
    spikes = {"populations": {"hidden": {"per_clip": 10.0}}}
    layers = count({"type": "spiking_lmu", **MEMORY}, spikes)
    neurons, behind = layers["hidden neurons"], layers["hidden spikes"]
    assert (neurons.kind, neurons.outputs, neurons.neuron_updates, neurons.spikes) == ("neurons", 7, 7 * T, 10)
    assert neurons.states == 7  # an integrate-and-fire neuron has its voltage
    assert (behind.parameters, behind.fan_in, behind.outputs, behind.by_spikes) == (7 * K + K, 7, K, True)
    assert (behind.effective_acs, behind.effective_macs, behind.dense_macs) == (10 * K, 0, T * 7 * K)
    assert behind.activation_sparsity is None
    assert layers[CARRIED].states == 2 * 3 + K  # memory and leaky logits
    assert layers[CARRIED].state_updates == T * K
    lif = count({"type": "spiking_lmu", **MEMORY, "neuron": {"type": "lif"}}, spikes)
    assert lif["hidden neurons"].states == 2 * 7  # voltage and refractory time


@pytest.mark.parametrize(
    ("settings", "decoded"),
    [
        ({"type": "spiking_lmu", **MEMORY}, set()),
        ({"type": "spiking_lmu", **MEMORY, "spiking_input": True}, {"memory.A", "memory.B"}),
        ({"type": "spiking_lmu", **MEMORY, "spiking_memory": True}, {"A", "memory_kernel"}),
        (
            {"type": "spiking_lmu", **MEMORY, "spiking_input": True, "spiking_memory": True},
            {"A", "memory.B", "memory_kernel"},
        ),
        ({"type": "ensemble_array", **ENSEMBLES}, {"readout"}),
        ({"type": "ensemble_array", **ENSEMBLES, "neuron": {"type": "lif_rate"}, "gradient": "rate"}, set()),
        ({"type": "lmu", **MEMORY}, set()),
    ],
)
def test_what_takes_in_decoded_spikes(settings, decoded):
    assert {name for name, layer in count(settings).items() if layer.by_decoded} == decoded


def test_spiking_parts_have_their_own_neurons():
    settings = {"type": "spiking_lmu", **MEMORY, "spiking_input": True, "spiking_memory": True, "ensemble_neurons": 6}
    layers = count(settings)
    for name, values in (("input", 2), ("memory", 6)):
        assert layers[f"{name} neurons"].outputs == 6 * values
        assert layers[f"{name} spikes"].outputs == values
        assert layers[f"{name} spikes"].fan_in == 6
    assert layers["hidden neurons"].outputs == 7


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "mean_pool"},
        {"type": "lstm", "layers": 2, "units": 7, "readout_units": 6},
        {"type": "stacked_lmu", **MEMORY, "layers": 2},
        {"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 8, "dimensions": 2, "tau_input": 0.005},
        {"type": "spiking_lmu_2020", "units": 7, "order": 2, "theta": 6.0, "ensemble_neurons": 20},
        {"type": "late_fusion", "streams": 1, "model": {"type": "spiking_lmu", **MEMORY}},
    ],
)
def test_every_weight_belongs_to_a_layer(settings):
    model = build_model(settings, D, K, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-3)
    layers = count_head(model, torch.randn(1, T, D), None)
    synapses = [layer for layer in layers if layer.kind == "synapses"]
    assert all(layer.parameters for layer in synapses)
    for layer in synapses:
        assert layer.dense_macs == pytest.approx(layer.values * layer.fan_out)
        assert layer.active <= layer.values or layer.by_spikes
    spiking = sum(layer.neuron_updates > 0 for layer in layers)
    assert spiking == len(model.populations)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"type": "mean_pool"}, K * D + K),
        ({"type": "lstm", "layers": 2, "units": 7, "readout_units": 6}, (
            4 * 7 * (D + 7 + 2) + 4 * 7 * (7 + 7 + 2) + 7 * 6 + 6 + 6 * K + K
        )),
        ({"type": "spiking_lmu", **MEMORY}, D * 2 + 9 + 3 + 6 * 7 + 7 + 7 * K + K),
        ({"type": "spiking_lmu", **MEMORY, "spiking_input": True, "ensemble_neurons": 6}, (
            D * 2 + 9 + 3 + 6 * 7 + 7 + 7 * K + K + 2 * 6 * 3  # an ensemble's weights, biases and decoders
        )),
        ({"type": "ensemble_array", "n_ensembles": 40, "n_neurons": 5}, D * 40 + 40 * 5 * 3 + 40 * K + K),
        ({"type": "spiking_lmu_2020", "units": 7, "order": 2, "theta": 6.0, "ensemble_neurons": 20}, (
            20 * (D + 1 + 2) + 3 * 20 + 20 * (1 + 7) + 20 * 2 + 20 * (1 + 2 + 7) + 7 + 7 * 7 + 7 * K
        )),
    ],
)  # fmt: skip
def test_biases_are_counted_beside_weights(settings, expected):
    """By hand; none of these has another parameter."""
    layers = count_head(build_model(settings, D, K, seed=0), torch.randn(1, T, D), None)
    assert total(layers, "parameters") == expected


def test_attention_has_its_bias():
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    layers = {layer.name: layer for layer in count_network(attention, torch.randn(1, 5, 8))}
    assert layers["self_attn.in_proj_weight"].parameters == 3 * 8 * 8 + 3 * 8


@pytest.mark.parametrize(("dimensions", "neuron"), [(1, "lif"), (3, "lif"), (1, "rectified_linear")])
def test_each_neuron_of_an_ensemble_is_a_target_of_its_own_value_alone(dimensions, neuron):
    settings = {"type": "ensemble_array", "n_ensembles": 40, "n_neurons": 5, "dimensions": dimensions}
    gradient = {"gradient": "rate"} if neuron == "rectified_linear" else {}
    layers = count({**settings, "neuron": {"type": neuron}, **gradient})
    encoders = layers["encoders"]
    assert (encoders.fan_in, encoders.fan_out, encoders.outputs) == (dimensions, 5, 200)
    assert encoders.dense_macs == T * 200 * dimensions
    decoders = layers["ensembles spikes" if neuron == "lif" else "decoders"]
    assert (decoders.fan_in, decoders.fan_out, decoders.outputs) == (5, dimensions, 40 * dimensions)


@pytest.mark.parametrize(
    ("more", "held"),
    [
        ({}, 0),
        ({"input_threshold": 0.5}, D + 2),  # what was sent of the input, and what its receivers made of it
        ({"memory_threshold": 0.1}, 6 + 7),
        ({"input_threshold": 0.5, "memory_threshold": 0.1}, D + 2 + 6 + 7),
    ],
)
def test_each_value_that_a_sigma_delta_head_keeps_is_a_state_once(more, held):
    layers = count({"type": "lmu", **MEMORY, "activation": "relu", **more})
    assert sum(layer.states for layer in layers.values()) == 2 * 3 + held
    spiking = count({"type": "spiking_lmu", **MEMORY, **more})
    assert sum(layer.states for layer in spiking.values()) == 2 * 3 + K + 7 + held  # also leaky logits and voltages


def test_layers_of_a_network_and_its_sums():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 5))
    images = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    convolution, linear = count_network(network, images, images, times=3)
    assert (convolution.name, convolution.part, convolution.steps) == ("0", "backbone", 6)
    assert (convolution.parameters, convolution.fan_in, convolution.outputs) == (4 * 27 + 4, 27, 4 * 16)
    assert convolution.dense_macs == 6 * 4 * 16 * 27
    assert linear.dense_macs == 6 * 64 * 5
    assert 0 < linear.activation_sparsity < 1
    sums = Operations.of([convolution, linear])
    assert sums.dense_macs == total([convolution, linear], "dense_macs") == 6 * (4 * 16 * 27 + 64 * 5)


def test_products_of_activations_have_no_weights():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)

    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    layers = {layer.name: layer for layer in count_network(Attend(), torch.randn(1, 5, 8))}
    products = layers["products of activations"]
    assert (products.parameters, products.dense_macs) == (0, 2 * 5 * 5 * 8)
    assert products.connection_sparsity is None


def test_a_layer_comes_back_from_its_file():
    layer = count({"type": "lmu", **MEMORY})["readout"]
    assert Layer.from_dict({**layer.to_dict(), "of a later version": 1}) == layer


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "magic"}, {"steps": "9"}, {"parameters": -1}, {"name": 3}, {"values": float("nan")}, {"active": True},
        {"nonzero": 33}, {"active": 63.5}, {"weight_bits": 1.5}, {"weight_bits": 1000}, {"by_spikes": 3},
        {"outputs": 2.5}, {"steps": 0},
    ],
)  # fmt: skip
def test_a_layer_of_a_broken_file_is_refused(change):
    layer = count({"type": "lmu", **MEMORY})["readout"]
    with pytest.raises((TypeError, ValueError), match=next(iter(change))):
        Layer.from_dict({**layer.to_dict(), **change})


def test_weights_of_two_streams_are_two_layers():
    """Of ensembles they are computed at each step, so that no name is theirs."""
    part = {"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 8}
    model = build_model({"type": "late_fusion", "streams": 2, "model": part}, 2 * D, K, seed=0)
    layers = {layer.name: layer for layer in count_head(model, torch.randn(1, T, 2 * D), None)}
    one, other = layers["parts.0.encoders"], layers["parts.1.encoders"]
    assert one.parameters == other.parameters == 6 * 8 + 6 * 8  # weights and biases
    assert one.steps == other.steps == T


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"type": "lmu", **MEMORY}, {"encoder", "memory_kernel", "readout"}),
        ({"type": "spiking_lmu", **MEMORY}, {"encoder", "memory_kernel", "hidden spikes"}),
        (
            {"type": "spiking_lmu", **MEMORY, "spiking_input": True, "spiking_memory": True},
            {"encoder", "memory_kernel", "hidden spikes"},
        ),
        ({"type": "late_fusion", "streams": 1, "model": {"type": "spiking_lmu", **MEMORY}}, {
            "parts.0.encoder", "parts.0.memory_kernel", "stream 1: hidden spikes",
        }),
        ({"type": "lstm", "units": 3, "layers": 1, "readout_units": 4}, {
            "lstm.weight_ih_l0", "lstm.weight_hh_l0", "fc", "readout",
        }),
    ],
)  # fmt: skip
def test_rounded_are_the_layers_of_matrices_and_what_spikes_meet_in_them(settings, expected):
    model = build_model(settings, D, K, seed=0)
    layers = count_head(model, torch.ones(1, T, D), None)
    assert mark_rounded(layers, model, None) == layers
    marked = mark_rounded(layers, model, 3)
    assert {layer.name for layer in marked if layer.weight_bits} == expected
    assert {layer.weight_bits for layer in marked} == {0, 3}
    assert [Layer.from_dict(layer.to_dict()) for layer in marked] == marked


def test_weights_are_counted_as_so_many_bits_leave_them():
    model = build_model({"type": "lmu", **MEMORY}, D, K, seed=0)
    with torch.no_grad():
        model.readout.weight.fill_(1e-3)  # of the largest in each row: zero with 8 bits, not with 16
        model.readout.weight[:, 0] = 1.0
    clip = torch.randn(1, T, D, generator=torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    heads = count_heads(model, clip, None, trained=None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert heads[32] == tuple(count_head(model, clip, None))
    readouts = {bits: next(layer for layer in head if layer.name == "readout") for bits, head in heads.items()}
    assert {bits: layer.nonzero for bits, layer in readouts.items()} == {4: K, 8: K, 16: 7 * K, 32: 7 * K}
    assert readouts[8].effective_macs < readouts[16].effective_macs == readouts[32].effective_macs


def test_a_model_that_was_trained_with_few_bits_or_has_no_matrices_has_one_count():
    clip = torch.ones(1, T, D)
    model = build_model({"type": "lmu", **MEMORY}, D, K, seed=0)
    trained = count_heads(model, clip, None, trained=8)
    assert all(head == tuple(mark_rounded(count_head(model, clip, None), model, 8)) for head in trained.values())
    plain = count_heads(build_model({"type": "mean_pool"}, D, K), clip, None, trained=None)
    assert len(set(map(id, plain.values()))) == 1
