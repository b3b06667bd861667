import pytest
import torch
from torch import nn

from snn_action.evaluation.operations import count_model_operations, count_operations
from snn_action.models import build_model, find_spikes


def test_linear_counts_products_of_non_zero_numbers():
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[0, :2] = 0
    x = torch.tensor([[1.0, 0.0, 2.0, 3.0]])
    counted = count_operations(layer, x)
    assert counted.dense_macs == 12
    assert counted.effective_macs == 2 + 3 + 3  # row 0 keeps inputs 2 and 3, the others lose only the zero input


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 1, 1), (1, 1, 2)])
def test_convolution_equals_a_naive_count(stride, padding, groups):
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=stride, padding=padding, groups=groups)
    with torch.no_grad():
        layer.weight[layer.weight.abs() < 0.05] = 0
    x = torch.randn(2, 4, 7, 6).relu()
    padded = nn.functional.pad(x, [padding] * 4)
    naive = dense = 0
    out = layer(x)
    for n in range(2):
        for o in range(6):
            first = (o // (6 // groups)) * (4 // groups)
            for i in range(out.shape[2]):
                for j in range(out.shape[3]):
                    patch = padded[
                        n, first : first + 4 // groups, i * stride : i * stride + 3, j * stride : j * stride + 3
                    ]
                    naive += int(((patch != 0) & (layer.weight[o] != 0)).sum())
                    dense += patch.numel()
    counted = count_operations(layer, x)
    assert counted.effective_macs == naive
    assert counted.dense_macs == dense


def test_lstm_meets_its_closed_form():
    layer = nn.LSTM(5, 7, num_layers=2, batch_first=True)
    counted = count_operations(layer, torch.randn(1, 9, 5))
    first, second = 4 * (5 + 7) * 7, 4 * (7 + 7) * 7
    assert counted.dense_macs == 9 * (first + second)
    zero_state = 4 * 7 * 7 * 2  # at the first step the recurrent products see zeros
    assert counted.effective_macs == counted.dense_macs - zero_state


def test_training_mode_is_given_back():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    count_operations(model.train(), torch.randn(1, 2))
    assert model.training
    count_operations(model.eval(), torch.randn(1, 2))
    assert not model.training


def test_fused_layers_are_counted_by_their_products():
    q = torch.randn(2, 5, 8)
    attention, feed_forward = 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8, 2 * 5 * 8 * 16
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    counted = count_operations(layer, q)
    assert counted.dense_macs == 2 * (attention + feed_forward)
    assert 2 * (attention + feed_forward // 2) < counted.effective_macs < counted.dense_macs  # ReLU makes zeros
    assert count_operations(nn.GRU(8, 6, batch_first=True), q).dense_macs == 2 * 5 * 3 * (8 + 6) * 6
    assert torch.backends.mkldnn.enabled
    assert torch.backends.mha.get_fastpath_enabled()


def test_products_with_a_vector_are_counted():
    layer = nn.Linear(5, 7)
    counted = count_operations(layer, torch.tensor([1.0, 0.0, 2.0, 0.0, 3.0]))
    assert (counted.dense_macs, counted.effective_macs) == (35, 21)


@pytest.mark.parametrize("layer", [nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.Conv1d(4, 6, 3, dilation=2)])
def test_other_convolutions_with_nothing_zero_are_dense(layer):
    x = torch.rand(2, 4, 9) + 1 if isinstance(layer, nn.Conv1d) else torch.rand(2, 4, 9, 9) + 1
    counted = count_operations(layer, x)
    assert counted.effective_macs == counted.dense_macs > 0


def test_switches_come_back_when_the_network_fails():
    with pytest.raises(RuntimeError):
        count_operations(nn.Linear(3, 2).train(), torch.randn(1, 4))
    assert torch.backends.mkldnn.enabled


# Every model against a count by hand: D features, T steps, K classes, all weights and inputs other than zero.

D, T, K = 5, 9, 4


def count(settings, clip=None, spikes=None):
    """The model, its operations, and spikes of each population over the clip."""
    model = build_model(settings, D, K, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():  # weights that begin at zero would not be effective
            parameter.add_(1e-3)
    clip = torch.randn(1, T, D, generator=torch.Generator().manual_seed(1)) if clip is None else clip
    counted = count_model_operations(model, clip, spikes)
    with torch.no_grad():
        _, state = model.eval()(clip)
    return model, counted, [round(float(each)) for each in find_spikes(state)]


def check(counted, *, macs, zero=0, acs=0.0, spiking=0, neurons=0, states=0):
    """``macs`` synapses for numbers and ``spiking`` ones for spikes a step, ``zero`` MACs with a zero in all."""
    assert counted.dense_macs == T * (macs + spiking)
    assert counted.effective_macs == T * macs - zero
    assert counted.effective_acs == acs
    assert counted.neuron_updates == T * neurons
    assert counted.state_updates == T * states


def test_mean_pool():
    model = build_model({"type": "mean_pool"}, D, K, seed=0)
    model.weight.fill_(0.5)
    check(count_model_operations(model, torch.randn(1, T, D), None), macs=K * D, states=D)


def test_lstm():
    _, counted, _ = count({"type": "lstm", "layers": 2, "units": 7, "readout_units": 6})
    layers = 4 * 7 * (D + 7) + 4 * 7 * (7 + 7)
    hidden_at_first = 2 * 4 * 7 * 7
    assert counted.dense_macs == T * (layers + 7 * 6 + 6 * K)
    relu = T * 6 * K - (counted.effective_macs - (T * (layers + 7 * 6) - hidden_at_first))
    assert 0 <= relu <= T * 6 * K  # the ReLU layer's zeros, K products each
    assert relu % K == 0
    assert (counted.effective_acs, counted.neuron_updates, counted.state_updates) == (0, 0, T * 2 * 7)


FEEDBACK = {"hidden_to_memory": True, "memory_to_memory": True, "hidden_recurrence": True}
MEMORY = {"units": 7, "order": 3, "memory_d": 2, "theta": 6.0}


@pytest.mark.parametrize("trained", ["none", "matrices", "theta"])
def test_lmu(trained):
    _, counted, _ = count({"type": "lmu", **MEMORY, "input_to_hidden": True, "trained": trained})
    each = D * 2 + 2 * (3 * 3 + 3) + (2 * 3 + D) * 7 + 7 * K  # encoder, A m and B u, hidden, logits
    check(counted, macs=each, zero=2 * 3 * 3)  # the memory is empty at first


def test_lmu_that_feeds_back():
    _, counted, _ = count({"type": "lmu", **MEMORY, **FEEDBACK})
    memory, hidden = 2 * 3, 7
    each = D * 2 + 2 * (3 * 3 + 3) + memory * hidden + hidden * K
    fed = hidden * 2 + memory * 2 + hidden * hidden  # onto u, onto u, onto itself: zero at first
    check(counted, macs=each + fed, zero=2 * 3 * 3 + fed)


@pytest.mark.parametrize("input_to_hidden", [True, False])
def test_stacked_lmu(input_to_hidden):
    _, counted, _ = count({"type": "stacked_lmu", **MEMORY, "layers": 2, "input_to_hidden": input_to_hidden})
    block = 7 * 2 + 2 * (3 * 3 + 3) + (2 * 3 + 7 * input_to_hidden) * 7
    check(counted, macs=D * 7 + 2 * block + 7 * K, zero=2 * 2 * 3 * 3)


SPIKING = {"type": "spiking_lmu", **MEMORY, "units": 30, "max_rates": (300.0, 900.0), "ensemble_neurons": 6}


@pytest.mark.parametrize("more", [{}, {"input_to_hidden": True}, {"normalize": False}, {"tau_readout": 0.0005}])
def test_spiking_lmu(more):
    _, counted, (spikes,) = count({**SPIKING, **more})
    assert spikes > 0
    each = D * 2 + 2 * (3 * 3 + 3) + (2 * 3 + D * ("input_to_hidden" in more)) * 30
    check(counted, macs=each, zero=2 * 3 * 3, spiking=30 * K, acs=spikes * K, neurons=30, states=K)


def test_spiking_lmu_of_differences():
    _, counted, (spikes,) = count({**SPIKING, "differences": 2})
    each = D * 2 + 2 * (3 * 3 + 3) + 2 * 3 * 30
    # of the first two steps there is no difference: nothing enters, and up to the third step the memory is empty
    zero = 2 * (D * 2 + 2 * 3 + 2 * 3 * 30) + 3 * 2 * 3 * 3
    check(counted, macs=each, zero=zero, spiking=30 * K, acs=spikes * K, neurons=30, states=K)


@pytest.mark.parametrize("spiking_input", [True, False])
@pytest.mark.parametrize("spiking_memory", [True, False])
def test_spiking_lmu_with_spiking_parts(spiking_input, spiking_memory):
    model, counted, spikes = count({**SPIKING, "spiking_input": spiking_input, "spiking_memory": spiking_memory})
    counts = dict(zip([population.name for population in model.populations], spikes, strict=True))
    assert all(spikes)
    values = 2 * spiking_input + 2 * 3 * spiking_memory  # each an ensemble of 6 neurons
    each = D * 2 + 2 * (3 * 3 + 3) + 2 * 3 * 30 + 6 * values
    acs = counts["hidden"] * K + counts.get("input", 0) + counts.get("memory", 0)
    neurons = 30 + 6 * values
    assert counted.dense_macs == T * (each + 30 * K + 6 * values)
    assert T * each / 3 < counted.effective_macs <= T * each - 2 * 3 * 3  # silent ensembles decode to zero
    assert (counted.effective_acs, counted.neuron_updates) == (acs, T * neurons)
    assert counted.state_updates == T * (K + 2 * 3 * spiking_memory)


def test_spiking_lmu_that_sends_rates_has_no_spikes():
    settings = {**SPIKING, "neuron": {"type": "rectified_linear"}, "gradient": "rate", "spiking_input": True}
    model, counted, _ = count(settings)
    assert model.populations == ()
    each = D * 2 + 2 * (3 * 3 + 3) + 2 * 3 * 30 + 2 * 6 + 2 * 6 + 30 * K  # what neurons send is numbers
    assert counted.dense_macs == T * each
    assert (
        counted.dense_macs / 2 < counted.effective_macs < counted.dense_macs
    )  # neurons below their intercept send zero
    assert (counted.effective_acs, counted.neuron_updates) == (0, 0)


@pytest.mark.parametrize("tau", [None, 0.005])
def test_spiking_lmu_of_2020(tau):
    settings = {"type": "spiking_lmu_2020", "units": 7, "order": 2, "theta": 6.0, "ensemble_neurons": 20, "tau": tau}
    _, counted, (of_input, of_u, of_memory) = count(settings)
    encoders = 20 * (D + 1 + 2)
    each = encoders + 7 + 7 * 7 + 7 * K  # hidden units onto u and onto themselves, logits
    acs = of_input * (1 + 7) + of_u * 2 + of_memory * (1 + 2 + 7)
    synapses = 20 * (1 + 7 + 2 + 1 + 2 + 7)
    assert counted.dense_macs == T * (each + synapses)
    assert T * each / 2 < counted.effective_macs <= T * each - 7 - 7 * 7  # hidden units are zero at first
    assert counted.effective_acs == acs > 0
    assert counted.neuron_updates == T * 60
    assert counted.state_updates == (0 if tau is None else T * (1 + 2 + 7))


@pytest.mark.parametrize("tau", [None, 0.005])
@pytest.mark.parametrize(
    ("dimensions", "function", "decoded"), [(1, "identity", 1), (2, "identity", 2), (2, "product", 1)]
)
def test_ensemble_array(tau, dimensions, function, decoded):
    settings = {"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 8, "dimensions": dimensions}
    _, counted, (spikes,) = count({**settings, "function": function, "tau_input": tau})
    encoders, decoders = 6 * 8 * dimensions, 6 * 8 * decoded
    each = D * 6 * dimensions + encoders + 6 * decoded * K
    assert counted.dense_macs == T * (each + decoders)
    silent = T * each - counted.effective_macs  # ensembles that decode to zero
    assert 0 <= silent < T * 6 * decoded * K
    assert silent % K == 0
    assert counted.effective_acs == pytest.approx(spikes * decoded)
    assert spikes > 0
    assert (counted.neuron_updates, counted.state_updates) == (T * 6 * 8, 0 if tau is None else T * D)


def test_several_spikes_in_a_step_are_several_accumulates():
    neuron = {"type": "spiking_rectified_linear", "amplitude": 0.5}
    settings = {**SPIKING, "neuron": neuron, "max_rates": (9000.0, 9000.0), "intercepts": (-1.0, -1.0)}
    model, counted, (spikes,) = count(settings)
    assert spikes > 2 * T * 30
    assert counted.effective_acs == spikes * K
    assert model.populations[0].fan_out == K


def test_accumulates_are_those_of_the_mean_test_clip_where_it_is_given():
    settings = {"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 5}
    _, own, (spikes,) = count(settings)
    _, given, _ = count(settings, spikes={"populations": {"ensembles": {"per_clip": 11.0}}})
    assert (own.effective_acs, given.effective_acs) == (spikes, 11)
    assert own.dense_macs == given.dense_macs
    assert own.effective_macs == given.effective_macs


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "lmu", **MEMORY},
        {"type": "lmu", **MEMORY, **FEEDBACK},
        {"type": "stacked_lmu", **MEMORY},
        {**SPIKING, "spiking_input": True, "spiking_memory": True},
        {"type": "lstm", "layers": 2, "units": 7, "readout_units": 6},
    ],
)
def test_all_steps_at_once_are_counted_as_one_after_another(settings):
    model, counted, _ = count({**settings, "theta": 6.0} if "theta" in settings else settings)
    clip = torch.randn(1, T, D, generator=torch.Generator().manual_seed(1))
    at_once = count_operations(model, clip)
    spiking = sum(population.neurons * population.fan_out for population in model.populations)
    assert at_once.dense_macs == counted.dense_macs - T * spiking
    assert at_once.effective_macs == counted.effective_macs
    assert at_once.state_updates == counted.state_updates


def test_counting_leaves_the_model_and_its_output_alone():
    model = build_model({**SPIKING, "spiking_memory": True}, D, K, seed=0).train()
    clip = torch.randn(1, T, D)
    with torch.no_grad():
        before = model.eval()(clip)[0]
    count_model_operations(model.train(), clip, None)
    assert model.training
    with torch.no_grad():
        assert torch.equal(model.eval()(clip)[0], before)
