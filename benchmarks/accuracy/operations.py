"""Operations of every temporal model on a file of UCF101 features: what the spikes of one save, and what they cost.

    python benchmarks/accuracy/operations.py FEATURES.npz [--models lmu ...] [--epochs N]

Each model is trained as ``configs/ucf101_features_<model>.json`` says, with seed 0; ``--epochs`` shortens the training.
What is counted, and how, is said in ``src/snn_action/evaluation/operations.py``.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.accuracy.ucf101_features import MODELS
from benchmarks.lib.table import make_table, run_seeds, write_section
from snn_action.core.compat import torchvision
from snn_action.evaluation import count_operations

MILLION = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--epochs", type=int)
    arguments = parser.parse_args()
    frame = count_operations(torchvision.models.vgg16(weights=None), torch.rand(1, 3, 224, 224)).dense_macs
    given = np.load(arguments.features)
    classes, (_, steps, size) = len(given["class_names"]), given["features"].shape
    rows, test_videos = [], 0
    with tempfile.TemporaryDirectory() as folder:
        common = [f"dataset.path={arguments.features.resolve()}", f"save_dir={folder}", "evaluation.test_curve=false"]
        for model in arguments.models:
            overrides = [*common, "evaluation.baseline=false"]
            if arguments.epochs is not None:
                overrides.append(f"training.epochs={arguments.epochs}")
            (run,) = run_seeds(f"ucf101_features_{model}.json", overrides, 1)
            done, spikes, test_videos = run["operations"]["model"], run["spikes"], run["test_videos"]
            rows.append(
                [
                    f"`{model}`",
                    *(f"{done[key] / MILLION:.2f}" for key in ("dense_macs", "effective_macs", "effective_acs")),
                    *(f"{done[key] / MILLION:.3f}" for key in ("neuron_updates", "state_updates")),
                    f"{spikes['per_neuron_per_step']:.3f}" if spikes else "-",
                ]
            )
    header = (
        *("model", "dense MACs, M", "effective MACs, M", "effective ACs, M", "neuron updates, M"),
        *("state updates, M", "spikes / neuron / step"),
    )
    write_section(
        f"Operations of a clip: {classes} of 101 classes of UCF101, {test_videos} test videos",
        f"Operations of one clip of {steps} steps with {size} features a step, in millions (M), in the temporal model "
        "alone; seed "
        f"0{'' if arguments.epochs is None else f', of {arguments.epochs} epoch(s) of training instead of all'}. A "
        "MAC is a multiplication and an addition; an AC is an addition alone, which is enough for a spike. *Dense* "
        "counts all operations, *effective* only those whose input is not zero. The backbone is not included. "
        f"torchvision's VGG-16, from which such features come, has {frame / 1e9:.1f} G dense MACs a frame, "
        f"{steps * frame / 1e9:.0f} G a clip; all numbers here are small beside that. Operations are not energy: see "
        "[Energy](explanation/energy.md).",
        make_table(header, rows),
    )


if __name__ == "__main__":
    main()
