"""Coming from SpikingJelly: the same network in both, with the same weights, the same spikes and the same gradient.

    SpikingJelly                             snn-action
    steps first, (T, B, N)                   batch first, (B, T, N)
    step_mode="m" / step_mode="s"            net(x) / net.step(x, state)
    functional.reset_net(net)                state=None: what begins anew is given no state; none is hidden
    neuron.LIFNode(tau=2.0)                  ParametricLIF(tau=2.0 * dt, learnable=False, unit="count")
    neuron.ParametricLIFNode(init_tau=2.0)   ParametricLIF(tau=2.0 * dt, unit="count")
    neuron.IFNode()                          IntegrateAndFire(unit="count"), currents / dt
    v_reset=0.0 / v_reset=None               reset="hard" / reset="soft"
    surrogate.ATan(alpha=2.0)                gradient="surrogate", surrogate="arctan"
    layer.Linear, layer.SeqToANNContainer    nn.Linear

python examples/coming_from_spikingjelly.py
"""

import importlib.util

import torch
from torch import nn

from snn_action.snn import SURROGATES, ParametricLIF, Sequential, attach

TAU, STEPS, DT = 2.0, 50, 0.001


def run_spikingjelly(first, last, x):
    """Output (T, B, 5) of the network ``x -> first -> LIFNode -> last``, and its spikes (T, B, N)."""
    if importlib.util.find_spec("spikingjelly"):
        from spikingjelly.activation_based import neuron, surrogate

        spikes = neuron.LIFNode(tau=TAU, surrogate_function=surrogate.ATan(), step_mode="m")(first(x.transpose(0, 1)))
        return last(spikes), spikes
    voltage, spikes = torch.zeros(()), []
    for step in first(x).unbind(1):  # the same equations
        voltage = voltage + (step - voltage) / TAU
        spikes.append(attach((voltage >= 1).float(), voltage - 1, SURROGATES["arctan"]))
        voltage = (1 - spikes[-1]) * voltage
    return last(torch.stack(spikes)), torch.stack(spikes)


if __name__ == "__main__":
    torch.manual_seed(0)
    first, last = nn.Linear(20, 50), nn.Linear(50, 5)
    with torch.no_grad():
        first.weight *= 5
    x = torch.rand(8, STEPS, 20)
    outputs, spikes = run_spikingjelly(first, last, x)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), [first.weight])

    neuron = ParametricLIF(tau=TAU * DT, learnable=False, reset="hard", unit="count")
    net = Sequential(first, neuron, last)
    ours, _ = net(x)
    (own_gradient,) = torch.autograd.grad(ours.square().sum(), [first.weight])
    differ = int((net[:2](x)[0].transpose(0, 1) != spikes).sum())
    print(f"{int(spikes.sum())} spikes, {differ} differ")
    print(f"outputs differ by {(ours.transpose(0, 1) - outputs).abs().max().item():.1e}")
    print(f"gradients differ by {((own_gradient - gradient).norm() / gradient.norm()).item():.1e} of their norm")
