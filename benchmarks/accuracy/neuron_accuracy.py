"""Accuracy of the ensemble array by neuron and gradient mode, by its size, and the seconds of the original's preset.

    python benchmarks/accuracy/neuron_accuracy.py FEATURES.npz [--seeds 5]

Settings are those of ``configs/ucf101_features_ensemble_array.json``, chosen by three-fold validation on groups of the
training videos; nothing but what a row names differs from them. The test videos are opened once, at each run's end.
"""

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import FEATURES, ROOT, SET, headline, make_table, run_seeds, show, write_section
from benchmarks.lib.timing import ask
from snn_action.config import load_config

CONFIG = "ucf101_features_ensemble_array.json"
MODES = ("spike_aware", "surrogate", "rate")
LARGE = [(1000, "spiking_rectified_linear", mode) for mode in MODES]
SMALL = [
    *((200, neuron, mode) for neuron in ("spiking_rectified_linear", "lif", "adaptive_lif") for mode in MODES),
    (200, "izhikevich", "surrogate"),
    (200, "plif", "surrogate"),
    (200, "if", "spike_aware"),
]
SWEEP = [(ensembles, neurons) for ensembles in (50, 200, 800) for neurons in (10, 50)]
SWEEP_SEEDS = 3


def run(overrides: list[str], seeds: int) -> list[str]:
    """Video accuracy, that of the baseline, spikes a neuron and step, seconds an epoch."""
    runs = run_seeds(CONFIG, overrides, seeds)
    spikes = [result["spikes"]["per_neuron_per_step"] for result in runs]
    epochs = load_config(ROOT / "configs" / CONFIG).training.epochs
    seconds = [result["seconds"]["train"] / epochs for result in runs]
    return [
        show([headline(result) for result in runs]),
        show([headline(result, of="baseline") for result in runs]),
        f"{sum(spikes) / len(spikes):.3f}",
        f"{sum(seconds) / len(seconds):.2f}",
    ]


def run_preset(common: list[str]) -> None:
    """One epoch of 10,000 ensembles of 50 neurons, in a process of its own; prints seconds and peak as JSON."""
    preset = ["model.n_ensembles=10000", "training.epochs=1", "model.gradient=rate"]
    (result,) = run_seeds(CONFIG, [*common, *preset], 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": result["seconds"]["train"], "peak_gib": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--preset", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        common = [f"dataset.path={arguments.features.resolve()}", f"save_dir={folder}", "evaluation.test_curve=false"]
        if arguments.preset:
            run_preset(common)
            return
        rows = []
        for ensembles, neuron, mode in (*LARGE, *SMALL):
            options = [f"model.n_ensembles={ensembles}", f"model.neuron.type={neuron}", f"model.gradient={mode}"]
            if neuron == "izhikevich":  # it has one start, and no rate above about 300
                options = [
                    *options[:1],
                    'model.neuron={"type": "izhikevich"}',
                    options[2],
                    "model.max_rates=[100.0, 200.0]",
                ]
            rows.append([str(ensembles), neuron, mode, *run([*common, *options], arguments.seeds)])
        sweep = []
        for ensembles, neurons in SWEEP:
            options = [f"model.n_ensembles={ensembles}", f"model.n_neurons={neurons}"]
            sweep.append([str(ensembles), str(neurons), *run([*common, *options], SWEEP_SEEDS)])
    preset = ask([sys.executable, __file__, str(arguments.features), "--preset"])
    if preset is None:
        raise SystemExit("the preset's process failed")
    header = ["video %", "baseline video %", "spikes / neuron / step", "s / epoch"]
    write_section(
        f"Ensemble array by neuron and gradient mode: {SET}",
        f"{FEATURES} Model: `ensemble_array` with ensembles of 50 neurons. A cell is the mean ± the standard "
        f"deviation over {arguments.seeds} seeds. *S / epoch*: seconds of an epoch of training; threads: "
        f"{torch.get_num_threads()}. One epoch with the original's 10,000 ensembles of 50 neurons took "
        f"{preset['seconds']:.0f} s and {preset['peak_gib']:.2f} GiB.",
        make_table(["ensembles", "neuron", "gradient", *header], rows),
    )
    write_section(
        f"Ensemble array by size: {SET}",
        "The same data, settings and columns as in the table by neuron and gradient mode, for several numbers of "
        "ensembles and of neurons in each. SpikingRectifiedLinear neurons in mode `spike_aware`; mean ± standard "
        f"deviation over {SWEEP_SEEDS} seeds.",
        make_table(["ensembles", "neurons each", *header], sweep),
    )


if __name__ == "__main__":
    main()
