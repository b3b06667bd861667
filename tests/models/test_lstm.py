import torch
from torch.nn import functional as F

from snn_action.models import build_model


def test_the_decoder_of_the_original():
    """LSTM, ReLU layer, logits; by PyTorch's cell, one step and one layer at a time."""
    settings = {"type": "lstm", "units": 6, "layers": 3, "readout_units": 5}
    model = build_model(settings, in_features=4, num_classes=3, seed=0).double().eval()
    x = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hidden = cell = torch.zeros(3, 2, 6, dtype=torch.float64)
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    expected = []
    for now in x.unbind(1):
        states = []
        for layer in range(3):
            weights = [getattr(model.lstm, f"{part}_l{layer}") for part in parts]
            gates = F.linear(now, weights[0], weights[2]) + F.linear(hidden[layer], weights[1], weights[3])
            i, f, g, o = gates.chunk(4, 1)
            c = f.sigmoid() * cell[layer] + i.sigmoid() * g.tanh()
            now = o.sigmoid() * c.tanh()
            states.append((now, c))
        hidden, cell = (torch.stack(part) for part in zip(*states, strict=True))
        expected.append(model.readout(model.fc(now).relu()))
    logits, state = model(x)
    torch.testing.assert_close(logits, torch.stack(expected, 1))
    torch.testing.assert_close(state.hidden, hidden.transpose(0, 1))
    torch.testing.assert_close(state.cell, cell.transpose(0, 1))


def test_defaults_are_the_originals():
    model = build_model({"type": "lstm"}, in_features=8, num_classes=3)
    assert (model.lstm.num_layers, model.lstm.hidden_size, model.fc.out_features) == (3, 512, 256)
