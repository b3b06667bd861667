"""Neurons and synapses against traces of Nengo 3.2 (dt 0.001, zero initial state)."""

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.snn.neurons import spiking_rectified_linear as srl
from snn_action.snn.neurons.synapses import Alpha, LinearFilter, Lowpass


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "nengo_golden.npz")


def read(golden, name: str) -> Tensor:
    return torch.from_numpy(golden[name]).unsqueeze(0)


@pytest.mark.parametrize(("name", "amplitude"), [("srl", 1.0), ("srl_amp_multi", 0.01)])
def test_spiking_rectified_linear_traces(golden, name, amplitude):
    neuron = srl.SpikingRectifiedLinearSettings(amplitude=amplitude).build()
    current = read(golden, f"{name}/J")
    spikes, final = neuron(current)
    torch.testing.assert_close(spikes, read(golden, f"{name}/out"), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(final.voltage, read(golden, f"{name}/voltage")[:, -1], rtol=1e-5, atol=1e-5)
    state = neuron.initial_state(1, current.shape[2:], current.device, current.dtype)
    for t in range(current.shape[1]):
        _, state = neuron.step(current[:, t], state)
        torch.testing.assert_close(state.voltage, read(golden, f"{name}/voltage")[:, t], rtol=1e-5, atol=1e-5)
    if amplitude < 1:
        assert neuron.count(spikes).max() > 1.5  # the trace has steps with several spikes


@pytest.mark.parametrize(("name", "amplitude"), [("srl", 1.0), ("srl_amp_multi", 0.01)])
def test_float32_has_the_same_spike_counts(golden, name, amplitude):
    neuron = srl.SpikingRectifiedLinearSettings(amplitude=amplitude).build()
    spikes, _ = neuron(read(golden, f"{name}/J").float())
    counts = neuron.count(read(golden, f"{name}/out")).sum(1)
    assert (neuron.count(spikes).sum(1) - counts).abs().max() <= 1.001


def test_rate_curve(golden):
    neuron = srl.SpikingRectifiedLinearSettings().build()
    torch.testing.assert_close(neuron.rate(read(golden, "relu/J")), read(golden, "relu/out"), rtol=1e-5, atol=1e-5)


def test_gain_and_bias(golden):
    neuron = srl.SpikingRectifiedLinearSettings().build()
    gain, bias = neuron.gain_bias(read(golden, "gainbias_srl/max_rates"), read(golden, "gainbias_srl/intercepts"))
    torch.testing.assert_close(gain, read(golden, "gainbias_srl/gain"), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bias, read(golden, "gainbias_srl/bias"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "synapse"),
    [
        ("lowpass5ms", Lowpass(0.005)),
        ("lowpass100ms", Lowpass(0.1)),
        ("lowpass100ms", LinearFilter([1], [0.1, 1])),
        ("alpha10ms", Alpha(0.01)),
        ("alpha10ms", LinearFilter([1], [1e-4, 2e-2, 1])),
    ],
)
def test_synapses(golden, name, synapse):
    filtered, _ = synapse(read(golden, f"{name}/in"))
    torch.testing.assert_close(filtered, read(golden, f"{name}/out"), rtol=1e-5, atol=1e-9)
