"""What motion is worth on Weizmann: streams rgb, difference and both, for the baseline, the LMU and the spiking LMU.

    python benchmarks/accuracy/weizmann.py VIDEOS WEIGHTS [--store FOLDER] [--keep FOLDER] [--seeds 10] [--validate]

Each fold trains on eight subjects and tests the ninth; the baseline is fitted to the same features. With ``--validate``
each fold trains on seven subjects and looks at an eighth, never at the ninth, and test videos stay closed. Features are
extracted once. The models are those of ``configs/weizmann_<model>.json``, as wide as the streams have features. With
``--keep`` the results of each seed stay in a folder, under a name that tells code and configuration apart: started
again, the script goes on where it was cut.
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.kept import keep_result
from benchmarks.lib.paired import Tested, compare, join
from benchmarks.lib.table import ROOT, make_table, show, write_section
from snn_action.config import Config, load_config
from snn_action.runs import pipeline
from snn_action.training import read_lines

FEATURES = 1280  # a stream
STREAMS = (["rgb"], ["difference"], ["rgb", "difference"])
MODELS = ("lmu", "spiking_lmu")


def configure(model: str, streams: list[str], overrides: list[str], seed: int) -> Config:
    """The configuration of a model on some streams."""
    path = ROOT / "configs" / f"weizmann_{model}.json"
    units = load_config(path).model.units // load_config(path).model.memory_d  # type: ignore[attr-defined]
    wide = FEATURES * len(streams)
    own = [f"model.memory_d={wide}", f"model.units={wide * units}", f"clip.streams={json.dumps(streams)}"]
    return load_config(path, [*own, *overrides, f"seed={seed}", "evaluation.test_curve=false"])


def _run(config: Config) -> Tested:
    tested = Tested()
    with tempfile.TemporaryDirectory() as folder:
        tested.add(config.model_copy(update={"save_dir": Path(folder)}))
    return tested


def test(model: str, streams: list[str], overrides: list[str], seed: int, keep: Path | None) -> Tested:
    """All folds of a seed, or what ``keep`` has of them."""
    if seed > 0 or model != "lmu":  # it is the same for all but its validation groups, and takes half of the time
        overrides = [*overrides, "evaluation.baseline=false"]
    tested = keep_result(
        keep, lambda: _run(configure(model, streams, overrides, seed)), model, streams, overrides, seed
    )
    print(model, streams, seed, f"{tested.video[0].mean():.3f}", file=sys.stderr, flush=True)
    return tested


def validate(model: str, streams: list[str], overrides: list[str], seed: int) -> float:
    """Mean ``video`` accuracy on each fold's validation subject after the last epoch."""
    overrides = [*overrides, "training.validation_share=0.1"]
    with tempfile.TemporaryDirectory() as folder:
        run = pipeline.train(configure(model, streams, [*overrides, f"save_dir={folder}"], seed))
        lines = [read_lines(fold)[-1] for fold in sorted(run.glob("folds/*"))]
    found = mean(line["validation"]["video"] for line in lines)
    print(model, streams, seed, f"{found:.3f}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("weights", type=Path, help="ImageNet weights of mobilenet_v2")
    parser.add_argument("--store", type=Path, help="feature store to keep; default: a temporary one")
    parser.add_argument("--keep", type=Path, help="folder for the results of each seed; default: they are not kept")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--streams", nargs="+", default=[" + ".join(streams) for streams in STREAMS])
    parser.add_argument("--validate", action="store_true", help="measure on validation subjects alone")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    seeds, chosen = arguments.seeds, [name.split(" + ") for name in arguments.streams]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        common = [
            f"dataset.path={arguments.videos.resolve()}",
            f"backbone.weights={arguments.weights.resolve()}",
            f"features.store={arguments.store or Path(folder) / 'store'}",
        ]
        for streams in chosen:  # extract once
            pipeline.load_data(configure("lmu", streams, common, 0), progress=True)
        common += arguments.override
        one_run = validate if arguments.validate else partial(test, keep=arguments.keep)
        runs = {
            (" + ".join(streams), model): [pool.submit(one_run, model, streams, common, seed) for seed in range(seeds)]
            for streams in chosen
            for model in arguments.models
        }
        if arguments.validate:
            for (streams, model), futures in runs.items():
                print(streams, model, show([future.result() for future in futures]))
            return
        found = {case: join([future.result() for future in futures]) for case, futures in runs.items()}
    header = ["model", "test %", "to `lmu`, points", "baseline, test %", "spikes / neuron / step"]
    spread = f"mean and standard deviation over {seeds} seeds" if seeds > 1 else "1 seed"
    for streams in (" + ".join(streams) for streams in chosen):
        rows = []
        for model in arguments.models:
            case, lmu = found[streams, model], found.get((streams, "lmu"))
            rows.append(
                [
                    f"`{model}`",
                    show([float(video.mean()) for video in case.video]),
                    compare(case.video, lmu.video) if lmu and model != "lmu" else "",
                    show(case.baseline) if case.baseline else "",
                    f"{mean(case.spikes):.3f}" if case.spikes else "-",
                ]
            )
        write_section(
            f"Weizmann: {streams}",
            f"`video` accuracy on {len(case.video[0])} videos of Weizmann. Each of nine folds trains without one "
            f"subject and tests on that subject; {spread}. Features: frozen `mobilenet_v2`, 28 frames a clip. *To "
            "`lmu`*: the difference to `lmu` in percentage points, over the same videos; in brackets, its 95 % "
            "interval (bootstrap over videos).",
            make_table(header, rows),
        )


if __name__ == "__main__":
    main()
