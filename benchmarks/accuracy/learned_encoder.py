"""What is an LMU worth on outputs of an encoder that knows its training videos, and does cross-fitting help it?

    python benchmarks/accuracy/learned_encoder.py CONFIG [--seeds 3] [--units 512] [--epochs 10] [--keep FOLDER]

An encoder head learns on frozen features of single frames of the training videos to name the action, as in
``leakage.py``. LMU and averaging are then fitted to its outputs for the same videos, and tested on a subject that
neither has seen. The encoders:

frozen         none: the features that the head gets
random         a layer of random weights that learns nothing
learned        the head
cross-fitted   each three training groups encoded by a head that learned from the others, from the same first weights;
               the other videos by the head that learned from all training groups
aligned        the same, and each of these heads mapped onto that one by least squares, on the videos that both know

and the settings of the LMU: those of the configuration (differences of frames, a short memory), levels in the place of
differences, and levels with a memory as long as the clip. In each fold two of the training groups are held out to
choose by; what is chosen is fitted to all training groups and tested once.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.accuracy.leakage import Clips, learn_head
from benchmarks.lib.paired import compare
from benchmarks.lib.table import make_table, show, write_section
from snn_action.config import Config, load_config
from snn_action.datasets.catalog import Catalog, Fold, split_validation
from snn_action.models import build_model
from snn_action.models.mean_pool import MeanPool
from snn_action.runs import pipeline

TITLE = "Outputs of an encoder that knows its training videos"
SHARE, HELD, TOGETHER, RIDGE = 0.25, 2, 3, 0.01
DIFFERENCES, LEVELS, LONG = "lmu, differences", "lmu, levels", "lmu, long memory"
FIXED, HELD_OUT = "averaging, one strength", "averaging"
EXPLAIN = [("frozen", DIFFERENCES), ("frozen", HELD_OUT), ("random", DIFFERENCES)]
CANDIDATES = [
    *(("learned", model) for model in (DIFFERENCES, LEVELS, LONG)),
    ("cross-fitted", LONG),
    *(("aligned", model) for model in (DIFFERENCES, LONG)),
]
AVERAGES = [("learned", HELD_OUT), ("learned", FIXED), ("cross-fitted", HELD_OUT), ("aligned", HELD_OUT)]
ORDER = ("frozen", "random", "learned", "cross-fitted", "aligned")
Case = tuple[str, str]


@dataclass(frozen=True)
class Work:
    """A set, its clips, and how heads learn on them."""

    config: Config
    catalog: Catalog
    clips: Clips
    units: tuple[int, ...]
    epochs: int


def read(config: Config, units: tuple[int, ...], epochs: int) -> Work:
    data = pipeline.load_data(config)
    features, mask = data.features.read(range(len(data.features)))
    videos = data.catalog.videos
    labels = np.array([video.label for video in videos])
    groups, names = np.array([video.group for video in videos]), np.array([video.name for video in videos])
    lengths, classes = mask.sum(1).numpy(), np.array(data.catalog.class_names)
    clips = Clips(features.numpy().astype(np.float32), lengths, labels, classes, names, groups, groups)
    return Work(config, data.catalog, clips, units, epochs)


def align(given: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """``given`` (V, T, D) mapped by ``x W + b`` as suits ``wanted`` best in the videos ``known``."""
    x, y = (outputs[known].reshape(-1, outputs.shape[-1]).astype(np.float64) for outputs in (given, wanted))
    mean_x, mean_y = x.mean(0), y.mean(0)
    square = (x - mean_x).T @ (x - mean_x)
    square += RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    weight = np.linalg.solve(square, (x - mean_x).T @ (y - mean_y))
    return ((given - mean_x) @ weight + mean_y).astype(np.float32)


def encode(work: Work, train: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """By encoder, what it gives of all videos, where ``train`` are those to learn from."""
    clips = work.clips
    rng = np.random.default_rng([seed, len(train), int(train[0])])
    layer = rng.standard_normal((clips.features.shape[2], work.units[-1])) / np.sqrt(clips.features.shape[2])
    learned = learn_head(clips, train, seed, work.units, work.epochs)
    crossed, aligned = learned.copy(), learned.copy()
    groups = rng.permutation(np.unique(clips.groups[train]))
    for begin in range(0, len(groups), TOGETHER):
        unseen = np.isin(clips.groups[train], groups[begin : begin + TOGETHER])
        apart, others = train[unseen], train[~unseen]
        outputs = learn_head(clips, others, seed, work.units, work.epochs)
        crossed[apart] = outputs[apart]
        aligned[apart] = align(outputs, learned, others)[apart]
    return {
        "frozen": clips.features,
        "random": (clips.features @ layer).astype(np.float32),
        "learned": learned,
        "cross-fitted": crossed,
        "aligned": aligned,
    }


def measure_movement(outputs: np.ndarray, videos: np.ndarray) -> float:
    """Share of the variance that lies within clips."""
    some = outputs[videos].astype(np.float64)
    within = ((some - some.mean(1, keepdims=True)) ** 2).sum()
    return float(within / ((some - some.mean((0, 1))) ** 2).sum())


def name_classes(
    work: Work, model: str, outputs: np.ndarray, train: np.ndarray, held: np.ndarray, test: np.ndarray, seed: int
) -> list[bool]:
    """Whether each of ``test`` is named rightly after a fit to ``train``; ``held`` of them choose a penalty."""
    x, y = torch.from_numpy(outputs), torch.from_numpy(work.clips.labels)
    steps, size = x.shape[1:]
    real = torch.arange(steps) < torch.from_numpy(work.clips.lengths)[:, None]
    rest = train[~np.isin(train, held)]
    if model in (FIXED, HELD_OUT):
        fitted: Any = build_model({"type": "mean_pool"}, size, len(work.clips.class_names), seed)
        assert isinstance(fitted, MeanPool)
        if model == FIXED:
            fitted.fit(x[train], real[train], y[train])
        else:
            fitted.fit(x[rest], real[rest], y[rest], (x[held], real[held], y[held]))
    else:
        given: dict[str, Any] = json.loads(work.config.to_json())["model"]
        given |= {} if model == DIFFERENCES else {"differences": 0}
        given |= {"order": 6, "theta": float(steps)} if model == LONG else {}
        given |= {"memory_d": size, "units": 2 * given["order"] * size}  # each coefficient on and off
        fitted = build_model(given, size, len(work.clips.class_names), seed)
        fitted.prepare(x[train], real[train], y[train])
    fitted.eval()
    with torch.no_grad():
        logits, _ = fitted(x[test], None, real[test])
    shares = (torch.softmax(logits, -1) * real[test].unsqueeze(-1)).sum(1)
    return (shares.argmax(1) == y[test]).tolist()


def test_fold(work: Work, fold: Fold, seed: int) -> dict[str, Any]:
    """By case what held-out groups and the test say, and how much moves."""
    train, validation = (np.array(side) for side in split_validation(work.catalog, fold, SHARE, seed))
    every, test = np.array(sorted(fold.train)), np.array(fold.test)
    groups = work.clips.groups[train]
    held = train[np.isin(groups, np.random.default_rng([seed, test[0]]).permutation(np.unique(groups))[:HELD])]
    result: dict[str, Any] = {"validation": {}, "test": {}, "movement": {}, "names": work.clips.names[test].tolist()}
    outputs = encode(work, train, seed)
    for encoder, model in (*CANDIDATES, *AVERAGES):
        right = name_classes(work, model, outputs[encoder], train, held, validation, seed)
        result["validation"][f"{encoder}: {model}"] = right
    outputs = encode(work, every, seed)
    for encoder, model in (*EXPLAIN, *CANDIDATES, *AVERAGES):
        right = name_classes(work, model, outputs[encoder], every, validation, test, seed)
        result["test"][f"{encoder}: {model}"] = right
    for encoder, found in outputs.items():
        result["movement"][encoder] = [measure_movement(found, side) for side in (every, test)]
    return result


def test_all(work: Work, seeds: int, keep: Path | None) -> Iterator[list[dict[str, Any]]]:
    """By fold the results of each seed; kept ones are read."""
    for fold in work.catalog.folds:
        results = []
        for seed in range(seeds):
            path = keep and keep / f"{'-'.join(map(str, work.units))}_{work.epochs}_{fold.name}_{seed}.json"
            if path and path.exists():
                results.append(json.loads(path.read_text(encoding="utf-8")))
                continue
            results.append(test_fold(work, fold, seed))
            if path:
                path.write_text(json.dumps(results[-1]), encoding="utf-8")
            print(f"fold {fold.name}, seed {seed}", file=sys.stderr, flush=True)
        yield results


def choose(fold: list[dict[str, Any]], among: list[Case]) -> str:
    """The case that is right most often in a fold's held-out groups, over seeds; of equals the first."""
    names = [f"{encoder}: {model}" for encoder, model in among]
    return max(names, key=lambda name: sum(sum(result["validation"][name]) for result in fold))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a set and its frozen features; the LMU is its model")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--units", type=int, nargs="+", default=[512], help="layers of the head")
    parser.add_argument("--epochs", type=int, default=10, help="of the head")
    parser.add_argument("--keep", type=Path, help="folder for results of each fold and seed, to go on")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    work = read(load_config(arguments.config, arguments.override), tuple(arguments.units), arguments.epochs)
    folds = list(test_all(work, arguments.seeds, arguments.keep))
    write_section(*describe(work, folds))


def describe(work: Work, folds: list[list[dict[str, Any]]]) -> tuple[str, str, str]:
    """Title, text and table."""
    seeds = range(len(folds[0]))

    def line_up(side: str, names: list[str]) -> list[np.ndarray]:
        """By seed whether each video was right, with the case named for each fold."""
        pairs = list(zip(folds, names, strict=True))
        return [np.concatenate([np.array(fold[seed][side][name], float) for fold, name in pairs]) for seed in seeds]

    def make_row(title: str, names: list[str], movement: str = "") -> list[str]:
        validation = ""  # of what was chosen by it, it says too much
        if movement and names[0] in folds[0][0]["validation"]:
            validation = show([float(right.mean()) for right in line_up("validation", names)])
        right = line_up("test", names)
        gain = "" if names == reference else compare(right, plain)
        return [title, validation, show([float(one.mean()) for one in right]), gain, movement]

    def show_movement(encoder: str) -> str:
        sides = np.mean([result["movement"][encoder] for fold in folds for result in fold], 0)
        return " / ".join(f"{100 * side:.0f}" for side in sides)

    reference = [choose(fold, AVERAGES[:2]) for fold in folds]
    plain = line_up("test", reference)
    rows = []
    for encoder, model in sorted((*EXPLAIN, *CANDIDATES, *AVERAGES), key=lambda case: ORDER.index(case[0])):
        rows.append(make_row(f"{encoder}: {model}", [f"{encoder}: {model}"] * len(folds), show_movement(encoder)))
    rows.append(make_row("learned: averaging as chosen", reference))
    rows.append(make_row("**learned: lmu as chosen**", [choose(fold, CANDIDATES[:3]) for fold in folds]))
    rows.append(make_row("lmu and encoder as chosen", [choose(fold, CANDIDATES) for fold in folds]))
    text = (
        f"`{work.config.dataset.type}`, `{work.config.backbone.name}`, {work.config.clip.frames} frames, streams "
        f"{', '.join(work.config.clip.streams)}; {len(plain[0])} test videos, {len(folds)} folds. Encoder: layers "
        f"of {', '.join(map(str, work.units))} units that learned for {work.epochs} epochs from single frames of the "
        "training videos. *Frozen*: the features that it gets. *Random*: a layer that learns nothing. *Cross-fitted*: "
        f"training videos are encoded by heads that have not seen them, {TOGETHER} groups at a time. *Aligned*: and "
        "these heads are mapped onto the one that knows all training videos. The LMU is that of the configuration "
        "(*differences*), with `differences: 0` (*levels*), and also with `order: 6` and `theta: "
        f"{work.clips.features.shape[1]}` (*long memory*). *Averaging*: `mean_pool`, its penalty by held-out training "
        "groups, or at *one strength*. *Validation*: on two training groups of each fold, held out from encoder and "
        "model. *As chosen*: in each fold by its validation. *To averaging*: points on the test beyond *averaging as "
        f"chosen*, with the 95 % interval over videos. Seeds: {len(seeds)}; a cell is the mean ± the standard "
        "deviation over them. *Movement*: share of the variance of the outputs within clips, training / test, "
        "in per cent."
    )
    header = ("encoder: model", "validation %", "test %", "to averaging, points", "movement, %")
    return f"{TITLE}: {work.config.name}", text, make_table(header, rows)


if __name__ == "__main__":
    main()
