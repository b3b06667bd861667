import torch
from torch.nn import functional as F

from snn_action.models import build_model, lstm


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


def test_layers_run_in_float32_where_the_processor_has_none_in_half_precision(monkeypatch, caplog):
    """As on a processor without AVX-512; what follows the layers is in bfloat16 all the same."""

    def refuse(self, x, *rest):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive")
        assert x.dtype == torch.float32
        return forward(self, x, *rest)

    forward = torch.nn.LSTM.forward
    model = build_model({"type": "lstm", "layers": 2, "units": 5, "readout_units": 4}, in_features=3, num_classes=2)
    features = torch.randn(2, 4, 3)
    wanted, _ = model.eval()(features)
    monkeypatch.setattr(torch.nn.LSTM, "forward", refuse)
    caplog.set_level("INFO")
    lstm._can.cache_clear()
    try:
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16):
            logits, state = model(features)
            model.step(features[:, 0], state)
        drawn = torch.rand(1)
    finally:
        lstm._can.cache_clear()
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)  # finding out draws nothing
    assert logits.dtype == torch.bfloat16
    assert state.hidden.dtype == torch.float32
    torch.testing.assert_close(logits.float(), wanted, rtol=0.02, atol=0.02)
    assert caplog.text.count("LSTM layers are computed in float32") == 1
