"""Coming from Nengo and NengoDL: the same ensembles in both, with the same weights and the same spikes.

    Nengo, NengoDL                               snn-action
    nengo.networks.EnsembleArray(N, E)           EnsembleArray(E, N); nengo.Ensemble(N, D): dimensions=D, E = 1
    nengo.LIF(tau_rc, tau_ref)                   LIF(tau_rc=..., tau_ref=...); also AdaptiveLIF, Izhikevich, ...
    max_rates, intercepts, eval_points           max_rates, intercepts; the points are evenly spread
    nengo.Connection(ens, out, function=f)       function=f, solved for at the start
    synapse=nengo.Lowpass(0.005)                 Lowpass(0.005), a layer of its own
    nengo_dl.Layer(nn), TensorNode               any PyTorch layer in Sequential
    sim.train, rates in training                 gradient="rate"; "spike_aware" and "surrogate" train on spikes
    nengo_dl.configure_settings(stateful=False)  state=None: what begins anew is given no state; none is hidden
    initial_phase, Uniform(0, 1)                 initial_voltage="uniform"
    (batch, steps, size)                         (B, T, N)

pip install nengo, to run both.
"""

import importlib.util
import math

import torch

from snn_action.snn import LIF, EnsembleArray, Lowpass, Sequential

SECONDS, DT = 0.5, 0.001


def run_nengo(array, x):
    """Decoded and filtered values (T, E) of the same ensembles, of ``x`` (T, E)."""
    import nengo

    gain, bias = array.gain * array.current_unit, array.bias * array.current_unit
    with nengo.Network() as network:
        out = nengo.Node(size_in=x.shape[1])
        node = nengo.Node(lambda t: x[min(round(t / DT) - 1, len(x) - 1)].numpy())
        for k in range(x.shape[1]):
            ensemble = nengo.Ensemble(
                array.n_neurons, 1, neuron_type=nengo.LIF(initial_state={"voltage": nengo.dists.Choice([0])}),
                encoders=array.encoders[k].unsqueeze(1).numpy(), gain=gain[k].tolist(), bias=bias[k].tolist(),
            )  # fmt: skip
            nengo.Connection(node[k], ensemble, synapse=None)
            decoders = (array.decoders[k] / array.rate_unit).unsqueeze(0).numpy()
            nengo.Connection(ensemble.neurons, out[k], transform=decoders, synapse=nengo.Lowpass(0.02))
        probe = nengo.Probe(out)
    with nengo.Simulator(network, dt=DT, progress_bar=False) as simulator:
        simulator.run(SECONDS)
    return torch.tensor(simulator.data[probe]).float()


if __name__ == "__main__":
    array = EnsembleArray(2, 50, neuron=LIF(dt=DT), seed=0).requires_grad_(False)
    t = torch.arange(round(SECONDS / DT)) * DT
    x = torch.stack([torch.sin(2 * math.pi * t), t.mul(2).sub(1)], 1)  # (T, E)
    decoded, _ = Sequential(array, Lowpass(0.02, dt=DT))(x.unsqueeze(0))
    print(f"decoded values differ from the input by {(decoded[0] - x).abs().mean().item():.2f} on average")
    if importlib.util.find_spec("nengo"):
        theirs = run_nengo(array, x)
        # a probe shows a filtered value one step later
        print(f"Nengo's values differ from ours by {(theirs[1:] - decoded[0, :-1]).abs().max().item():.1e} at most")
