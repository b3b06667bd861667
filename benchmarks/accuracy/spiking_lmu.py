"""What spikes cost a Legendre Memory Unit: the same network with and without them, video by video.

    python benchmarks/accuracy/spiking_lmu.py FEATURES.npz [--seeds 10] [--validate] [--sweep] [--cases lmu ...]

Settings are those of ``configs/ucf101_features_<model>.json`` and what a case names here. All were chosen with
``--validate``, which trains on four fifths of the groups of training videos and tests the other fifth, another draw of
groups for each seed; the test videos stay closed. Without it each run trains on all training videos and opens the test
videos once, at its end. ``--sweep`` measures order by units and the gap between training and test videos.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.paired import Tested, compare, join
from benchmarks.lib.table import FEATURES, ROOT, SET, make_table, show, write_section
from snn_action.config import load_config
from snn_action.runs import pipeline
from snn_action.training import read_lines

LMU, SPIKING = "ucf101_features_lmu.json", "ucf101_features_spiking_lmu.json"
SPARSE = ["model.max_rates=[300.0,300.0]"]
ALL_SPIKES = ["model.spiking_input=true", "model.spiking_memory=true"]
CASES = {
    "lmu": (LMU, []),
    "spiking_lmu": (SPIKING, []),
    "spiking_lmu, sparse": (SPIKING, SPARSE),
    "spiking_lmu, all spikes": (SPIKING, ALL_SPIKES),
    "spiking_lmu_2020": ("ucf101_features_spiking_lmu_2020.json", []),
}
SWEEP = [(order, units) for order in (1, 2, 4, 8) for units in (512, 1024, 2048, 4096)]
SWEEP_SEEDS = 3
SHARE = 0.2  # of the training groups, where validated


def configure(features: Path, folder: str, config: str, overrides: list[str], seed: int):
    common = [f"dataset.path={features.resolve()}", f"save_dir={folder}", "evaluation.test_curve=false"]
    return load_config(ROOT / "configs" / config, [*common, *overrides, f"seed={seed}"])


def test(features: Path, config: str, overrides: list[str], seed: int) -> Tested:
    """One run and its test."""
    tested = Tested()
    with tempfile.TemporaryDirectory() as folder:
        tested.add(configure(features, folder, config, overrides, seed))
    print(config, overrides, seed, f"{tested.video[0].mean():.3f}", file=sys.stderr, flush=True)
    return tested


def validate(features: Path, config: str, overrides: list[str], seed: int) -> tuple[float, float]:
    """``video`` and ``timestep`` accuracy on a fifth of the groups of training videos, after the last epoch."""
    overrides = [*overrides, f"training.validation_share={SHARE}"]
    with tempfile.TemporaryDirectory() as folder:
        run = pipeline.train(configure(features, folder, config, overrides, seed))
        last = read_lines(run)[-1]["validation"]
        found = float(last["video"]), float(last["timestep"])
    print(config, overrides, seed, "video {:.3f} timestep {:.3f}".format(*found), file=sys.stderr, flush=True)
    return found


def write_comparison(found: dict[str, Tested], seeds: int) -> None:
    lmu = found["lmu"]
    rows = [
        [
            name,
            show([float(video.mean()) for video in case.video]),
            compare(case.video, lmu.video) if name != "lmu" else "",
            show([float(steps.mean()) for steps in case.timestep]),
            compare(case.timestep, lmu.timestep) if name != "lmu" else "",
            show(case.baseline),
            f"{mean(case.spikes):.3f}" if case.spikes else "-",
            show(case.train),
        ]
        for name, case in found.items()
    ]
    header = ["model", "video %", "to `lmu`, points", "timestep %", "to `lmu`, points", "baseline video %"]
    write_section(
        f"What spikes cost a Legendre Memory Unit: {SET}",
        f"{FEATURES} A cell is the mean ± the standard deviation over {seeds} seeds. *To `lmu`*: the difference to "
        "`lmu` in percentage points, over the same test videos; in brackets, its 95 % interval (bootstrap over "
        "videos). The hidden units of a `spiking_lmu` spike. *Sparse*: they spike at lower rates. *All spikes*: "
        "spiking ensembles carry the input and the memory too.",
        make_table([*header, "spikes / neuron / step", "video % on training videos"], rows),
    )


def write_sweep(found: dict[tuple[str, int, int], Tested]) -> None:
    rows = []
    for order, units in SWEEP:
        row = [str(order), str(units)]
        for model in ("lmu", "spiking_lmu"):
            case = found[model, order, units]
            videos = [float(video.mean()) for video in case.video]
            row += [show(videos), f"{100 * (mean(case.train) - mean(videos)):.1f}"]
        rows.append(row)
    header = ["order", "units", "lmu, video %", "train - test, points", "spiking_lmu, video %", "train - test, points"]
    write_section(
        f"Legendre Memory Units by order and units: {SET}",
        f"{FEATURES} Two models with several orders and numbers of units; all else is as in the configurations. A "
        f"cell is the mean ± the standard deviation over {SWEEP_SEEDS} seeds. *Train - test*: the accuracy on "
        "training videos minus the accuracy on test videos, in percentage points. Two units stand for one "
        "coefficient of the memory: with fewer units some coefficients are not seen, with more some are seen twice.",
        make_table(header, rows),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    features, more = arguments.features, arguments.override
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:

        def run(function, config: str, overrides: list[str], seeds: int):
            return [pool.submit(function, features, config, [*overrides, *more], seed) for seed in range(seeds)]

        if arguments.validate:
            runs = {name: run(validate, *CASES[name], arguments.seeds) for name in arguments.cases}
            for name, futures in runs.items():
                kinds = zip(*(future.result() for future in futures), strict=True)
                print(name, *map(show, kinds), "(video, timestep)")
        elif arguments.sweep:
            cases = {
                (model, order, units): run(test, config, [f"model.order={order}", f"model.units={units}"], SWEEP_SEEDS)
                for model, config in (("lmu", LMU), ("spiking_lmu", SPIKING))
                for order, units in SWEEP
            }
            write_sweep({case: join([future.result() for future in futures]) for case, futures in cases.items()})
        else:
            runs = {name: run(test, *CASES[name], arguments.seeds) for name in arguments.cases}
            found = {name: join([future.result() for future in futures]) for name, futures in runs.items()}
            write_comparison(found, arguments.seeds)


if __name__ == "__main__":
    main()
