"""Accuracy of every temporal model on a file of UCF101 features.

    python benchmarks/accuracy/ucf101_features.py FEATURES.npz [--seeds 3] [--models lmu ...]

Settings are those of ``configs/ucf101_features_<model>.json``, found on groups of the training videos: the models train
on all training videos and the last epoch counts. The test videos are opened once, at the end of each run.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import FEATURES, SET, headline, make_table, run_seeds, show, write_section

MODELS = (
    *("mean_pool", "lstm", "lmu", "stacked_lmu"),
    *("ensemble_array", "spiking_lmu", "spiking_lmu_2020"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        common = [f"dataset.path={arguments.features.resolve()}", f"save_dir={folder}", "evaluation.test_curve=false"]
        for model in arguments.models:
            runs = run_seeds(f"ucf101_features_{model}.json", common, arguments.seeds)
            kinds = [show([headline(run, kind) for run in runs]) for kind in ("video", "last", "timestep")]
            baseline = show([headline(run, of="baseline") for run in runs])
            spikes = [run["spikes"]["per_neuron_per_step"] for run in runs if run["spikes"]]
            train = sum(run["seconds"]["train"] for run in runs) / len(runs)
            activity = f"{sum(spikes) / len(spikes):.3f}" if spikes else "-"
            rows.append([model, *kinds, baseline, activity, f"{train:.0f}"])
    header = ("model", "video %", "last %", "timestep %", "baseline video %", "spikes / neuron / step", "training s")
    write_section(
        f"Temporal models: {SET}",
        f"{FEATURES} No group is on both sides. Each model is trained with {arguments.seeds} seeds; a cell is the "
        "mean ± the standard deviation over them. For the baseline, the seed only decides on which validation groups "
        "its L2 strength is chosen. *Training s*: seconds of one training, on average.",
        make_table(header, rows),
    )


if __name__ == "__main__":
    main()
