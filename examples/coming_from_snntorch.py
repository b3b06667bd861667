"""Coming from snnTorch: the same network in both, with the same weights and the same spikes.

snnTorch                                snn-action
steps first, (T, B, N)                  batch first, (B, T, N); the loop over time is inside
spk, mem = lif(cur, mem)                spikes, state = neuron.step(current, state)
mem = lif.init_leaky()                  state=None: what begins anew is given no state; none is hidden
snn.Leaky(beta)                         ParametricLIF(tau=dt / (1 - beta), learnable=False), currents / (1 - beta)
reset_mechanism="zero"                  reset="hard", with reset_delay=False
reset_mechanism="subtract"              reset="soft", with reset_delay=False, where voltages stay below 2
learn_beta=True                         learnable=True
spikes of 0 and 1                       unit="count"; else a spike is 1 / dt high
surrogate.atan()                        gradient="surrogate", surrogate="arctan"
utils.reset(net)                        not needed
"""

import importlib.util

import torch
from torch import nn

from snn_action.snn import ParametricLIF, Sequential

BETA, STEPS, DT = 0.9, 50, 0.001


def run_snntorch(first, last, x):
    """Spikes (T, B, N) of the network ``x -> first -> Leaky -> last``, and its output at each step."""
    if importlib.util.find_spec("snntorch"):
        import snntorch

        leaky = snntorch.Leaky(beta=BETA, reset_mechanism="zero", reset_delay=False)
    else:  # the same equations

        def leaky(current, mem):
            mem = BETA * mem + current
            spk = (mem > 1).float()
            return spk, (1 - spk) * mem

    spikes, mem = [], torch.zeros(())
    for step in x.unbind(1):
        spk, mem = leaky(first(step), mem)
        spikes.append(spk)
    return torch.stack(spikes), last(torch.stack(spikes))


if __name__ == "__main__":
    torch.manual_seed(0)
    first, last = nn.Linear(20, 50), nn.Linear(50, 5)
    x = torch.rand(8, STEPS, 20)
    spikes, outputs = run_snntorch(first, last, x)

    scaled = nn.Linear(20, 50)  # our membrane is v + (1 - beta) (J - v)
    scaled.load_state_dict({key: value / (1 - BETA) for key, value in first.state_dict().items()})
    net = Sequential(scaled, ParametricLIF(tau=DT / (1 - BETA), learnable=False, reset="hard", unit="count"), last)
    ours, _ = net[:2](x)
    differ = int((ours.transpose(0, 1) != spikes).sum())
    print(f"{int(spikes.sum())} spikes, {differ} differ")
    print(f"outputs differ by {(net(x)[0].transpose(0, 1) - outputs).abs().max().item():.1e}")
