"""The original LMU of keras-lmu: seconds of a training batch, as one line of JSON.

    python keras_lmu_train.py BATCH TURNS {graph,xla}

800 units, order 2, 512 inputs, 25 steps, 14 outputs; Adam on the cross-entropy of time steps. ``xla``: Keras compiles
the training step with XLA; ``graph``: it does not.
"""

import json
import os
import statistics
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import keras_lmu
import numpy as np

STEPS, INPUTS, OUTPUTS, UNITS, ORDER, WARM_UP = 25, 512, 14, 800, 2, 2


class Clock(keras.callbacks.Callback):
    """Seconds of each batch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, *_, **__):
        self.begin = time.perf_counter()

    def on_train_batch_end(self, *_, logs):
        float(logs["loss"])  # waits for the batch, should it not have ended
        self.seconds.append(time.perf_counter() - self.begin)


def main() -> None:
    batch, turns, form = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    inputs = keras.Input((STEPS, INPUTS))
    cell = keras.layers.SimpleRNNCell(UNITS)
    connections = {"hidden_to_memory": True, "memory_to_memory": True, "input_to_hidden": True}
    layer = keras_lmu.LMU(1, ORDER, float(STEPS), cell, **connections, return_sequences=True)
    model = keras.Model(inputs, keras.layers.Dense(OUTPUTS)(layer(inputs)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss=loss, jit_compile=form == "xla")
    count = batch * (turns + WARM_UP)
    random = np.random.default_rng(0)
    x = random.normal(size=(count, STEPS, INPUTS)).astype(np.float32)
    y = random.integers(OUTPUTS, size=(count, 1, 1)).repeat(STEPS, 1)
    clock = Clock()
    model.fit(x, y, batch_size=batch, epochs=1, verbose=0, callbacks=[clock])
    result = {"seconds": statistics.median(clock.seconds[WARM_UP:]), "parameters": model.count_params()}
    print(json.dumps(result))


main()
