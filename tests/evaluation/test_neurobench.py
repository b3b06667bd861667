"""Operations against the NeuroBench package (extra ``neurobench``), for what it can see.

It hooks ``nn.Linear``, convolutions and recurrent cells. So it does not see what is no such layer: the Legendre memory,
weights of ensembles, products that are written as functions (the readout behind spikes, all of the 2020 model). It
counts by the values of inputs: where all are -1, 0 or 1 it takes them for spikes. Where it is wrong, a test says so.

    pip install -c constraints.txt -e '.[neurobench]'
"""

import pytest
import torch
from torch import Tensor, nn

from snn_action.evaluation.energy.count import count_network
from snn_action.evaluation.energy.layers import total
from snn_action.evaluation.energy.traffic import size_of_weights
from snn_action.evaluation.operations import count_model_operations, count_operations
from snn_action.models import build_model
from snn_action.snn.neurons.lif import LIF

pytest.importorskip("snntorch")
workload = pytest.importorskip("neurobench.metrics.workload")
models = pytest.importorskip("neurobench.models")

D, T, K = 5, 9, 4


class Stepped(nn.Module):
    """A temporal model over all steps of a clip, as NeuroBench calls a network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clip: Tensor) -> Tensor:
        state, every = None, []
        for features in clip.unbind(1):
            logits, state = self.model.step(features, state)
            every.append(logits)
        return torch.stack(every, 1)


def ask(network: nn.Module, clip: Tensor) -> dict[str, float]:
    """NeuroBench's synaptic operations of one clip."""
    wrapped = models.TorchModel(network)
    wrapped.register_hooks()
    metric = workload.SynapticOperations()
    with torch.no_grad():
        return metric(wrapped, wrapped(clip), (clip, None))


def make(settings: dict) -> tuple[nn.Module, Tensor]:
    model = build_model(settings, D, K, seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-3)
    return model, torch.randn(1, T, D, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("more", [{"activation": "relu"}, {"input_to_hidden": True}])
def test_lmu_but_for_the_memory(more):
    model, clip = make({"type": "lmu", "units": 7, "order": 3, "memory_d": 2, "theta": 6.0, **more})
    theirs, ours = ask(Stepped(model), clip), count_model_operations(model, clip, None)
    memory = 2 * (3 * 3 + 3)  # buffers, no layer: A m and B u
    assert ours.dense_macs == theirs["Dense"] + T * memory
    assert ours.effective_macs == theirs["Effective_MACs"] + T * memory - 2 * 3 * 3  # empty at first
    assert theirs["Effective_ACs"] == ours.effective_acs == 0


def test_stacked_lmu_but_for_the_memories():
    model, clip = make({"type": "stacked_lmu", "units": 7, "order": 3, "memory_d": 2, "layers": 2, "theta": 6.0})
    theirs, ours = ask(Stepped(model), clip), count_model_operations(model, clip, None)
    memories = 2 * 2 * (3 * 3 + 3)
    assert ours.dense_macs == theirs["Dense"] + T * memories
    assert ours.effective_macs == theirs["Effective_MACs"] + T * memories - 2 * 2 * 3 * 3


def test_spiking_lmu_up_to_its_spikes():
    settings = {"type": "spiking_lmu", "units": 30, "order": 3, "memory_d": 2, "theta": 6.0, "input_to_hidden": True}
    model, clip = make(settings)
    theirs, ours = ask(Stepped(model), clip), count_model_operations(model, clip, None)
    memory = 2 * (3 * 3 + 3)
    # the readout is a function here: its synapses are ours alone
    assert ours.dense_macs == theirs["Dense"] + T * (memory + 30 * K)
    assert ours.effective_macs == theirs["Effective_MACs"] + T * memory - 2 * 3 * 3


def test_ensemble_array_up_to_its_ensembles():
    model, clip = make({"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 8})
    theirs, ours = ask(Stepped(model), clip), count_model_operations(model, clip, None)
    # between the layers: a weight to each neuron, and one from each, which it does not see
    assert ours.dense_macs == theirs["Dense"] + T * (6 * 8 + 6 * 8)
    assert ours.effective_macs == theirs["Effective_MACs"] + T * 6 * 8


def test_an_lstm_stops_it():
    """``recurrent_layer_macs`` raises a string, which Python refuses: only cells are counted."""
    model, clip = make({"type": "lstm", "layers": 1, "units": 7, "readout_units": 6})
    with pytest.raises(TypeError, match="exceptions must derive from BaseException"):
        ask(Stepped(model), clip)


def test_an_lstm_cell_is_ours_and_the_gates():
    """It adds products of values with values in the gates, f c + i g and o tanh(c), which are no synapses."""
    cell = nn.LSTMCell(D, 7)
    x, h, c = torch.randn(1, D), torch.randn(1, 7), torch.randn(1, 7)
    wrapped = models.TorchModel(nn.ModuleList([cell]))
    wrapped.register_hooks()
    with torch.no_grad():
        cell(x, (h, c))
    theirs = workload.SynapticOperations()(wrapped, None, (x, None))
    gates = 3 * 7
    assert theirs["Effective_MACs"] == 4 * 7 * (D + 7) + gates

    class Fed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x, (h, c))[0]

    assert count_operations(Fed(), x).effective_macs == theirs["Effective_MACs"] - gates


class Spiking(nn.Module):
    """LIF neurons and the layer that reads their spikes, of this height, step by step."""

    def __init__(self, height: float) -> None:
        super().__init__()
        self.entry, self.readout, self.height = nn.Linear(D, 30), nn.Linear(30, K), height
        self.neuron = LIF()

    def forward(self, clip: Tensor) -> Tensor:
        state = self.neuron.initial_state(1, (30,), clip.device, clip.dtype)
        logits = []
        for now in clip.unbind(1):
            spikes, state = self.neuron.step(self.entry(now) * 100, state)
            logits.append(self.readout(self.neuron.count(spikes) * self.height))
        return torch.stack(logits, 1)


def test_binary_spikes_are_accumulates_as_ours_and_scaled_ones_are_not():
    torch.manual_seed(0)
    network, clip = Spiking(1.0), torch.randn(1, T, D)
    with torch.no_grad():
        network(clip)
        spikes, _ = network.neuron(network.entry(clip) * 100)
        fired = float(network.neuron.count(spikes).sum())
    assert fired > 0
    theirs = ask(network, clip)
    assert theirs["Effective_ACs"] == round(fired) * K  # one a spike and synapse, as we count them
    assert theirs["Effective_MACs"] == T * D * 30
    network.height = 0.01  # a spike of our readouts: the unit of rate is part of it
    scaled = ask(network, clip)
    silent_steps = T - int((spikes != 0).any(-1).sum())
    assert scaled["Effective_MACs"] == T * D * 30 + round(fired) * K  # the same spikes, taken for numbers
    assert scaled["Effective_ACs"] == 0
    assert silent_steps < T


def test_graded_spikes_are_multiplications_for_it():
    """Two spikes of a neuron in one step are the value 2, which is one MAC to it and two accumulates to us."""
    layer = nn.Linear(3, K)
    theirs = ask(nn.Sequential(layer), torch.tensor([[2.0, 0.0, 1.0]]))
    assert (theirs["Effective_MACs"], theirs["Effective_ACs"]) == (2 * K, 0)


def test_membranes_that_do_not_move_are_not_updates_for_it():
    """It counts membranes that changed; a chip that steps all neurons, and we, count every one."""
    import snntorch

    network = nn.ModuleList([snntorch.Leaky(beta=0.9, init_hidden=True)])
    wrapped = models.SNNTorchModel(network, custom_forward=True)
    wrapped.register_hooks()
    for current in (torch.ones(1, 4), torch.tensor([[1.0, 1.0, 0.0, 0.0]])):
        network[0](current)
    network[0].mem = torch.zeros(1, 4)
    network[0](torch.zeros(1, 4))  # nothing there and nothing comes: no change
    assert workload.MembraneUpdates()(wrapped, None, (torch.ones(1, 1), None)) == 4 + 4


def test_sparsity_of_connections_is_its_own_but_for_biases():
    """It counts weights of layers without their biases; we count both among a layer's parameters."""
    static = pytest.importorskip("neurobench.metrics.static")
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5, bias=False))
    with torch.no_grad():
        network[0].weight[:2] = 0
        network[3].weight[:, ::3] = 0
    layers = count_network(network, torch.randn(1, 3, 6, 6))
    wrapped = models.TorchModel(network)
    zeros = 1 - total(layers, "nonzero") / total(layers, "parameters")
    assert zeros == pytest.approx(static.ConnectionSparsity()(wrapped), abs=5e-4)  # it rounds to three decimals
    assert total(layers, "parameters") == static.ParameterCount()(wrapped)
    biased = nn.Sequential(nn.Linear(5, 3))
    with torch.no_grad():
        biased[0].weight[0] = 0
    (layer,) = count_network(biased, torch.randn(1, 5))
    assert static.ConnectionSparsity()(models.TorchModel(biased)) == pytest.approx(5 / 15, abs=5e-4)
    assert layer.connection_sparsity == pytest.approx(5 / 18)
    assert layer.parameters == static.ParameterCount()(models.TorchModel(biased)) == 18


def test_sparsity_of_activations_is_its_own_at_the_layer_that_reads_them():
    """It looks at the outputs of activation functions, we at the inputs of the layer that comes next."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(D, 30), nn.ReLU(), nn.Linear(30, K))
    x = torch.randn(1, D)
    wrapped = models.TorchModel(network)
    wrapped.register_hooks()
    metric = workload.ActivationSparsity()
    with torch.no_grad():
        theirs = metric(wrapped, wrapped(x), (x, None))
    layers = {layer.name: layer for layer in count_network(network, x)}
    assert 0 < layers["2"].activation_sparsity < 1
    assert layers["2"].activation_sparsity == pytest.approx(theirs)


def test_its_footprint_is_the_weights_that_are_stored_in_full():
    static = pytest.importorskip("neurobench.metrics.static")
    network = nn.Sequential(nn.Linear(D, 30), nn.ReLU(), nn.Linear(30, K))
    layers = count_network(network, torch.randn(1, D))
    assert size_of_weights(layers, 32) == static.Footprint()(models.TorchModel(network))
