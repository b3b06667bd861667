"""Are fewer frames enough? Mean steps of a clip that are looked at where a calibrated run ends clips early.

    python benchmarks/accuracy/early_stop.py NAME=CONFIG... [--models lmu ...] [--seeds 1] [-o key=value]

A configuration names a set and its store of features. Models have the settings of ``configs/`` for this kind of set,
without their training by gradients. The confidence at which a clip ends is chosen on held-out training groups, as
``evaluation.calibration`` does: the lowest that loses none of their videos. Test videos choose nothing.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import ROOT, make_table, show, write_section
from snn_action.config import Config, load_config
from snn_action.runs import pipeline

MODELS = ("mean_pool", "lmu", "spiking_lmu")


def configure(path: str, model: str, overrides: list[str], folder: str, seed: int) -> Config:
    """The set of a configuration, the model of ``configs/`` for this kind of set, its readout solved."""
    of_features = load_config(path, overrides).dataset.type == "features"
    name = f"{'ucf101_features' if of_features else 'weizmann'}_{model}.json"
    raw = json.loads((ROOT / "configs" / name).read_text(encoding="utf-8"))
    training = {"epochs": 0} if model != "mean_pool" else {}
    own = [f"model={json.dumps(raw['model'])}", f"training={json.dumps({'validation_share': 0, **training})}"]
    rest = [f"save_dir={folder}", f"seed={seed}", "evaluation.calibration=true", "evaluation.controls=false"]
    return load_config(path, [*own, *rest, *overrides])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=CONFIG")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for text in arguments.sets:
            name, _, path = text.partition("=")
            for model in arguments.models:
                runs = [
                    pipeline.run(configure(path, model, arguments.override, folder, seed)).metrics
                    for seed in range(arguments.seeds)
                ]
                stops = [run["early_stop"] for run in runs]
                looked, of = (statistics.mean(stop[key] for stop in stops) for key in ("steps", "of"))
                first = [step for stop in stops for step in stop["earliest"]]
                chosen = [confidence for stop in stops for confidence in stop["confidence"]]
                rows.append(
                    [
                        name,
                        f"`{model}`",
                        show([run["accuracy"]["video"] for run in runs]),
                        show([stop["accuracy"]["video"] for stop in stops]),
                        f"{looked:.1f} of {of:.0f}",
                        f"{100 * looked / of:.0f}",
                        f"{min(chosen):.2f} to {max(chosen):.2f}",
                        f"{min(first)} to {max(first)}",
                    ]
                )
                print(*rows[-1], file=sys.stderr, flush=True)
    write_section(
        "Fewer frames: clips that end early",
        "A clip is looked at until the mean probability of one class reaches a confidence, which is the lowest one "
        "that loses no video of held-out training groups, but not before the step from which on nine tenths of what is "
        "right in the end is right. What is not looked at costs nothing, in backbone and head. Video accuracy over all "
        "test videos of all folds; *steps*: means over test clips. Readouts are solved, nothing is trained by "
        f"gradients; {arguments.seeds} seed(s).",
        make_table(
            (
                "set",
                "model",
                "all frames, video %",
                "ended early, video %",
                "steps looked at",
                "%",
                "confidence",
                "not before",
            ),
            rows,
        ),
    )


if __name__ == "__main__":
    main()
