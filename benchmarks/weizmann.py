"""What motion is worth on Weizmann: streams rgb, difference and both, for the baseline and the LMU.

    python benchmarks/weizmann.py VIDEOS WEIGHTS [--store FOLDER]

``test`` trains on eight subjects and tests the ninth; the baseline is fitted to the same features. With ``--validate``,
``validation`` trains on seven subjects and looks at an eighth, never at the ninth: by this column streams are chosen.
Features are extracted once.
"""

import argparse
import json
import tempfile
from pathlib import Path

from table import ROOT, headline, make_table, run_seeds, show, write_section

from snn_action import pipeline
from snn_action.config import load_config

STREAMS = (["rgb"], ["difference"], ["rgb", "difference"])


def validate(config: str, overrides: list[str]) -> float:
    """Mean ``video`` accuracy on each fold's validation subject after the last epoch; test subjects stay closed."""
    settings = load_config(ROOT / "configs" / config, [*overrides, "training.validation_share=0.1"])
    folder = pipeline.train(settings)
    last = []
    for path in sorted(folder.glob("folds/*/metrics.jsonl")):
        last.append(json.loads(path.read_text().splitlines()[-1])["validation"]["video"])
    return sum(last) / len(last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("weights", type=Path, help="ImageNet weights of mobilenet_v2")
    parser.add_argument("--store", type=Path, help="feature store to keep; default: a temporary one")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--validate", action="store_true", help="also measure on validation subjects (twice the time)")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        common = [
            f"dataset.path={arguments.videos.resolve()}",
            f"backbone.weights={arguments.weights.resolve()}",
            f"save_dir={folder}",
            f"features.store={arguments.store or Path(folder) / 'store'}",
            "evaluation.test_curve=false",
        ]
        for streams in STREAMS:
            overrides = [*common, f"clip.streams={json.dumps(streams)}"]
            chosen = show([validate("weizmann_lmu.json", overrides)]) if arguments.validate else "-"
            runs = run_seeds("weizmann_lmu.json", overrides, arguments.seeds)
            baseline = show([headline(run, of="baseline") for run in runs])
            rows.append([" + ".join(streams), baseline, chosen, show([headline(run) for run in runs])])
    write_section(
        "Weizmann, streams",
        "`video` accuracy, mean over the nine folds that each leave one subject out; frozen `mobilenet_v2`, 28 "
        "frames a clip.",
        make_table(("streams", "frame_average, test %", "lmu, validation %", "lmu, test %"), rows),
    )


if __name__ == "__main__":
    main()
