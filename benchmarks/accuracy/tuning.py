"""Is a head that was chosen on training groups better than one fixed for all sets, and than the baseline?

    python benchmarks/accuracy/tuning.py NAME=CONFIG... [--seeds 3] [--budget 600] [--keep FOLDER] [-o key=value]

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
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import ROOT, make_table, write_section
from snn_action.config import Config, load_config, make_config
from snn_action.runs import pipeline
from snn_action.runs.tuning.candidates import GIVEN, LATE, Candidate
from snn_action.runs.tuning.choice import Outcome, choose, compare, is_spiking
from snn_action.runs.tuning.spaces import BASELINE
from snn_action.runs.tuning.tune import tune

FIXED = ("lmu", "spiking_lmu", "ensemble_array")
BASE, SPIKES, NO_SPIKES = "baseline, best streams", "tuned, spiking", "tuned, without spikes"
HEADER = (
    *("head", "video %", "groups apart %", "against baseline", "against without spikes", "validation %"),
    *("random order %", "chosen"),
)


@dataclass
class Row:
    """One head over all seeds and folds of a set; what is right by seed and video."""

    right: dict[int, dict[str, bool]] = field(default_factory=dict)
    validation: list[float] = field(default_factory=list)
    shuffled: list[float] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def add(self, folder: Path, metrics: dict[str, Any], seed: int) -> None:
        """The test of one fold."""
        with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                self.right.setdefault(seed, {})[line["video"]] = line["correct"] == "1"
        if metrics.get("controls"):
            self.shuffled.append(100 * metrics["controls"]["shuffled"]["accuracy"]["video"])
        if metrics["leakage"].get("unshared"):  # test videos whose group has no training video
            self.apart.append(100 * metrics["leakage"]["unshared"]["accuracy"])

    def share(self) -> npt.NDArray[np.float64]:
        """The share of seeds that are right about each video, in the order of videos' names."""
        seeds = self.right.values()
        return np.array([np.mean([one[video] for one in seeds]) for video in sorted(next(iter(seeds)))])

    def accuracies(self) -> list[float]:
        """In percent, one a seed."""
        return [100 * float(np.mean([*one.values()])) for one in self.right.values()]


def read_fixed(kind: str, from_videos: bool) -> Candidate:
    """The head of a shipped configuration."""
    raw = json.loads((ROOT / "configs" / f"folder_{kind}.json").read_text(encoding="utf-8"))
    head = raw["model"]["model"]
    return Candidate(head, LATE if from_videos else GIVEN, raw["training"])


def test_set(rows: dict[str, Row], given: Config, folder: Path, seconds: float, seed: int) -> None:
    """Add what one seed gives on a set to its rows, by head."""
    config = make_config({**json.loads(given.to_json()), "save_dir": str(folder / "runs"), "seed": seed})
    kept = [*(folder / "search").rglob("tuning.json")]
    if len(kept) == len(config.dataset.build(config.seed).folds):
        seconds = 1e-6  # this search came to its end before
    found = tune(config, out=folder / "search", seconds=seconds, test=False)
    from_videos = config.dataset.build(config.seed).arrays is None
    for fold in found.folds:
        spiking = choose(fold.outcomes, fold.groups, spiking=True).chosen
        silent = max((one for one in fold.outcomes if not is_spiking(one)), key=lambda one: one.value)
        heads: dict[str, tuple[Candidate, Outcome | None]] = {
            BASE: (fold.choice.baseline.candidate, fold.choice.baseline),
            **{f"fixed {kind}": (read_fixed(kind, from_videos), None) for kind in FIXED},
            "tuned": (fold.choice.chosen.candidate, fold.choice.chosen),
            "tuned, best head": (fold.choice.best.candidate, fold.choice.best),
            SPIKES: (spiking.candidate, spiking),
            NO_SPIKES: (silent.candidate, silent),
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
            row.add(done.parent, json.loads(done.read_text(encoding="utf-8")), seed)
            if outcome is not None:
                row.validation.append(100 * outcome.accuracy)
                row.heads.append(outcome.candidate.kind if candidate.kind != BASELINE else BASELINE)


def format_rows(rows: dict[str, Row], groups: dict[str, str]) -> list[list[str]]:
    """The lines of a set."""
    shares = {label: row.share() for label, row in rows.items()}
    videos = sorted(next(iter(rows[BASE].right.values())))

    def against(label: str, other: str) -> str:
        gain, low, high = (100 * part for part in compare(shares[label], shares[other], [groups[v] for v in videos]))
        return f"{gain:+z.1f} [{low:+z.1f}, {high:+z.1f}]"

    table = []
    for label, row in rows.items():
        reached = row.accuracies()
        spread = f" ± {np.std(reached, ddof=1):.1f}" if len(reached) > 1 else ""
        heads = ", ".join(f"{head} {row.heads.count(head)}" for head in dict.fromkeys(row.heads))
        table.append(
            [
                label,
                f"{np.mean(reached):.1f}{spread}",
                f"{np.mean(row.apart):.1f}" if row.apart else "",
                "" if label == BASE else against(label, BASE),
                against(label, NO_SPIKES) if label == SPIKES else "",
                f"{np.mean(row.validation):.1f}" if row.validation else "",
                f"{np.mean(row.shuffled):.1f}" if row.shuffled else "",
                heads,
            ]
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=CONFIG")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of search, over all folds of a set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        keep = arguments.keep or Path(temporary)
        for text in arguments.sets:
            name, _, path = text.partition("=")
            config = load_config(path, arguments.override)
            rows: dict[str, Row] = {}
            for seed in range(arguments.seeds):
                test_set(rows, config, keep / config.name / str(seed), arguments.budget, seed)
            videos = config.dataset.build(config.seed).videos
            table = format_rows(rows, {video.name: video.group or video.name for video in videos})
            write_section(f"Heads chosen on training groups: {name}", describe(arguments), make_table(HEADER, table))


def describe(arguments: argparse.Namespace) -> str:
    """The text above a table."""
    return (
        "Each head is trained on all training videos of a fold and tested once; video accuracy over all test videos, "
        f"the mean over {arguments.seeds} seed(s) ± the standard deviation over them. A seed is a repetition of "
        "everything: other validation groups, another search, other weights. *Groups apart*: of the test videos whose "
        "group (a film, say) has no training video, where a split shares groups between both sides. *Against*: points "
        "more than another head on the same videos, with the 95 % interval where groups are drawn anew (of the mean "
        "over seeds). The baseline sees the streams on which it did best in validation. *Fixed*: the heads of "
        "`configs/folder_<model>.json`, the same for every set. *Tuned*: what `snn-action tune` chose; where nothing "
        "beats the baseline by more than noise, that is the baseline. *Best head*: the best of validation in any case. "
        "*Without spikes*: the best of validation of all that does not spike, the baseline among it. *Validation*: "
        "accuracy on held-out training groups, by which it was chosen, the mean over folds. *Random order*: the same "
        "trained head on test clips with frames in random order. *Chosen*: which model, in how many folds and seeds. "
        f"The search had {arguments.budget:g} s for each seed."
    )


if __name__ == "__main__":
    main()
