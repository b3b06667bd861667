"""The Izhikevich neuron against traces of Nengo 3.2 (dt 0.001, voltage and recovery zero before the first step)."""

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.snn.neurons import izhikevich

TRACES = [
    ("izh", {}),
    ("izh_fs", {"tau_recovery": 0.1}),
    ("izh_ch", {"reset_voltage": -50.0, "reset_recovery": 2.0}),
]


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "nengo_golden.npz")


def read(golden, name: str) -> Tensor:
    return torch.from_numpy(golden[name]).unsqueeze(0)


def zero(current: Tensor) -> izhikevich.IzhikevichState:
    return izhikevich.IzhikevichState(torch.zeros_like(current[:, 0]), torch.zeros_like(current[:, 0]))


@pytest.mark.parametrize(("name", "options"), TRACES)
def test_traces(golden, name, options):
    neuron = izhikevich.IzhikevichSettings(**options).build()
    current = read(golden, f"{name}/J")
    state = zero(current)
    for t in range(current.shape[1]):
        spikes, state = neuron.step(current[:, t], state)
        torch.testing.assert_close(spikes, read(golden, f"{name}/out")[:, t], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(state.voltage, read(golden, f"{name}/voltage")[:, t], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(state.recovery, read(golden, f"{name}/recovery")[:, t], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), TRACES)
def test_float32_has_the_same_spike_counts(golden, name, options):
    neuron = izhikevich.IzhikevichSettings(**options).build()
    current = read(golden, f"{name}/J").float()
    spikes, _ = neuron(current, zero(current))
    counts = neuron.count(read(golden, f"{name}/out")).sum(1)
    assert counts.max() > 2
    assert (neuron.count(spikes).sum(1) - counts).abs().max() <= 1.001
