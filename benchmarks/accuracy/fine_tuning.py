"""Is a backbone whose last layers learn with the temporal model better than a frozen one?

    python benchmarks/accuracy/fine_tuning.py NAME=CONFIG... --layers features.17 [--epochs 12] [--keep FOLDER]

For each set (a configuration names it, its clips, its backbone and its store) the same temporal model is trained by
gradients for as many epochs: on the features of the frozen backbone, and with the backbone learning from each of the
layers named on, or all of it (``all``), or only a new layer behind it (``head``). Each takes the weights of the epoch
of least loss on groups of training videos that are held out, and is tested once. ``--folds`` keeps to some folds.
Training clips are varied as the configuration says (``-o training.augment.KEY=VALUE``), the same for all.
"""

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.paired import compare
from benchmarks.lib.table import headline, make_table, show, write_section
from snn_action.config import Config, load_config
from snn_action.runs import pipeline
from snn_action.training.history import find_best

FROZEN, HEAD = "frozen", "head"
HEADER = ("learns from", "validation %", "test %", "averaging, test %", "to frozen, points")
MODEL = {"type": "lmu", "units": 128, "order": 6, "memory_d": 64, "dropout": 0.3}
TRAINING = {"batch_size": 8, "learning_rate": 1e-3, "weight_decay": 0.01, "validation_share": 0.25}


@dataclass
class Row:
    """What one way to train gives: by seed and video, and by seed."""

    right: list[dict[str, bool]] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, runs: Sequence[tuple[Path, dict[str, Any]]]) -> None:
        """The runs of one seed, a fold each."""
        right: dict[str, bool] = {}
        for folder, _ in runs:
            with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
                right.update((line["video"], line["correct"] == "1") for line in csv.DictReader(file))
        self.right.append(right)
        self.test.append(float(np.mean([*right.values()])))
        self.validation.append(float(np.mean([_read_validation(folder) for folder, _ in runs])))
        self.baseline.append(float(np.mean([headline(metrics, of="baseline") for _, metrics in runs])))
        shares = [metrics["leakage"].get("unshared", {}).get("accuracy") for _, metrics in runs]
        if all(metrics["leakage"].get("shared", {}).get("videos") for _, metrics in runs) and None not in shares:
            self.apart.append(float(np.mean(shares)))
        self.seconds.append(sum(metrics["seconds"]["train"] for _, metrics in runs))

    def line_up(self) -> list[np.ndarray]:
        """By seed, whether each video was right, in the order of their names."""
        return [np.array([float(right[video]) for video in sorted(right)]) for right in self.right]


def _read_validation(folder: Path) -> float:
    """Of the weights that are tested."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    best = find_best(lines)
    return float(next(line["validation"]["video"] for line in lines if line["epoch"] == best))


def configure(given: Config, case: str, arguments: argparse.Namespace, fold: str, seed: int, folder: Path) -> Config:
    """The set of a configuration, with the temporal model behind a backbone that learns from ``case`` on."""
    model: dict[str, Any] = {**MODEL, "theta": float(given.clip.frames)}
    if case != FROZEN:
        model = {"type": "end_to_end", "model": model, "train_from": case, "rates": {"backbone": arguments.rate}}
        if case == HEAD:
            model["head"] = [arguments.units]
    raw = json.loads(given.to_json())
    varied = raw["training"]["augment"]
    raw |= {"model": model, "training": {**TRAINING, "epochs": arguments.epochs, "augment": varied}}
    raw |= {"seed": seed, "save_dir": str(folder)}
    raw["evaluation"] |= {"test_curve": False, "controls": False}
    if fold:
        raw["dataset"]["split"] = int(fold) if fold.isdecimal() else fold
    path = folder / "config.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    return load_config(path)


def do(config: Config) -> tuple[Path, dict[str, Any]]:
    """A run, or what there is of it."""
    digest = hashlib.sha256(config.to_json().encode()).hexdigest()[:16]
    folder = config.save_dir / config.name / digest
    if (folder / "metrics.json").exists():
        return folder, json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    result = pipeline.run(config, run_id=digest)
    return result.folder, result.metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=CONFIG")
    parser.add_argument("--layers", nargs="+", required=True, help="first layers that learn, 'all' or 'head'")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rate", type=float, default=0.1, help="learning rate of the backbone, times that of the rest")
    parser.add_argument("--units", type=int, default=512, help="of the head")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", nargs="*", help="default: those of the set")
    parser.add_argument("--keep", type=Path, help="folder for runs, to go on; default: they are not kept")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    for text in arguments.sets:
        name, _, path = text.partition("=")
        given = load_config(path, arguments.override)
        known = [fold.name for fold in given.dataset.build(given.seed).folds]
        folds = arguments.folds or (known if len(known) > 1 else [""])
        with tempfile.TemporaryDirectory() as place:
            folder = arguments.keep or Path(place)
            folder.mkdir(parents=True, exist_ok=True)
            rows = {case: Row() for case in (FROZEN, *arguments.layers)}
            for case, row in rows.items():
                for seed in range(arguments.seeds):
                    row.add([do(configure(given, case, arguments, fold, seed, folder)) for fold in folds])
                print(name, case, show(row.validation), show(row.test), file=sys.stderr, flush=True)
        plain = rows[FROZEN].line_up()
        varied = given.training.augment.model_dump_json(exclude_defaults=True)
        table = [
            [
                *(case, show(row.validation), show(row.test), show(row.baseline)),
                "" if case == FROZEN else compare(row.line_up(), plain),
                *([show(row.apart)] if row.apart else []),
                f"{np.mean(row.seconds):.0f}",
            ]
            for case, row in rows.items()
        ]
        write_section(
            f"Backbones that learn: {name}",
            f"`{given.backbone.name}`, {given.clip.frames} frames, streams {', '.join(given.clip.streams)}; "
            f"{len(plain[0])} test videos, {len(folds)} folds, seeds: {arguments.seeds}. The temporal model is an LMU "
            f"of {MODEL['units']} units, trained for {arguments.epochs} epochs, at the epoch of least validation "
            f"loss (mean of folds). The backbone's learning rate: {arguments.rate:g} of the rest's. *Averaging*: "
            "logistic regression on the mean of the features that the trained layers give. *To frozen*: points on the "
            "test, with the 95 % interval over videos. *Seconds*: of training, all folds of one seed."
            + (" *Groups apart*: test videos of groups without a training video." if rows[FROZEN].apart else "")
            + (f" Training clips are varied: `{varied}`." if varied != "{}" else ""),
            make_table([*HEADER, *(["groups apart %"] if rows[FROZEN].apart else []), "seconds"], table),
        )


if __name__ == "__main__":
    main()
