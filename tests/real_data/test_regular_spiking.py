"""Regular spikes of a tanh curve against a trace of Nengo 3.2 (dt 0.001, zero initial state).

The trace's ``J`` is the rate after the curve, which Nengo's RegularSpiking integrates as it is (it reaches 399.98 and
below zero), so the current here is that whose tanh rate it is. The curve itself is tested apart from it.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.snn.neurons import regular_spiking


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "nengo_golden.npz")


def read(golden, name: str) -> Tensor:
    return torch.from_numpy(golden[name]).unsqueeze(0)


def test_trace(golden):
    neuron = regular_spiking.RegularSpikingSettings(rate_function="tanh").build()
    current = torch.atanh(read(golden, "regular_tanh/J") * 0.0025)
    state = neuron.initial_state(1, current.shape[2:], current.device, current.dtype)
    for t in range(current.shape[1]):
        spikes, state = neuron.step(current[:, t], state)
        torch.testing.assert_close(spikes, read(golden, "regular_tanh/out")[:, t], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(state.voltage, read(golden, "regular_tanh/voltage")[:, t], rtol=1e-5, atol=1e-5)


def test_float32_has_the_same_spike_counts(golden):
    neuron = regular_spiking.RegularSpikingSettings(rate_function="tanh").build()
    spikes, _ = neuron(torch.atanh(read(golden, "regular_tanh/J") * 0.0025).float())
    counts = neuron.count(read(golden, "regular_tanh/out")).sum(1)
    assert counts.max() > 2
    assert (neuron.count(spikes).sum(1) - counts).abs().max() <= 1.001
