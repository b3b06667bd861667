"""The original project's ensemble array in NengoDL: clips a second and peak memory, as one line of JSON.

    python nengo_dl_array.py ENSEMBLES BATCH {train,infer}

25 steps, 512 inputs, 14 outputs, ensembles of 50 SpikingRectifiedLinear neurons; encoders with gains, biases and
decoders trainable, as NengoDL has them by default.
"""

import json
import os
import resource
import statistics
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import nengo
import nengo_dl
import numpy as np
import tensorflow as tf
from nengo_dl_clock import Clock

STEPS, INPUTS, OUTPUTS, NEURONS, REPETITIONS = 25, 512, 14, 50, 5


def main() -> None:
    ensembles, batch, what = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    begin = time.perf_counter()
    with nengo.Network(seed=0) as net:
        nengo_dl.configure_settings(stateful=False)
        net.config[nengo.Ensemble].neuron_type = nengo.SpikingRectifiedLinear()
        net.config[nengo.Connection].synapse = None
        source = nengo.Node(np.zeros(INPUTS))
        array = nengo.networks.EnsembleArray(NEURONS, ensembles)
        weights = np.random.default_rng(0).normal(size=(ensembles, INPUTS)) / np.sqrt(INPUTS)
        nengo.Connection(source, array.input, transform=weights, synapse=0.005)
        target = nengo.Node(size_in=OUTPUTS)
        nengo.Connection(array.output, target, transform=np.zeros((OUTPUTS, ensembles)))
        probe = nengo.Probe(target)
    count = batch * (REPETITIONS + 2)
    x = np.random.default_rng(1).normal(size=(count, STEPS, INPUTS)).astype(np.float32)
    y = np.random.default_rng(0).integers(OUTPUTS, size=(count, STEPS, 1))
    with nengo_dl.Simulator(net, minibatch_size=batch, progress_bar=False) as simulator:
        built = time.perf_counter() - begin
        clock = Clock()
        if what == "train":
            loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            simulator.compile(tf.optimizers.Adam(1e-3), loss={probe: loss})
            simulator.fit({source: x}, {probe: y}, epochs=1, verbose=0, callbacks=[clock])
        else:
            simulator.predict({source: x}, callbacks=[clock])
    seconds = statistics.median(clock.seconds[2:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"clips_per_second": batch / seconds, "peak_gib": peak, "build_seconds": built}))


main()
