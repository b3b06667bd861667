"""The original project's LMU networks in NengoDL, after NengoDL's example "Legendre Memory Units" (version 3).

x is the input, u what enters the memory m (``order`` coefficients), h the hidden units (tanh):

    u_t = sum x_t + 0 h_{t-1} + 0 m_{t-1},  m_t = A m_{t-1} + B u_t,  h_t = tanh(0 x_t + 0 h_{t-1} + W m_t)

The zeros learn. In the spiking network x, u and m are ensembles of 100 LIF neurons each, Nengo's default, and every
weight, A and B included, is one matrix from spikes and learns; in the other one A and B are fixed.
"""

import nengo
import nengo_dl
import numpy as np
import tensorflow as tf
from nengo.utils.filter_design import cont2discrete

NEURONS = 100


def legendre(order: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """A (order, order) and B (order, 1) of one step, zero-order hold."""
    i = np.arange(order)
    a = (2 * i[:, None] + 1) * np.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1)) / theta
    b = ((2 * i + 1) * (-1.0) ** i / theta)[:, None]
    return cont2discrete((a, b, np.ones((1, order)), np.zeros((1, 1))), dt=1.0, method="zoh")[:2]


def build(inputs: int, outputs: int, steps: int, units: int, order: int, spiking: bool, seed: int, rates: bool = False):
    """Network, input node and probe of the logits at all steps; ``rates``: the neurons give rates in prediction too."""

    def part(size: int):
        return nengo.Ensemble(NEURONS, dimensions=size) if spiking else nengo.Node(size_in=size)

    a, b = legendre(order, steps)
    with nengo.Network(seed=seed) as net:
        nengo_dl.configure_settings(trainable=None, stateful=False)
        if rates:
            nengo_dl.configure_settings(learning_phase=True)
        net.config[nengo.Connection].synapse = None
        source = nengo.Node(np.zeros(inputs))
        x, u, m = part(inputs), part(1), part(order)
        h = nengo_dl.TensorNode(tf.nn.tanh, shape_in=(units,), pass_time=False)
        out = nengo.Node(size_in=outputs)
        fixed = [nengo.Connection(source, x)]
        nengo.Connection(x, u, transform=np.ones((1, inputs)))
        nengo.Connection(h, u, transform=np.zeros((1, units)), synapse=0)  # synapse 0: the value one step before
        nengo.Connection(m, u, transform=np.zeros((1, order)), synapse=0)
        memory = [nengo.Connection(m, m, transform=a, synapse=0), nengo.Connection(u, m, transform=b)]
        nengo.Connection(x, h, transform=np.zeros((units, inputs)))
        nengo.Connection(h, h, transform=np.zeros((units, units)), synapse=0)
        nengo.Connection(m, h, transform=nengo_dl.dists.Glorot(distribution="normal"))
        nengo.Connection(h, out, transform=nengo_dl.dists.Glorot())
        for connection in fixed if spiking else fixed + memory:
            net.config[connection].trainable = False
        probe = nengo.Probe(out)
    return net, source, probe
