"""The original project's spiking LMU, trained by NengoDL on a file of features: accuracies as one line of JSON.

    python nengo_dl_spiking_lmu.py FEATURES.npz EPOCHS SEED

800 units, order 2, theta the number of steps; Adam at 0.001 on the cross-entropy averaged over time steps, batches of
64. Features are centred and divided by one deviation, those of the training clips. ``rates`` is the share of right time
steps of test clips with neurons as in training, ``spikes`` with neurons that spike.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import nengo_dl
import numpy as np
import tensorflow as tf
from nengo_dl_lmu_cell import build

BATCH, UNITS, ORDER = 64, 800, 2


def whole_batches(x: np.ndarray) -> np.ndarray:
    """``x`` with its last clip again and again, until batches are full."""
    return np.concatenate([x, np.repeat(x[-1:], -len(x) % BATCH, axis=0)])


def main() -> None:
    path, epochs, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with np.load(path) as file:
        features, labels = file["features"].astype(np.float32), file["labels"].astype(np.int64)
        names, split = file["class_names"], file["split"]
    train, test = split == "train", split == "test"
    centred = features - features[train].mean((0, 1))
    x = centred / np.sqrt(centred[train].var((0, 1)).mean())
    steps, inputs = x.shape[1:]
    order = np.random.default_rng(seed).permutation(np.flatnonzero(train))
    order = order[: len(order) // BATCH * BATCH]
    shape = {"inputs": inputs, "outputs": len(names), "steps": steps, "units": UNITS, "order": ORDER}
    y = np.repeat(labels[:, None, None], steps, 1)
    tf.random.set_seed(seed)
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        parameters = str(Path(folder) / "parameters")
        for kind in ("spikes", "rates"):
            net, source, probe = build(**shape, spiking=True, seed=seed, rates=kind == "rates")
            with nengo_dl.Simulator(net, minibatch_size=BATCH, seed=seed, progress_bar=False) as simulator:
                if kind == "spikes":
                    begin = time.perf_counter()
                    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
                    simulator.compile(tf.optimizers.Adam(1e-3), loss={probe: loss})
                    result["parameters"] = sum(int(np.prod(w.shape)) for w in simulator.keras_model.trainable_weights)
                    fitted = simulator.fit({source: x[order]}, {probe: y[order]}, epochs=epochs, verbose=0)
                    result["train_loss"] = fitted.history["loss"][-1]
                    result["train_seconds"] = time.perf_counter() - begin
                    simulator.save_params(parameters)
                else:
                    simulator.load_params(parameters)
                logits = simulator.predict({source: whole_batches(x[test])})[probe][: test.sum()]
                result[kind] = float((logits.argmax(-1) == labels[test][:, None]).mean())
    print(json.dumps(result))


main()
