"""The original project's spiking LMU, ours beside the same network in NengoDL, on a file of UCF101 features.

    python benchmarks/accuracy/spiking_lmu_2020.py FEATURES.npz --peers FOLDER [--seeds 3]

FOLDER holds the virtual environment ``nengo_dl``, made as ``benchmarks/peers/README.md`` says. Both train on the same
training videos, scaled alike, with the settings of ``configs/ucf101_features_spiking_lmu_2020.json``; the test videos
are opened at each run's end, once with rates in the place of spikes and once with spikes.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import FEATURES, ROOT, SET, headline, make_table, show, write_section
from benchmarks.lib.timing import ask
from snn_action.config import load_config
from snn_action.runs import pipeline

CONFIG = ROOT / "configs" / "ucf101_features_spiking_lmu_2020.json"
PEER = Path(__file__).parents[1] / "peers" / "nengo_dl_spiking_lmu.py"
RATES = ('model.neuron={"type": "lif_rate"}', "model.gradient=rate")  # the one mode that such a neuron has


def run_ours(
    features: Path,
    folder: str,
    seed: int,
    config: Path = CONFIG,
    overrides: Sequence[str] = (),
    rates: Sequence[str] = RATES,
) -> dict[str, float]:
    """``timestep`` and ``video`` accuracy with spikes, ``timestep`` as ``rates`` says, seconds of training."""
    common = [f"dataset.path={features.resolve()}", f"save_dir={folder}", "evaluation.test_curve=false", f"seed={seed}"]
    run = pipeline.run(load_config(config, [*overrides, *common]))
    with_rates = pipeline.evaluate(run.folder, rates) if rates else run
    return {
        "spikes": headline(run.metrics, "timestep"),
        "video": headline(run.metrics),
        "rates": headline(with_rates.metrics, "timestep"),
        "train_seconds": run.metrics["seconds"]["train"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    epochs = load_config(CONFIG).training.epochs
    python = arguments.peers / "nengo_dl" / "bin" / "python"
    found: dict[str, list[dict[str, float]]] = {"snn_action": [], "NengoDL": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            theirs = ask([str(python), str(PEER), str(arguments.features), str(epochs), str(seed)])
            if theirs is None:
                raise SystemExit("the peer's process failed")
            found["NengoDL"].append(theirs)
            found["snn_action"].append(run_ours(arguments.features, folder, seed))
            print(seed, *(f"{name} {runs[-1]}" for name, runs in found.items()), file=sys.stderr, flush=True)
    rows = [
        [
            name,
            show([run["rates"] for run in runs]),
            show([run["spikes"] for run in runs]),
            f"{sum(run['train_seconds'] for run in runs) / len(runs):.0f}",
        ]
        for name, runs in found.items()
    ]
    write_section(
        f"The original's spiking LMU: {SET}",
        f"The spiking LMU of the original project, in this library and in NengoDL. {FEATURES} The model has 100 LIF "
        f"neurons each for the input, u and the memory. It is trained on rates, {epochs} epochs, and tested with "
        "rates and with spikes. The first two columns are the `timestep` accuracy, mean ± standard deviation over "
        f"{arguments.seeds} seeds. NengoDL's seconds include building the graph.",
        make_table(["", "with rates %", "with spikes %", "training s"], rows),
    )


if __name__ == "__main__":
    main()
