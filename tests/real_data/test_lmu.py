"""The Legendre Memory Unit against keras-lmu 0.9: matrices, and layers with the same weights."""

import numpy as np
import pytest
import torch

from snn_action.models import build_model
from snn_action.snn.legendre import legendre_matrices


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "nengo_golden.npz")


@pytest.mark.parametrize(("order", "theta"), [(4, 4), (16, 20), (256, 784)])
def test_matrices(golden, order, theta):
    a, b = legendre_matrices(order, theta)
    expected = torch.from_numpy(golden[f"lmu_zoh_{order}_{theta}/A"]), golden[f"lmu_zoh_{order}_{theta}/B"][:, 0]
    torch.testing.assert_close(a, expected[0], rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(b, torch.from_numpy(expected[1]), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "cell", "feedback"), [("lmu_ff", "lmu.", False), ("lmu_rec", "lmu_1.lmu_cell_7.", True)]
)
def test_layer(golden, name, cell, feedback):
    settings = {
        "type": "lmu", "units": 5, "order": 6, "theta": 12.0, "memory_d": 2, "input_to_hidden": True,
        "hidden_recurrence": True, "hidden_to_memory": feedback, "memory_to_memory": feedback, "dropout": 0.0,
    }  # fmt: skip
    model = build_model(settings, in_features=3, num_classes=5).double()

    def weight(part):
        found = [key for key in golden.files if key.startswith(f"{name}/w/{cell}") and key.endswith(part)]
        assert len(found) == 1, found
        return torch.from_numpy(golden[found[0]].T.astype(np.float64))

    rnn = "simple_rnn_cell_1." if feedback else "simple_rnn_cell."
    into_hidden = weight(rnn + "kernel:0")  # (units, memory + input)
    into_memory = weight(cell + "kernel:0")  # (memory_d, input + hidden)
    with torch.no_grad():
        model.memory_kernel.weight.copy_(into_hidden[:, :12])
        model.input_kernel.weight.copy_(into_hidden[:, 12:])
        model.memory_kernel.bias.copy_(weight(rnn + "bias:0"))
        model.recurrent_kernel.weight.copy_(weight(rnn + "recurrent_kernel:0"))
        model.encoder.weight.copy_(into_memory[:, :3])
        if feedback:
            model.from_hidden.weight.copy_(into_memory[:, 3:])
            model.from_memory.weight.copy_(weight(cell + "recurrent_kernel:0"))
        model.readout.weight.copy_(torch.eye(5))
        model.readout.bias.zero_()
    x = torch.from_numpy(golden["lmu_ff/x"]).double()
    hidden, _ = model(x)
    torch.testing.assert_close(hidden, torch.from_numpy(golden[f"{name}/y"]).double(), rtol=1e-5, atol=1e-5)
