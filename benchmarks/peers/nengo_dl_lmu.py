"""The original project's LMU in NengoDL: seconds of a training batch, as one line of JSON.

    python nengo_dl_lmu.py BATCH TURNS

800 units, order 2, 512 inputs, 25 steps, 14 outputs: ``nengo_dl_lmu_cell.py``. Adam on the cross-entropy of time steps.
"""

import json
import os
import statistics
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import nengo_dl
import numpy as np
import tensorflow as tf
from nengo_dl_clock import Clock
from nengo_dl_lmu_cell import build

STEPS, INPUTS, OUTPUTS, UNITS, ORDER, WARM_UP = 25, 512, 14, 800, 2, 2


def main() -> None:
    batch, turns = int(sys.argv[1]), int(sys.argv[2])
    net, source, probe = build(INPUTS, OUTPUTS, STEPS, UNITS, ORDER, spiking=False, seed=0)
    count = batch * (turns + WARM_UP)
    random = np.random.default_rng(0)
    x = random.normal(size=(count, STEPS, INPUTS)).astype(np.float32)
    y = random.integers(OUTPUTS, size=(count, 1, 1)).repeat(STEPS, 1)
    clock = Clock()
    with nengo_dl.Simulator(net, minibatch_size=batch, progress_bar=False) as simulator:
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        simulator.compile(tf.optimizers.Adam(1e-3), loss={probe: loss})
        simulator.fit({source: x}, {probe: y}, epochs=1, verbose=0, callbacks=[clock])
    print(json.dumps({"seconds": statistics.median(clock.seconds[WARM_UP:])}))


main()
