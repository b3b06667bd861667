"""Why the original's spiking LMU fails: its accuracy as each cause is removed, alone and one after another.

    python benchmarks/accuracy/spiking_lmu_causes.py FEATURES.npz [--seeds 3] [--jobs 1]

Three causes, each removed by one setting of ``spiking_lmu_2020``; the values were fixed on groups of the training
videos, before a test video was opened:

training  on rates; instead through the spikes that the test has (``gradient``)
noise     one step's spikes stand for a value; instead those of the last milliseconds (``tau``: Nengo's default synapse)
neurons   100 stand for 512 features; instead 500 (``ensemble_neurons``)

All else is as in ``configs/ucf101_features_spiking_lmu_2020.json``. The last lines are this project's spiking LMU and
the LMU without spikes, as in ``configs/ucf101_features_<model>.json``. The table goes into docs/results.md and
docs/explanation/spiking-lmu.md, with a figure.
"""

import argparse
import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import matplotlib

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.accuracy.spiking_lmu_2020 import CONFIG, RATES, run_ours
from benchmarks.lib.table import FEATURES, RESULTS, ROOT, SET, make_table, show, write_section

matplotlib.use("agg")
from matplotlib import pyplot as plt

TITLE, PAGE = f"Why the original's spiking LMU fails: {SET}", ROOT / "docs" / "explanation" / "spiking-lmu.md"
FIGURE = ROOT / "docs" / "images" / "spiking_lmu_causes.png"
TRAINING, NOISE, NEURONS = "model.gradient=spike_aware", "model.tau=0.005", "model.ensemble_neurons=500"
LMU = ROOT / "configs" / "ucf101_features_lmu.json"
SPIKING = ROOT / "configs" / "ucf101_features_spiking_lmu.json"


class Case(NamedTuple):
    """A line of the table: its name, the configuration, what is set in it, and what makes its neurons give rates."""

    name: str
    config: Path = CONFIG
    overrides: tuple[str, ...] = ()
    rates: tuple[str, ...] = RATES


CASES = (
    Case("the original"),
    Case("trained through its spikes", overrides=(TRAINING,)),
    Case("synapse", overrides=(NOISE,)),
    Case("more neurons", overrides=(NEURONS,)),
    Case("trained through its spikes, synapse", overrides=(TRAINING, NOISE)),
    Case("trained through its spikes, synapse, more neurons", overrides=(TRAINING, NOISE, NEURONS)),
    Case("`spiking_lmu`, ours", SPIKING, (), ('model.neuron={"type": "rectified_linear"}', "model.gradient=rate")),
    Case("`lmu`, no spikes", LMU, (), ()),
)


def run_case(features: Path, case: Case, seed: int) -> dict[str, float]:
    """One run; see ``run_ours``."""
    with tempfile.TemporaryDirectory() as folder:
        found = run_ours(features, folder, seed, case.config, case.overrides, case.rates)
    print(case.name, seed, found, file=sys.stderr, flush=True)
    return found


def draw(found: dict[str, list[dict[str, float]]]) -> None:
    """Bars of ``timestep`` accuracy with rates and with spikes."""
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    places = range(len(found))
    for kind, shift, color in (("rates", 0.2, "#b8b8b8"), ("spikes", -0.2, "#c0392b")):
        values = [100 * mean(run[kind] for run in runs) for runs in found.values()]
        axes.barh([place - shift for place in places], values, 0.38, label=f"with {kind}", color=color)
        for place, value in zip(places, values, strict=True):
            axes.text(value + 0.5, place - shift, f"{value:.0f}", va="center", fontsize=8)
    axes.set_yticks(list(places), [name.replace("`", "") for name in found])
    axes.invert_yaxis()
    axes.set_xlim(0, 105)
    axes.set_xlabel("accuracy of single time steps on test videos, %")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=110, metadata={"Software": None})


def show_table() -> None:
    """Copy the table of docs/results.md into the page, between its marks, with the figure below it."""
    section = RESULTS.read_text(encoding="utf-8").partition(f"## {TITLE}\n")[2].partition("\n## ")[0]
    section = re.sub(r"\s+See\s+\[[^]]*\]\(explanation/spiking-lmu\.md\)\.", "", section)  # the page itself
    text, table, stamp = section.strip().split("\n\n")
    figure = f"![Accuracy with rates and with spikes, as causes are removed](../images/{FIGURE.name})"
    caption = "*The same as a figure. Gray: rates in the place of spikes. Red: spikes.*"
    page = PAGE.read_text(encoding="utf-8")
    new = re.sub(
        r"(<!-- from here .*?-->\n).*?(<!-- end -->)",
        lambda marks: f"{marks[1]}\n{text}\n\n{table}\n\n{stamp}\n\n{figure}\n\n{caption}\n\n{marks[2]}",
        page,
        flags=re.DOTALL,
    )
    PAGE.write_text(new, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        runs = {
            case.name: [pool.submit(run_case, arguments.features, case, seed) for seed in range(arguments.seeds)]
            for case in CASES
        }
        found = {name: [future.result() for future in futures] for name, futures in runs.items()}
    rows = [
        [
            name,
            *(show([run[kind] for run in results]) for kind in ("rates", "spikes")),
            f"{100 * mean(run['rates'] - run['spikes'] for run in results):.1f}",
            show([run["video"] for run in results]),
        ]
        for name, results in found.items()
    ]
    header = ["what is removed", "timestep % with rates", "timestep % with spikes", "lost", "video % with spikes"]
    write_section(
        TITLE,
        f"{FEATURES} "
        + (
            f"A cell is the mean ± the standard deviation over {arguments.seeds} seeds"
            if arguments.seeds > 1
            else "A cell is of 1 seed"
        )
        + ". The first line is `spiking_lmu_2020` as it was. In the following lines, causes of its failure are "
        "removed: one alone, then one after another. *Trained through its spikes*: mode `spike_aware` instead of "
        "training on rates. *Synapse*: spikes are seen only after a synapse of 5 ms; the original has none. *More "
        "neurons*: 500 instead of 100 for each of the input, u and the memory. *With rates*, *with spikes*: how the "
        "trained model is tested. *Lost*: what the timestep accuracy loses by spikes, in percentage points. See [Why "
        "the spiking LMU of 2020 fails](explanation/spiking-lmu.md).",
        make_table(header, rows),
    )
    draw(found)
    show_table()


if __name__ == "__main__":
    main()
