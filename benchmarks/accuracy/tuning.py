"""Is a head that was chosen on training groups better than one fixed for all sets, and than the baseline?

    python benchmarks/accuracy/tuning.py NAME=CONFIG... [--budget 600] [--keep FOLDER] [-o key=value]

A configuration names a set and its store of features. For each of its folds ``tune`` searches on training groups, and
what is compared is trained and tested once: the baseline on the streams that do best in validation, the fixed heads of
``configs/folder_*.json``, the chosen head, and the best spiking one. With ``--keep`` trials and runs stay in a folder;
the same command goes on there, and does not search again in a set whose search came to its end.
"""

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import ROOT, make_table, write_section
from snn_action.config import Config, load_config, make_config
from snn_action.runs import pipeline
from snn_action.runs.tuning.candidates import GIVEN, LATE, Candidate
from snn_action.runs.tuning.choice import Outcome, choose, compare
from snn_action.runs.tuning.spaces import BASELINE
from snn_action.runs.tuning.tune import tune

FIXED = ("lmu", "spiking_lmu", "ensemble_array")
HEADER = ("set", "head", "video %", "against baseline", "validation %", "random order %", "chosen")


@dataclass
class Row:
    """One head over all folds of a set."""

    right: dict[str, bool] = field(default_factory=dict)
    group: dict[str, str] = field(default_factory=dict)
    validation: list[float] = field(default_factory=list)
    shuffled: list[float] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def add(self, folder: Path, metrics: dict[str, Any], groups: dict[str, str]) -> None:
        """The test of one fold."""
        with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                self.right[line["video"]] = line["correct"] == "1"
        self.group |= groups
        if metrics.get("controls"):
            self.shuffled.append(100 * metrics["controls"]["shuffled"]["accuracy"]["video"])


def read_fixed(kind: str, from_videos: bool) -> Candidate:
    """The head of a shipped configuration."""
    raw = json.loads((ROOT / "configs" / f"folder_{kind}.json").read_text(encoding="utf-8"))
    head = raw["model"]["model"]
    return Candidate(head, LATE if from_videos else GIVEN, raw["training"])


def test_set(name: str, config: Config, folder: Path, seconds: float) -> list[list[str]]:
    """The rows of one set."""
    config = make_config({**json.loads(config.to_json()), "save_dir": str(folder / "runs")})
    kept = [*(folder / "search").rglob("tuning.json")]
    if len(kept) == len(config.dataset.build(config.seed).folds):
        seconds = 1e-6  # this search came to its end before
    found = tune(config, out=folder / "search", seconds=seconds, test=False)
    catalog = config.dataset.build(config.seed)
    groups = {video.name: video.group or video.name for video in catalog.videos}
    from_videos = catalog.arrays is None
    rows: dict[str, Row] = {}
    for fold in found.folds:
        spiking = choose(fold.outcomes, fold.groups, spiking=True).chosen
        heads: dict[str, tuple[Candidate, Outcome | None]] = {
            "baseline, best streams": (fold.choice.baseline.candidate, fold.choice.baseline),
            **{f"fixed {kind}": (read_fixed(kind, from_videos), None) for kind in FIXED},
            "tuned": (fold.choice.chosen.candidate, fold.choice.chosen),
            "tuned, best head": (fold.choice.best.candidate, fold.choice.best),
            "tuned, spiking": (spiking.candidate, spiking),
        }
        for label, (candidate, outcome) in heads.items():
            row = rows.setdefault(label, Row())
            digest = hashlib.sha256(candidate.to_text().encode()).hexdigest()[:12]  # several may have chosen it
            run_id = f"{candidate.kind}-{digest}-{fold.name}"
            done = folder / "runs" / config.name / run_id / "metrics.json"
            if not done.exists():
                applied = json.loads(candidate.apply(config).to_json())
                if len(found.folds) > 1:
                    applied["dataset"]["split"] = int(fold.name) if fold.name.isdecimal() else fold.name
                pipeline.run(make_config(applied), run_id=run_id)
            row.add(done.parent, json.loads(done.read_text(encoding="utf-8")), groups)
            if outcome is not None:
                row.validation.append(100 * outcome.accuracy)
                row.heads.append(outcome.candidate.kind if candidate.kind != BASELINE else BASELINE)
    return [format_row(name, label, row, rows["baseline, best streams"]) for label, row in rows.items()]


def format_row(name: str, label: str, row: Row, baseline: Row) -> list[str]:
    """A line of the table."""
    videos = sorted(row.right)
    one, other = (np.array([part.right[video] for video in videos]) for part in (row, baseline))
    gain, low, high = compare(one, other, [row.group[video] for video in videos])
    heads = ", ".join(f"{head} {row.heads.count(head)}" for head in dict.fromkeys(row.heads))
    return [
        name,
        label,
        f"{100 * one.mean():.1f}",
        "" if row is baseline else f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
        f"{np.mean(row.validation):.1f}" if row.validation else "",
        f"{np.mean(row.shuffled):.1f}" if row.shuffled else "",
        heads,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=CONFIG")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of search, over all folds of a set")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        keep = arguments.keep or Path(temporary)
        table = []
        for text in arguments.sets:
            name, _, path = text.partition("=")
            config = load_config(path, arguments.override)
            table += test_set(name, config, keep / config.name, arguments.budget)
    write_section(
        "Heads chosen on training groups",
        "Each head is trained on all training videos of a fold and tested once; video accuracy over all test videos. "
        "*Against baseline*: points more than the baseline on the same videos, with the 95 % interval where groups are "
        "drawn anew. The baseline sees the streams on which it did best in validation. *Fixed*: the heads of "
        "`configs/folder_<model>.json`, the same for every set. *Tuned*: what `snn-action tune` chose; where nothing "
        "beats the baseline by more than noise, that is the baseline. *Best head*: the best of validation in any case. "
        "*Validation*: accuracy on held-out training groups, by which it was chosen, the mean over folds. *Random "
        "order*: the same trained head on test clips with frames in random order. *Chosen*: which model, in how many "
        f"folds. The search had {arguments.budget:g} s a set, on one seed.",
        make_table(HEADER, table),
    )


if __name__ == "__main__":
    main()
