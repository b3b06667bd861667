"""Accuracy of models trained by two processes under torchrun beside that of one, seed by seed.

    python benchmarks/speed/distributed.py FEATURES.npz [--seeds 3] [--processes 2] [-o key=value ...]

Settings are those of ``configs/ucf101_features_<model>.json``; ``-o`` makes them smaller. Runs differ in the number of
processes alone: batches hold the same clips, dropout and noise are drawn anew by each process.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import ROOT, SET, make_table, show, write_section

MODELS = {
    "lmu": [],
    "ensemble_array": ["model.n_ensembles=500", "model.n_neurons=10"],
}


def run(model: str, seed: int, processes: int, overrides: list[str], folder: Path) -> tuple[dict[str, float], list]:
    """Accuracies of a run, and the rows of its ``predictions.csv``."""
    name = f"{model}-{seed}-{processes}"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launch if processes > 1 else []), "-m", "snn_action", "run"]
    command += ["-c", str(ROOT / "configs" / f"ucf101_features_{model}.json"), "--run-id", name]
    for text in [*overrides, f"seed={seed}", f"save_dir={folder}", "name=run", "device=cpu"]:
        command += ["-o", text]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads((folder / "run" / name / "metrics.json").read_text())
    rows = list(csv.DictReader((folder / "run" / name / "predictions.csv").read_text().splitlines()))
    print(name, found["accuracy"], file=sys.stderr, flush=True)
    return found["accuracy"], rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for model, small in MODELS.items():
            common = [f"dataset.path={arguments.features.resolve()}", "evaluation.test_curve=false"]
            common += ["evaluation.baseline=false", *small, *arguments.override]
            alone, together, agreeing, counted = [], [], [], set()
            for seed in range(arguments.seeds):
                one, rows = run(model, seed, 1, common, Path(folder))
                several, others = run(model, seed, arguments.processes, common, Path(folder))
                alone.append(one["video"])
                together.append(several["video"])
                same = [a["predicted"] == b["predicted"] for a, b in zip(rows, others, strict=True)]
                agreeing.append(statistics.mean(same))
                counted |= {(len(found), len({row["video"] for row in found})) for found in (rows, others)}
            ((lines, videos),) = counted
            once = f"{videos} of {lines}"
            table.append([f"`{model}`", show(alone), show(together), show(agreeing), once])
    header = ("model", "1 process, video %", f"{arguments.processes} processes, video %", "same class %")
    sizes = "; ".join(f"`{model}` with {', '.join(small)}" for model, small in MODELS.items() if small)
    write_section(
        f"Training under torchrun: {SET}",
        "The same training by one process and by several under `torchrun`, on the CPU by gloo. Data: UCF101 "
        "features, test videos of official split 1. A cell is the mean ± the standard deviation over "
        f"{arguments.seeds} seeds. Smaller than its configuration: {sizes}. *Same class*: the share of test videos "
        "for which both runs of a seed predict the same class. *Videos once*: how many different videos the lines of "
        "`predictions.csv` name; no video should be missing or counted twice.",
        make_table((*header, "videos once"), table),
    )


if __name__ == "__main__":
    main()
