"""The LIF family and rate curves against traces of Nengo 3.2 and NengoDL 3.6 (dt 0.001, zero initial state)."""

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.snn.neurons import adaptive_lif, lif, lif_rate, rectified_linear, soft_lif_rate

ALTERED = {"tau_rc": 0.05, "tau_ref": 0.004, "min_voltage": -1.0, "amplitude": 0.5}
SPIKING = [
    ("lif", lif.LIFSettings().build()),
    ("lif_const", lif.LIFSettings().build()),
    ("lif_alt", lif.LIFSettings(**ALTERED).build()),
    ("alif", adaptive_lif.AdaptiveLIFSettings().build()),
    ("alif_fast", adaptive_lif.AdaptiveLIFSettings(tau_n=0.1, inc_n=0.1).build()),
]
CURVES = [
    ("relu", rectified_linear.RectifiedLinearSettings().build()),
    ("lifrate", lif_rate.LIFRateSettings().build()),
    ("softlif", soft_lif_rate.SoftLIFRateSettings(sigma=0.1).build()),
]


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "nengo_golden.npz")


def read(golden, name: str) -> Tensor:
    return torch.from_numpy(golden[name]).unsqueeze(0)


@pytest.mark.parametrize(("name", "neuron"), SPIKING, ids=[name for name, _ in SPIKING])
def test_traces(golden, name, neuron):
    current = read(golden, f"{name}/J")
    state = neuron.initial_state(1, current.shape[2:], current.device, current.dtype)
    for t in range(current.shape[1]):
        output, state = neuron.step(current[:, t], state)
        torch.testing.assert_close(output, read(golden, f"{name}/out")[:, t], rtol=1e-5, atol=1e-9)
        for field, value in state._asdict().items():
            expected = read(golden, f"{name}/{field}")[:, t]
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-9, msg=f"{field} at step {t}")


@pytest.mark.parametrize(("name", "neuron"), SPIKING, ids=[name for name, _ in SPIKING])
def test_float32_has_the_same_spike_counts(golden, name, neuron):
    spikes, _ = neuron(read(golden, f"{name}/J").float())
    counts = neuron.count(read(golden, f"{name}/out")).sum(1)
    assert counts.max() > 5
    assert (neuron.count(spikes).sum(1) - counts).abs().max() <= 1.001


@pytest.mark.parametrize(("name", "neuron"), CURVES, ids=[name for name, _ in CURVES])
def test_rate_curves(golden, name, neuron):
    current = read(golden, f"{name}/J")
    torch.testing.assert_close(neuron.rate(current), read(golden, f"{name}/out"), rtol=1e-5, atol=1e-9)
    output, _ = neuron(current.unsqueeze(0))
    assert torch.equal(output[0], neuron.rate(current))


@pytest.mark.parametrize(
    "neuron", [SPIKING[0][1], SPIKING[3][1], CURVES[1][1], CURVES[2][1]], ids=["lif", "alif", "lifrate", "softlif"]
)
def test_gain_and_bias(golden, neuron):
    gain, bias = neuron.gain_bias(read(golden, "gainbias_lif/max_rates"), read(golden, "gainbias_lif/intercepts"))
    torch.testing.assert_close(gain, read(golden, "gainbias_lif/gain"), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(bias, read(golden, "gainbias_lif/bias"), rtol=1e-5, atol=1e-9)
