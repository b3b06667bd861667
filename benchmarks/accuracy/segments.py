"""Where actions begin and end in long videos: segment F1 on joined clips, with the cost chosen on training material.

    python benchmarks/accuracy/segments.py VIDEOS WEIGHTS [--folder F] [--store FOLDER]

VIDEOS are Weizmann's, WEIGHTS those of ``mobilenet_v2``. Clips that a model has not seen are joined in random order
into one video: the synthetic set's test clips, and the ten clips of each held-out subject of Weizmann. A stream of its
frames gives evidence, and ``evaluation.segments`` the segments. Only the cost of a change is chosen: for the synthetic
set on joined training clips; for a subject of Weizmann on another one, by a model that has seen neither.
"""

import argparse
import random
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.lib.table import ROOT, make_table, write_section
from snn_action.config import Config, load_config
from snn_action.datasets.synthetic.video_file import encode_avi
from snn_action.evaluation.segments import Segment, SegmentMatch, find_segments, match_segments
from snn_action.evaluation.staggered import StaggeredRows
from snn_action.evaluation.stretches import COST
from snn_action.features.streaming import Views, embed_stream
from snn_action.runs import pipeline
from snn_action.runs.prediction import LoadedRun, load_run
from snn_action.runs.split_file import read_split
from snn_action.runs.streaming import ROWS
from snn_action.video.decode import count_frames, read_frames
from snn_action.video.live import LiveReader
from snn_action.video.sources import find_source

COSTS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)  # for each step of a training clip
TOGETHER = 14
TITLE = "Segments of long videos"


def join(paths: Sequence[Path], names: Sequence[str], rate: int, target: Path) -> list[Segment]:
    """Write the videos one after another into a file; what is true of it."""
    truth: list[Segment] = []
    frames, begin = [], 0
    for path, name in zip(paths, names, strict=True):
        frames.append(read_frames(path, range(count_frames(path))))
        end = begin + len(frames[-1])
        if truth and truth[-1].name == name:
            truth[-1] = Segment(name, truth[-1].start, end / rate, 1.0)
        else:
            truth.append(Segment(name, begin / rate, end / rate, 1.0))
        begin = end
    target.write_bytes(encode_avi(np.concatenate(frames), rate))
    return truth


def read_features(run: LoadedRun, path: Path) -> tuple[list[float], torch.Tensor]:
    """Times and features of the frames that a stream takes."""
    stop = threading.Event()
    with LiveReader(find_source(str(path))) as reader:
        reader.wait_open(stop)
        every = run.timing.choose_every(reader.rate) if run.timing else 1
        views = Views(run.config.clip.streams, run.config.clip.difference_span, every)
        frames = reader.frames(views.wants, stop)
        parts = [*embed_stream(frames, views, run.config, run.backbone, run.device, TOGETHER)]
    return [frame.time for part in parts for frame in part.frames], torch.cat([part.features for part in parts])


def measure(
    run: LoadedRun, times: list[float], features: torch.Tensor, truth: list[Segment]
) -> dict[float, SegmentMatch]:
    """How many segments are found at each cost."""
    rows = StaggeredRows(run.model, run.config.clip.frames, ROWS)
    evidence = np.concatenate([rows.advance(part).mean for part in features.split(TOGETHER)])
    costs = {cost: cost * run.config.clip.frames for cost in COSTS}
    found = {cost: find_segments(run.class_names, times, evidence, nats) for cost, nats in costs.items()}
    return {cost: match_segments(segments, truth) for cost, segments in found.items()}


def choose(matches: dict[float, SegmentMatch]) -> float:
    """The cost with the best F1; of several the nearest to the default."""
    return max(COSTS, key=lambda cost: (matches[cost].f1, -abs(cost - COST)))


def train(config: Config, run_id: str) -> Path:
    """The folder of a run, which may be there from before."""
    folder = config.save_dir / config.name / run_id
    return folder if folder.exists() else pipeline.train(config, run_id=run_id)


def test_synthetic(folder: Path) -> list[str]:
    overrides = [f"save_dir={folder / 'save'}", f"features.store={folder / 'store'}", f"dataset.path={folder / 'set'}"]
    config = load_config(ROOT / "configs" / "config.json", overrides)
    run = load_run(train(config, "segments"))
    (sides,) = read_split(config.save_dir / config.name / "segments").folds
    matches = []
    for names in (sides.train, sides.test):
        chosen = random.Random(0).sample(sorted(names), len(sides.test))
        path = folder / "joined.avi"
        truth = join([folder / "set" / name for name in chosen], [name.split("/")[0] for name in chosen], 16, path)
        matches.append(measure(run, *read_features(run, path), truth))
    cost = choose(matches[0])
    return show("synthetic, 12 classes, one video of the test clips", cost, matches[1][cost], matches[1][COST])


def test_weizmann(videos: Path, weights: Path, folder: Path, store: Path) -> list[str]:
    overrides = [f"save_dir={folder / 'save'}", f"features.store={store}", f"backbone.weights={weights}"]
    name = ROOT / "configs" / "weizmann_spiking_lmu.json"
    config = load_config(name, [*overrides, f"dataset.path={videos}"])
    whole = train(config, "segments")
    subjects = [sides.name for sides in read_split(whole).folds]
    joined = {}
    for subject in subjects:
        paths = sorted(videos.glob(f"*/{subject}_*.avi"))
        random.Random(subject).shuffle(paths)
        path = folder / f"{subject}.avi"
        truth = join(paths, [path.parent.name for path in paths], 25, path)
        run = load_run(whole, fold=subject)
        joined[subject] = (*read_features(run, path), truth)
    chosen, default, costs = SegmentMatch(0, 0, 0), SegmentMatch(0, 0, 0), []
    for place, subject in enumerate(subjects):
        other = subjects[place ^ 1] if place ^ 1 < len(subjects) else subjects[0]
        pair = "_".join(sorted((subject, other)))
        dataset = f'{{"type": "folder", "path": "{videos}", "group_pattern": "/([a-z]+)_", "test_groups": '
        dataset += f'["{subject}", "{other}"]}}'
        inner = load_run(train(load_config(name, [*overrides, f"dataset={dataset}", "name=inner"]), pair))
        cost = choose(measure(inner, *joined[other]))
        matches = measure(load_run(whole, fold=subject), *joined[subject])
        chosen, default, costs = chosen + matches[cost], default + matches[COST], [*costs, cost]
        print(f"{subject}: cost {cost}, F1 {matches[cost].f1:.3f}", flush=True)
    return show("Weizmann, 10 classes, one video for each held-out subject", costs, chosen, default)


def show(what: str, cost: float | list[float], chosen: SegmentMatch, default: SegmentMatch) -> list[str]:
    costs = f"{cost:g}" if isinstance(cost, float) else f"{min(cost):g} to {max(cost):g}"
    return [
        what,
        str(chosen.true),
        costs,
        f"{chosen.f1:.3f} ({chosen.right} right of {chosen.found})",
        f"{default.f1:.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--folder", type=Path, help="keep runs and joined videos here")
    parser.add_argument("--store", type=Path, help="of Weizmann's features; default: in the folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            test_synthetic(folder),
            test_weizmann(arguments.videos, arguments.weights, folder, arguments.store or folder / "store"),
        ]
    text = (
        "Clips that the model has not seen, joined in random order and read as a stream (spiking LMU, the demo's "
        "configuration and Weizmann's). A segment is right at an overlap (intersection over union) of 0.5. The cost of "
        "a change of the class, in nats for each step of a training clip, was chosen on joined clips of the training "
        "set; of Weizmann on those of another subject, by a model that has seen neither subject."
    )
    header = ("videos", "true segments", "cost chosen", "F1 at 0.5", f"F1 with the default cost, {COST:g}")
    write_section(TITLE, text, make_table(header, rows))


if __name__ == "__main__":
    main()
