"""Are actions that were never shown told from those that were, within streams? Some classes are left out once each.

    python benchmarks/accuracy/unknown_segments.py CONFIG [-o key=value] [--classes 3]

A configuration names a set of videos, its store of features and a model. For each of some classes the model is trained
on all others and calibrated on groups of training videos. The test videos of all classes are joined in random order,
a stream of them begins anywhere in its first video, and segments are judged. Thresholds and temperatures never see a
test video: beside those found on streams stand those of whole videos, to show whether they carry over.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.accuracy.unknown import show_mean, without_class
from benchmarks.lib.table import make_table, write_section
from snn_action.config import Config, load_config
from snn_action.datasets.catalog import Fold
from snn_action.evaluation import measure_loss, predict_clips
from snn_action.evaluation.calibration import Calibration
from snn_action.evaluation.rejection import SCORES, measure_auroc
from snn_action.evaluation.reliability import measure_reliability
from snn_action.evaluation.segment_calibration import SegmentCalibration, SegmentJudge, measure_steps, rate_stretch
from snn_action.evaluation.segments import Segment, SegmentMatch, find_segments, match_segments
from snn_action.evaluation.staggered import Said, StaggeredRows
from snn_action.evaluation.stretches import Stretch, StretchFinder, choose_cost
from snn_action.evaluation.temperature import apply_temperature
from snn_action.features.streaming import Views, embed_stream
from snn_action.models import TemporalModel, build_model
from snn_action.runs import pipeline
from snn_action.runs.calibration import calibrate_fold
from snn_action.runs.data import Data
from snn_action.runs.streaming import ROWS
from snn_action.runs.timing import measure_timing
from snn_action.training import Sides, resolve_device, train_model
from snn_action.video.decode import count_frames, open_video, read_frames
from snn_action.video.live import number_frames

JOINED = 12  # videos of a stream
UNKNOWN = "unknown"
KINDS = ("streams, 95 %", "streams, 80 %", "whole videos, 95 %")


@dataclass(frozen=True)
class Joined:
    """A stream of test videos: features (T, D) of its steps, and the video of each step (T,)."""

    features: torch.Tensor
    video: list[int]


def join_videos(config: Config, data: Data, fold: Fold) -> list[Joined]:
    """Streams of a fold's test videos, each in one of them."""
    videos, streams = list(fold.test), []
    draw = random.Random(0)
    draw.shuffle(videos)
    timing = measure_timing(data.catalog, config)
    assert timing is not None
    assert data.backbone is not None
    for start in range(0, len(videos), JOINED):
        images, owner, rate = [], [], None
        for place, index in enumerate(videos[start : start + JOINED]):
            path = data.catalog.videos[index].path
            assert path is not None
            source, count = open_video(path), count_frames(path)
            rate = (source.n_frames - 1) / source.timeline.seconds
            images.append(read_frames(path, range(draw.randint(0, count // 2) if place == 0 else 0, count)))
            owner += [index] * len(images[-1])
        views = Views(config.clip.streams, config.clip.difference_span, timing.choose_every(rate))
        device = resolve_device(config.device).main
        parts = embed_stream(number_frames(np.concatenate(images), rate), views, config, data.backbone, device, 14)
        done = [*parts]
        steps = [owner[frame.index] for part in done for frame in part.frames]
        streams.append(Joined(torch.cat([part.features for part in done]), steps))
    return streams


def find_truth(labels: Sequence[int], names: Sequence[str]) -> list[Segment]:
    """What is true of a stream, -1 being unknown; times are steps."""
    ends = [step for step in range(1, len(labels)) if labels[step] != labels[step - 1]]
    borders = [0, *ends, len(labels)]
    return [Segment(names[labels[a]] if labels[a] >= 0 else UNKNOWN, a, b, 1.0) for a, b in itertools.pairwise(borders)]


def tell(said: Said, judge: SegmentJudge | None, names: Sequence[str], frames: int) -> list[Segment]:
    """Segments of a stream, unknown ones by that name."""
    energies = None if judge is None else judge.measure(said)
    found = find_segments(names, range(len(said.shares)), said.mean, choose_cost(frames), energies, judge)
    return [Segment(UNKNOWN if one.is_unknown else one.name, one.start, one.end, one.confidence) for one in found]


def find_scored(said: Said, frames: int, temperature: float) -> list[tuple[Stretch, dict[str, float]]]:
    """Stretches of a stream with each score; times are steps."""
    scored = {}
    for score in SCORES:
        energies = measure_steps(said, score, temperature)
        finder, found = StretchFinder(choose_cost(frames)), list[Stretch]()
        for step, (now, energy) in enumerate(zip(said.mean, energies, strict=True)):
            found += finder.add(step, now, float(energy))
        found += finder.end()
        scored[score] = [(one, rate_stretch(one, score, temperature)) for one in found]
    first = scored[SCORES[0]]
    return [(one, {score: scored[score][place][1] for score in SCORES}) for place, (one, _) in enumerate(first)]


def make_judges(calibration: Calibration, names: Sequence[str]) -> dict[str, SegmentJudge]:
    """What is compared, by ``KINDS``."""
    assert calibration.segments is not None
    of_videos = SegmentCalibration(calibration.temperature, calibration.known_scores)
    chosen = ((calibration.segments, 0.95), (calibration.segments, 0.8), (of_videos, 0.95))
    judges = [SegmentJudge(names, fitted, calibration.score, share, None) for fitted, share in chosen]
    return dict(zip(KINDS, judges, strict=True))


def judge_streams(
    model: TemporalModel, calibration: Calibration, data: Data, streams: Sequence[Joined], frames: int
) -> dict[str, Any]:
    """What is said of the streams, by what is true of them."""
    names, device = data.catalog.class_names, model.standardizer.mean.device
    judges = make_judges(calibration, names)
    assert calibration.segments is not None
    scores: list[tuple[int, dict[str, float]]] = []
    shares: list[Any] = []
    refused: dict[str, list[tuple[int, bool]]] = {kind: [] for kind in KINDS}
    seconds: dict[str, list[tuple[int, bool]]] = {kind: [] for kind in KINDS}
    matches = {kind: SegmentMatch(0, 0, 0) for kind in (*KINDS, "none")}
    for stream in streams:
        labels = [data.catalog.videos[index].label for index in stream.video]
        truth = find_truth(labels, names)
        with torch.inference_mode():
            said = StaggeredRows(model, frames, ROWS).advance(stream.features.to(device))
        for stretch, found in find_scored(said, frames, calibration.segments.temperature):
            within = labels[int(stretch.start) : int(stretch.start) + stretch.steps]
            label = max(set(within), key=within.count)
            scores.append((label, found))
            shares.append(stretch.evidence / stretch.steps)
        matches["none"] += match_segments(tell(said, None, names, frames), truth)
        for kind, judge in judges.items():
            told = tell(said, judge, names, frames)
            matches[kind] += match_segments(told, truth)
            for one in told:
                steps = range(round(one.start), round(one.end))
                seconds[kind] += [(labels[step], one.name == UNKNOWN) for step in steps]
            for stretch, found in find_scored(said, frames, judge.temperature):
                within = labels[int(stretch.start) : int(stretch.start) + stretch.steps]
                label = max(set(within), key=within.count)
                refused[kind].append((label, found[judge.score] > judge.threshold))
    known = [place for place, (label, _) in enumerate(scores) if label >= 0]
    evidence, truths = np.array(shares)[known], np.array([scores[place][0] for place in known])
    after = apply_temperature(evidence, calibration.segments.temperature)
    return {
        "scores": scores,
        "refused": refused,
        "seconds": seconds,
        "matches": matches,
        "ece": [measure_reliability(one, truths).error for one in (evidence, after)],
    }


def test_class(config: Config, data: Data, label: int, joined: Sequence[Sequence[Joined]]) -> dict[str, Any]:
    """What models without one class say of streams, over all folds."""
    name, data = data.catalog.class_names[label], without_class(data, label, config.training.validation_share)
    found = []
    for fold, streams in zip(data.catalog.folds, joined, strict=True):
        if not any(data.catalog.videos[index].label < 0 for index in fold.test):
            continue
        model = build_model(config.model, data.features.dim, len(data.catalog.class_names), config.seed)
        sides = Sides(data.features.clips_of(fold.train), data.features.clips_of(fold.validation))
        batch, device = config.evaluation.batch_size, resolve_device(config.device).main

        def measure(
            clips: Sequence[int],
            model: TemporalModel = model,
            batch: int = batch,
            device: torch.device = device,
        ) -> dict[str, float]:
            return measure_loss(predict_clips(model, data.features, clips, batch, device))

        with tempfile.TemporaryDirectory() as folder:
            train_model(model, data.features, sides, config, Path(folder), measure=measure)
            calibration = calibrate_fold(config, data, fold, model, Path(folder), progress=False)
        if isinstance(calibration, str):
            raise SystemExit(f"{name}: {calibration}")
        model.eval().to(device)
        found.append(judge_streams(model, calibration, data, streams, config.clip.frames))
        found[-1]["score"] = calibration.score
    return summarize(name, found)


def summarize(name: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One class' figures: scores of different models are not compared, all else is counted over all folds."""

    def area(score: str) -> float:
        areas = []
        for one in found:
            known, unknown = (
                np.array([values[score] for label, values in one["scores"] if (label < 0) == side])
                for side in (False, True)
            )
            if len(known) and len(unknown):
                areas.append(measure_auroc(known, unknown))
        return float(np.mean(areas))

    def share(what: str, kind: str, side: bool) -> float:
        return float(np.mean([told for one in found for label, told in one[what][kind] if (label < 0) == side]))

    def f1(kind: str) -> float:
        return sum((one["matches"][kind] for one in found), SegmentMatch(0, 0, 0)).f1

    return {
        "class": name,
        "segments": [sum((label < 0) == side for one in found for label, _ in one["scores"]) for side in (False, True)],
        "auroc": {score: area(score) for score in SCORES},
        "chosen": [one["score"] for one in found],
        "refused": {kind: [share("refused", kind, side) for side in (False, True)] for kind in KINDS},
        "seconds": {kind: [share("seconds", kind, side) for side in (False, True)] for kind in KINDS},
        "f1": {kind: f1(kind) for kind in (*KINDS, "none")},
        "ece": np.mean([one["ece"] for one in found], axis=0).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("-o", "--override", action="append", default=[])
    parser.add_argument("--classes", type=int, default=3, help="so many are left out, spread over all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(arguments.config, arguments.override)
    data = pipeline.load_data(config)
    count = len(data.catalog.class_names)
    joined = [join_videos(config, data, fold) for fold in data.catalog.folds]
    found = []
    for place in range(min(arguments.classes, count)):
        label = place * count // min(arguments.classes, count)
        found.append(test_class(config, data, label, joined))
        print(config.name, json.dumps(found[-1]), file=sys.stderr, flush=True)
    header = ["threshold and temperature of", "known refused %", "unknown refused %", "known s called unknown %"]
    header += ["unknown s called unknown %", "F1 without", "F1 with"]
    rows = [
        [
            kind,
            *(show_mean([one["refused"][kind][side] for one in found]) for side in (0, 1)),
            *(show_mean([one["seconds"][kind][side] for one in found]) for side in (0, 1)),
            f"{np.mean([one['f1']['none'] for one in found]):.3f}",
            f"{np.mean([one['f1'][kind] for one in found]):.3f}",
        ]
        for kind in KINDS
    ]
    areas = {score: show_mean([one["auroc"][score] for one in found]) for score in SCORES}
    known, unknown = (sum(one["segments"][side] for one in found) for side in (0, 1))
    chosen = [score for one in found for score in one["chosen"]]
    before, after = (show_mean([one["ece"][side] for one in found]) for side in (0, 1))
    write_section(
        f"Unknown actions in streams: {config.name}",
        f"{', '.join(one['class'] for one in found)} ({len(found)} of {count} classes) are left out once each; means "
        "over these, with the 95 % interval of a bootstrap over them. Test videos of all classes are joined in random "
        f"order, {JOINED} to a stream, and read as `predict` reads streams; {known} segments found are mostly of known "
        f"actions and {unknown} of the unknown one. Temperature and threshold are found on groups of training videos, "
        "once on streams joined from their clips (95 % or 80 % of their segments are kept), once on whole videos. F1 "
        "at an overlap of 0.5 counts stretches of the unknown action as a class of their own, which is never found "
        f"without rejection. The score: maximum softmax in {chosen.count('maximum_softmax')} of {len(chosen)} models, "
        f"else energy. AUROC by segment, %: maximum softmax {areas['maximum_softmax']}, energy {areas['energy']}. "
        f"Calibration error of the class of known segments, %: {before} before the temperature of streams, {after} "
        "after it.",
        make_table(header, rows),
    )


if __name__ == "__main__":
    main()
