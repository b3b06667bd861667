"""What more clips of each video give: every way to vary training clips, beside the clips as they are.

    python benchmarks/accuracy/augment.py NAME=CONFIG... [--seeds 3] [--inner 4] [--held 2] [--cases ...] [--validate]
        [--keep FOLDER] [--left-right CLASS ...] [-o key=value]

A case is chosen by its validation: the training videos of each fold are dealt to ``--inner`` folds of whole groups, and
on ``--held`` of these a model is tested that has learned from all the others. Then, unless ``--validate`` is given,
each case is trained on all training videos and tested once; where a split shares groups between both sides, the test
videos of groups that have no training video stand in a column of their own. A configuration names its store of features
(``-o features.store=FOLDER``), where changed frames and all frames are extracted once. With ``--keep`` results stay in
a folder: started again, the script goes on where it was cut.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.kept import keep_result
from benchmarks.lib.paired import compare
from benchmarks.lib.table import ROOT, make_table, show, write_section
from snn_action.config import Config, load_config
from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Fold
from snn_action.runs import pipeline
from snn_action.runs.data import Data
from snn_action.runs.tuning.candidates import GIVEN, JOINED, Candidate
from snn_action.runs.tuning.validation import Validation, divide
from snn_action.training import check_augment

Right = dict[int, float]  # by video, over folds

PLAIN = "as they are"
CHANGED = {"versions": 3, "flip": True}
ALIKE = {"versions": 3, "crop": 0.0, "color": 0.0}  # of which one change is switched on
CASES: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "jitter 0.5": {"jitter": 0.5},
    "drop 0.2": {"drop": 0.2},
    "speed 0.5 to 2": {"speed": [0.5, 2.0]},
    "noise 0.3": {"noise": 0.3},
    "mixup 0.2": {"mixup": 0.2},
    "jitter, drop, speed, noise": {"jitter": 0.5, "drop": 0.2, "speed": [0.5, 2.0], "noise": 0.3},
    "streams mixed 0.5": {"mix_streams": 0.5},
    "frames drawn anew": {"redraw": True},
    "frames drawn anew, speed 0.5 to 2": {"redraw": True, "speed": [0.5, 2.0]},
    "changed frames": {"frames": CHANGED},
    "cropped frames": {"frames": {**ALIKE, "crop": 0.2}},
    "flipped frames": {"frames": {**ALIKE, "flip": True}},
    "frames of other colors": {"frames": {**ALIKE, "color": 0.2}},
    "blurred frames": {"frames": {**ALIKE, "blur": 0.03}},
    "changed frames, drawn anew": {"frames": CHANGED, "redraw": True},
}
SEGMENTS = "3 clips of segments"  # changes the test, too


@cache
def load(path: str, overrides: tuple[str, ...]) -> Data:
    """The features of a case; a store has them after the first time."""
    return pipeline.load_data(load_config(path, overrides), guard=True)


def choose_overrides(case: str, copies: int, left_right: Sequence[str] = ()) -> list[str]:
    """What a case changes of the configuration; frames of ``left_right`` classes are not flipped."""
    if case == SEGMENTS:
        return ["clip.sampling=segments", "clip.clips=3"]
    changes = dict(CASES[case])
    if left_right and "frames" in changes:
        changes["frames"] = {**changes["frames"], "left_right": [*left_right]}
    return [f"training.augment={json.dumps({'copies': copies, **changes})}"]


def test(path: str, overrides: Sequence[str], seed: int, inner: tuple[int, int] | None) -> tuple[Right, float]:
    """What a case gets right, of held-out training videos or of test videos, and its seconds of training and test.

    Raises:
        ConfigError: the case does not reach the model.
    """
    config = load_config(path, [*overrides, f"seed={seed}", "evaluation.leakage=mark"])
    check_augment(config)
    drawn = config.training.augment
    needs = drawn.redraw or drawn.frames.versions or config.clip.sampling == "segments"
    data = load(path, tuple(o for o in overrides if needs or not o.startswith("training.augment")))
    found: dict[int, list[float]] = {}
    seconds = 0.0
    for fold in data.catalog.folds:
        sides: Sequence[Fold] = [Fold(fold.name, fold.learned, fold.test)]
        if inner is not None:
            sides = divide(data.catalog, fold, inner[0], 0)[: inner[1]]
        for score in Validation(config, data, sides).test(_as_candidate(config, data)):
            seconds += score.seconds
            for video, right in zip(score.videos.tolist(), score.right.tolist(), strict=True):
                found.setdefault(video, []).append(float(right))
    return {video: float(np.mean(right)) for video, right in found.items()}, seconds


def _as_candidate(config: Config, data: Data) -> Candidate:
    raw = json.loads(config.to_json())
    return Candidate(raw["model"], GIVEN if data.backbone is None else JOINED, raw["training"])


def line_up(runs: Sequence[tuple[Right, float]]) -> list[npt.NDArray[np.float64]]:
    """By seed, the results in the order of videos."""
    return [np.array([right[video] for video in sorted(right)]) for right, _ in runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=CONFIG")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--inner", type=int, default=4, help="folds that training videos are dealt to")
    parser.add_argument("--held", type=int, default=2, help="of these, folds that are held out in turn")
    parser.add_argument("--copies", type=int, default=1, help="of each clip, for what is solved at once")
    parser.add_argument("--cases", nargs="+", choices=[*CASES, SEGMENTS], default=[*CASES])
    parser.add_argument("--validate", action="store_true", help="leave the test closed")
    parser.add_argument("--left-right", nargs="+", default=[], help="classes whose frames are not flipped")
    parser.add_argument("--keep", type=Path, help="folder for results; default: they are not kept")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    sides: list[tuple[int, int] | None] = [(arguments.inner, arguments.held)]
    sides += [] if arguments.validate else [None]
    for text in arguments.sets:
        name, _, path = text.partition("=")
        path = path if Path(path).exists() else str(ROOT / "configs" / path)
        found: dict[tuple[str, Any], list[tuple[Right, float]]] = {}
        cases = [PLAIN, *(case for case in arguments.cases if case != PLAIN)]
        for side in sides:  # validation of all cases first
            for case in list(cases):
                overrides = [*arguments.override, *choose_overrides(case, arguments.copies, arguments.left_right)]
                try:
                    questions = [(path, overrides, seed, side) for seed in range(arguments.seeds)]
                    runs = [keep_result(arguments.keep, partial(test, *one), one) for one in questions]
                except ConfigError as error:
                    print(f"{name}: no {case}: {error}", file=sys.stderr, flush=True)
                    cases.remove(case)
                    continue
                found[case, side] = runs
                shown = show([float(right.mean()) for right in line_up(runs)])
                print(name, case, "test" if side is None else "validation", shown, file=sys.stderr, flush=True)
        report(name, path, cases, sides, found, arguments)


def find_apart(config: Config) -> list[int]:
    """Test videos whose group has no training video, where others share theirs; none where no group is shared."""
    catalog = config.dataset.build(config.seed)
    apart, shared = [], []
    for fold in catalog.folds:
        known = {catalog.videos[video].group for video in fold.learned}
        for video in fold.test:
            (shared if catalog.videos[video].group in known else apart).append(video)
    return apart if shared else []


def report(
    name: str,
    path: str,
    cases: Sequence[str],
    sides: Sequence[Any],
    found: dict[tuple[str, Any], list[tuple[Right, float]]],
    arguments: argparse.Namespace,
) -> None:
    """Write the section of a set."""
    config = load_config(path, arguments.override)
    apart = [] if arguments.validate else find_apart(config)
    rows = []
    for case in cases:
        row = [case]
        for side in sides:
            own, plain = line_up(found[case, side]), line_up(found[PLAIN, side])
            row += [show([float(right.mean()) for right in own]), "" if case == PLAIN else compare(own, plain)]
        if apart:
            row.append(show([float(np.mean([right[video] for video in apart])) for right, _ in found[case, None]]))
        row.append(f"{np.mean([seconds for _, seconds in found[case, sides[-1]]]):.0f}")
        rows.append(row)
    header = ["training clips", "validation %", "to plain, points", "test %", "to plain, points"]
    header = [*header[: 1 + 2 * len(sides)], *(["groups apart %"] if apart else []), "seconds"]
    model = config.model.model_dump()["type"]
    validated = len(next(iter(found.values()))[0][0])
    tested = "" if arguments.validate else f"; test: {len(found[PLAIN, None][0][0])} videos"
    tested += f", {len(apart)} of groups without a training video (*groups apart*)" if apart else ""
    write_section(
        f"More from each video: {name}, {model}",
        f"`video` accuracy of `{Path(path).stem}` by how its training clips are varied (`training.augment`; copies: "
        f"{arguments.copies}). Validation: {validated} training videos, each by a model that has not learned its group "
        f"({arguments.held} of {arguments.inner} inner folds of each fold){tested}; {arguments.seeds} seeds, mean ± "
        "standard deviation. *To plain*: the difference to clips as they are in percentage points, over the same "
        "videos; in brackets, its 95 % interval (bootstrap over videos). *Seconds*: of training and test, all folds of "
        "one seed.",
        make_table(header, rows),
    )


if __name__ == "__main__":
    main()
