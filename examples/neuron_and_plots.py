"""A spiking neuron: its voltage, its spikes and its rate curve.

python examples/neuron_and_plots.py [--figure neuron.png]
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch

from snn_action.snn import LIF

STEPS = 200


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--figure", type=Path, default=Path(tempfile.mkdtemp()) / "neuron.png")
    figure_file = parser.parse_args().figure

    neuron = LIF(tau_rc=0.02, tau_ref=0.002, unit="count")
    current = torch.full((1, 1), 1.5)  # (batch, neurons); the threshold is 1
    state = neuron.initial_state(1, (1,), current.device, current.dtype)
    voltages, spikes = [], []
    for _ in range(STEPS):  # one step is dt = 1 ms
        spike, state = neuron.step(current, state)
        voltages.append(state.voltage.item())
        spikes.append(spike.item())
    rate = neuron.rate(current).item()
    print(f"{sum(spikes):.0f} spikes in {STEPS} ms; the rate is {rate:.1f} spikes a second")

    currents = torch.linspace(-1, 5, 61)
    counts, _ = neuron(currents.expand(1, 1000, -1))  # (batch, time, neurons): one second of 61 neurons
    error = (counts.sum((0, 1)) - neuron.rate(currents)).abs().max().item()
    print(f"counted spikes and the rate curve differ by at most {error:.2f} spikes a second")

    figure, axes = plt.subplots(3, 1, figsize=(6, 7), layout="constrained")
    axes[0].plot(voltages)
    axes[0].set(ylabel="voltage", xlabel="ms", title=f"current {current.item()}")
    axes[1].eventplot([t for t, spike in enumerate(spikes) if spike])
    axes[1].set(ylabel="spikes", xlabel="ms", yticks=[], xlim=axes[0].get_xlim())
    axes[2].plot(currents, neuron.rate(currents), label="rate curve")
    axes[2].plot(currents, counts.sum((0, 1)), ".", label="counted in one second")
    axes[2].set(ylabel="spikes a second", xlabel="current")
    axes[2].legend()
    figure.savefig(figure_file)
    print(f"figure: {figure_file}")
