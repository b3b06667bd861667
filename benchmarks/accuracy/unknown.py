"""Are actions that were never shown told from those that were? Each class of a set is left out once as unknown.

    python benchmarks/accuracy/unknown.py CONFIG... [-o key=value] [--models lmu ...] [--classes 0] [--keep FOLDER]

A configuration names a set of videos and its store of features (``configs/weizmann_mean_pool.json`` with paths put
over it, say). For each class the model is trained on all others, calibrated on groups of training videos, and tested on
the test videos of all classes. Settings of a model are those of ``configs/weizmann_<model>.json``. Of several folds
each is done: a class' figures are over the test videos of all folds. With ``--keep`` what was found for a class stays
in a folder, under a name that tells code, configuration and class apart.
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.kept import keep_result
from benchmarks.lib.table import ROOT, make_table, write_section
from snn_action.config import Config, load_config
from snn_action.datasets.catalog import Fold, draw_validation
from snn_action.evaluation import predict_clips
from snn_action.evaluation.accuracy import average_clips
from snn_action.evaluation.rejection import SCORES, measure_auroc, score_videos
from snn_action.evaluation.reliability import measure_reliability
from snn_action.models import build_model
from snn_action.runs import pipeline
from snn_action.runs.calibration import calibrate_fold, take_classes
from snn_action.runs.data import Data
from snn_action.training import Sides, resolve_device, train_model

MODELS = ("mean_pool", "lmu", "spiking_lmu")
DRAWS = 10_000


def configure(path: str, model: str, overrides: list[str]) -> Config:
    """The set of a configuration, the model and training of ``configs/weizmann_<model>.json``."""
    raw = json.loads((ROOT / "configs" / f"weizmann_{model}.json").read_text(encoding="utf-8"))
    own = [
        f"model={json.dumps(raw['model'])}",
        f"training={json.dumps({'validation_share': 0, **raw.get('training', {})})}",
    ]
    return load_config(path, [*own, "evaluation.calibration=true", *overrides])


def without_class(data: Data, label: int, validation_share: float = 0) -> Data:
    """The same data as if the class had never been there, groups held out anew; its videos have label -1."""
    catalog = data.catalog
    folds = tuple(Fold(fold.name, fold.learned, fold.test) for fold in catalog.folds)
    rest = [other for other in range(len(catalog.class_names)) if other != label]
    data = take_classes(replace(data, catalog=replace(catalog, folds=folds)), rest)
    return replace(data, catalog=draw_validation(data.catalog, validation_share, 0.2, 0))


def test_class(config: Config, data: Data, label: int, folder: Path) -> dict[str, Any]:
    """What a model without one class says of all test videos, over all folds."""
    name, data = data.catalog.class_names[label], without_class(data, label)
    device = resolve_device(config.device).main
    scores: dict[str, list[Any]] = {score: [] for score in SCORES}
    labels, before, after, rejected, chosen = [], [], [], [], []
    for number, fold in enumerate(data.catalog.folds):
        model = build_model(config.model, data.features.dim, len(data.catalog.class_names), config.seed)
        own = folder / f"{label}-{number}"
        clips = data.features.clips_of
        train_model(model, data.features, Sides(clips(fold.train)), config, own, measure=lambda _: {})
        calibration = calibrate_fold(config, data, fold, model, own, progress=False)
        if isinstance(calibration, str):
            raise SystemExit(f"{name}: {calibration}")
        said = predict_clips(model, data.features, clips(fold.test), config.evaluation.batch_size, device)
        videos = average_clips(said)
        labels.append(videos.label)
        before.append(videos.probabilities)
        after.append(calibration.sharpen(videos.probabilities))
        rejected.append(calibration.rate(said) > calibration.threshold)
        chosen.append(calibration.score)
        for score in SCORES:
            scores[score].append((score_videos(said, score, calibration.temperature), videos.label))
    is_known = np.concatenate(labels) >= 0
    known = np.concatenate(labels)[is_known]

    def area(score: str) -> list[float]:
        """The AUROC in each fold that tests the class: scores of different models are not compared."""
        found = [(values[label >= 0], values[label < 0]) for values, label in scores[score]]
        return [measure_auroc(*pair) for pair in found if len(pair[1])]

    return {
        "class": name,
        "unknown": int((~is_known).sum()),
        "known": int(is_known.sum()),
        "auroc": {score: float(np.mean(area(score))) for score in SCORES},
        "chosen": {score: chosen.count(score) / len(chosen) for score in SCORES},
        "accuracy": float((np.concatenate(before).argmax(1)[is_known] == known).mean()),
        "ece": [measure_reliability(np.concatenate(one)[is_known], known).error for one in (before, after)],
        "noise": measure_reliability(np.concatenate(after)[is_known], known).noise,
        "refused": [float(np.concatenate(rejected)[side].mean()) for side in (is_known, ~is_known)],
    }


def _test_class(config: Config, data: Data, label: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return test_class(config, data, label, Path(folder))


def run_model(path: str, model: str, overrides: list[str], classes: int, keep: Path | None) -> list[dict[str, Any]]:
    """``test_class`` of the first ``classes`` classes, 0: all."""
    import torch

    torch.set_num_threads(1)
    config = configure(path, model, overrides)
    data = pipeline.load_data(config)
    found = []
    for label in range(classes or len(data.catalog.class_names)):
        found.append(keep_result(keep, partial(_test_class, config, data, label), config.to_json(), label))
        print(config.name, model, json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


def show_mean(values: list[float]) -> str:
    """Mean in per cent and the 95 % interval of a bootstrap over classes left out."""
    drawn = np.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{100 * np.mean(values):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", metavar="CONFIG")
    parser.add_argument("-o", "--override", action="append", default=[])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--classes", type=int, default=0, help="only so many are left out, for a trial; 0: all")
    parser.add_argument("--keep", type=Path, help="folder for what was found; default: it is not kept")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    arguments = parser.parse_args()
    header = ["model", "AUROC % energy", "AUROC % maximum softmax", "energy chosen %", "known refused %"]
    header += ["unknown refused %", "video %", "ECE % before", "ECE % after", "by chance %"]
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        for path in arguments.configs:
            runs = {
                model: pool.submit(run_model, path, model, arguments.override, arguments.classes, arguments.keep)
                for model in arguments.models
            }
            rows = []
            for model, future in runs.items():
                found = future.result()
                rows.append(
                    [
                        f"`{model}`",
                        show_mean([one["auroc"]["energy"] for one in found]),
                        show_mean([one["auroc"]["maximum_softmax"] for one in found]),
                        f"{100 * np.mean([one['chosen']['energy'] for one in found]):.0f}",
                        *(show_mean([one["refused"][side] for one in found]) for side in (0, 1)),
                        show_mean([one["accuracy"] for one in found]),
                        *(show_mean([one["ece"][side] for one in found]) for side in (0, 1)),
                        f"{100 * np.mean([one['noise'] for one in found]):.1f}",
                    ]
                )
            name = load_config(path, arguments.override).name
            write_section(
                f"Unknown actions: {name}",
                f"Each of {len(found)} classes is left out once and is then unknown; means over these, with the 95 % "
                "interval of a bootstrap over them. Known videos are the other classes' test videos, "
                f"{found[0]['known']} without {found[0]['class']}. Score, temperature and threshold (95 % of known "
                "videos are kept) are found on groups of training videos, as `evaluation.calibration` does. *By "
                "chance*: the calibration error of as many videos whose confidences were exactly right.",
                make_table(header, rows),
            )


if __name__ == "__main__":
    main()
