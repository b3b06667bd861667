import pytest
import torch
from torch import nn

from snn_action.evaluation.operations import count_model_operations, count_operations
from snn_action.models import build_model


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


def test_a_model_that_spikes_has_accumulates_and_its_synapses_are_dense():
    model = build_model({"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 5}, 8, 3, seed=0)
    clip = torch.randn(1, 4, 8)
    counted = count_model_operations(model, clip, {"populations": {"ensembles": {"per_clip": 11.0}}})
    assert counted.dense_macs == 4 * (8 * 6 + 6 * 5 + 6 * 3)
    assert counted.effective_acs == 11
    assert counted.effective_macs <= 4 * (8 * 6 + 6 * 3)


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


def test_an_lmu_meets_its_closed_form():
    settings = {"type": "lmu", "units": 7, "order": 3, "memory_d": 2, "theta": 6.0, "input_to_hidden": True}
    model = build_model(settings, 5, 4, seed=0)
    clip = torch.randn(1, 9, 5)
    each = 5 * 2 + 2 * 3 * 3 + (6 + 5) * 7 + 7 * 4  # encoder, memory, hidden, logits
    counted = count_model_operations(model, clip, None)
    assert counted.dense_macs == 9 * each
    transition = int((model.memory.A != 0).sum())
    assert counted.effective_macs == 9 * each - 2 * 9 - (9 - 1) * 2 * (9 - transition)  # the memory begins at zero
    assert counted.effective_acs == 0


def test_switches_come_back_when_the_network_fails():
    with pytest.raises(RuntimeError):
        count_operations(nn.Linear(3, 2).train(), torch.randn(1, 4))
    assert torch.backends.mkldnn.enabled
