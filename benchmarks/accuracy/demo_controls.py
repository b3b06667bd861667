"""Does the demo tell its pairs apart by time? The same weights on frames in order, shuffled, and on the first alone.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/demo_controls.py [--seeds 3] [--persons 16] [--jobs 1] [--folder F]

For each seed, ``configs/config.json`` runs on videos of that seed. Then its weights are tested on its own test videos
and on those of ``--persons`` further persons, of another seed of the generator. Frames reach the model as features of
one frame each, so features in another order are those of frames in another order.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from torch import Tensor

from benchmarks.lib.table import ROOT, make_table, show, write_section
from snn_action.config import load_config
from snn_action.evaluation import predict_clips
from snn_action.evaluation.accuracy import average_steps
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.models import build_model
from snn_action.runs import pipeline
from snn_action.training.checkpoints import load_weights

FURTHER = 1000  # added to a seed: that of the further persons
ORDER, FIRST_STEP = "frames in order", "after the first frame"
REPEATED, SHUFFLED = "first frame repeated", "frames in random order"
CASES = (ORDER, FIRST_STEP, REPEATED, SHUFFLED)
Outcome = dict[str, dict[str, np.ndarray]]  # case, "all" or pair: 1 right, 0 wrong, a half where both are as likely


def run_demo(folder: Path, persons: int, seed: int) -> tuple[float, list[tuple[str, str]], Outcome]:
    """Train the demo, test it: its `video` accuracy, the pairs, and how each test clip went in each case."""
    common = [f"seed={seed}", f"features.store={folder / f'store_{seed}'}", f"save_dir={folder / 'save'}"]
    common += [f"dataset.path={folder / f'videos_{seed}'}", f"dataset.seed={seed}"]
    other = [
        f"dataset.path={folder / f'further_{seed}'}",
        f"dataset.seed={FURTHER + seed}",
        f"dataset.groups={persons}",
    ]
    config, further = (load_config(ROOT / "configs" / "config.json", common + more) for more in ([], other))
    result = pipeline.run(config, run_id=f"seed_{seed}")
    own, strangers = pipeline.load_data(config), pipeline.load_data(further)
    tested = [own.features.clips_of(own.catalog.folds[0].test), range(len(strangers.features))]
    parts = [(data.features, clips) for data, clips in zip((own, strangers), tested, strict=True)]
    features = torch.cat([part.read(list(clips))[0] for part, clips in parts])
    labels = np.concatenate([part.label[list(clips)] for part, clips in parts])
    names = own.catalog.class_names
    model = build_model(config.model, features.shape[-1], len(names), config.seed)
    load_weights(model, result.folder / "checkpoints" / "best.ckpt")
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.stack([clip[torch.randperm(len(clip), generator=generator)] for clip in features])
    said = {
        ORDER: predict_clips(model, gather(features, labels), range(len(labels)), 100),
        REPEATED: predict_clips(model, gather(features[:, :1].expand_as(features), labels), range(len(labels)), 100),
        SHUFFLED: predict_clips(model, gather(shuffled, labels), range(len(labels)), 100),
    }
    shares = {case: average_steps(predictions) for case, predictions in said.items()}
    shares[FIRST_STEP] = average_steps(said[ORDER], 1)
    outcome: Outcome = {case: {"all": (share.argmax(1) == labels) * 1.0} for case, share in shares.items()}
    for pair in own.catalog.pairs:
        one, two = (names.index(name) for name in pair)
        for case, share in shares.items():
            lead = np.where(labels == one, share[:, one] - share[:, two], share[:, two] - share[:, one])
            outcome[case][name_pair(pair)] = (np.sign(lead[np.isin(labels, (one, two))]) + 1) / 2
    return float(result.metrics["accuracy"]["video"]), list(own.catalog.pairs), outcome


def gather(features: Tensor, labels: np.ndarray) -> FeatureSet:
    """Features (C, T, D) in memory as a set of clips."""
    clips, steps, dim = features.shape
    every = np.arange(clips)
    rows = StreamRows((features.reshape(clips * steps, dim).contiguous(),), 0 * every, every * steps)
    return FeatureSet(every, labels, np.full(clips, steps), (rows,))


def name_pair(pair: Sequence[str]) -> str:
    """How a pair is called in the table."""
    return " / ".join(pair)


def interval(right: np.ndarray) -> str:
    """Share that is right, in per cent, with Wilson's 95 % interval."""
    n, share, z = len(right), float(right.mean()), 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return f"{100 * share:.1f} [{100 * (middle - half):.1f}, {100 * (middle + half):.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--persons", type=int, default=16, help="further persons, 2 clips an action")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    parser.add_argument("--folder", type=Path, help="for videos, features and runs; default: a temporary one")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool,
    ):
        one_run = partial(run_demo, (arguments.folder or Path(temporary)).resolve(), arguments.persons)
        accuracies, (pairs, *_), outcomes = zip(*pool.map(one_run, range(arguments.seeds)), strict=True)
    columns = ["all", *map(name_pair, pairs)]
    joined = {
        case: [np.concatenate([found[case][column] for found in outcomes]) for column in columns] for case in CASES
    }
    write_section(
        "Controls of the demo",
        f"Does the demo use the order of frames? Among its twelve classes are {len(pairs)} pairs. The two classes of "
        "a pair show the same frames in different order, and the same frame first. So a model that sees one frame "
        "must be at chance within a pair. The spiking LMU of `configs/config.json` is trained on generated videos, "
        f"once for each of {arguments.seeds} seeds; its `video` accuracy on its own test videos is {show(accuracies)} "
        f"%. The same weights are then tested on these videos and on those of {arguments.persons} further persons a "
        f"seed, together {len(joined[ORDER][0])} videos, {len(joined[ORDER][1])} of each pair. A line says what the "
        "model gets: all frames in order, only the first frame, the first frame repeated, or the frames in random "
        "order. *All*: the accuracy over all twelve classes, in %. The column of a pair: the share of its videos for "
        "which the model prefers the right one of the two classes, in % (chance: 50). In brackets: Wilson's 95 % "
        "interval.",
        make_table(["", *columns], [[case, *map(interval, joined[case])] for case in CASES]),
    )


if __name__ == "__main__":
    main()
