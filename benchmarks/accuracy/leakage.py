"""The original project's leak, made again on real features: what a test gains when the encoder has seen its videos.

    python benchmarks/accuracy/leakage.py UCF101_FEATURES.npz [--weizmann VIDEOS WEIGHTS] [--seeds 3]

The original trained the last layers of its CNN, D-1024-BN-ReLU-768-BN-ReLU-512, on a random 75 % of all videos, and
then tested a temporal model on its features on an official split. Here such an encoder head learns, on frozen features
of single frames with one linear layer above it, to name the action:

leaking  on a random 75 % of all videos, those of the test split among them
clean    on training videos alone, as many as there are, up to the same number

Its outputs make a features file each, with the names of the videos that the head learned from, and the temporal model
of ``configs/<set>_lmu.json``, which was chosen on frozen features, is trained on the training split and tested on the
test split, as ever. Every setting of the experiment was fixed before the first run and none was changed after it (the
head: Adam, 1e-3, dropout 0.3, weights of the last of 30 epochs). The clean run passes the guard; the leaking one is
refused, and runs with ``evaluation.leakage`` set to ``mark``.
"""

import argparse
import csv
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from torch import nn

from benchmarks.lib.table import RESULTS, ROOT, headline, make_table, show, write_section
from snn_action.config import load_config
from snn_action.core.errors import ConfigError
from snn_action.runs import pipeline

TITLE, PAGE = "What a leaking encoder is worth", ROOT / "docs" / "explanation" / "leakage.md"
UCF101, WEIZMANN = "ucf101_features_lmu.json", "weizmann_lmu.json"
SHARE, EPOCHS, BATCH, RATE, DROPOUT, UNITS = 0.75, 30, 256, 1e-3, 0.3, (1024, 768, 512)


@dataclass(frozen=True)
class Clips:
    """Features ``(V, T, D)`` of videos with their labels, names, groups, and the fold that tests each."""

    features: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    class_names: np.ndarray
    names: np.ndarray
    groups: np.ndarray
    split: np.ndarray


class Head(nn.Module):
    """Layers of an encoder, the original's last ones by default, and that which names the action while they learn."""

    def __init__(self, inputs: int, classes: int, units: tuple[int, ...] = UNITS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for hidden in units[:-1]:
            layers += [nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden, momentum=0.01), nn.ReLU()]
            inputs = hidden
        self.encoder = nn.Sequential(*layers, nn.Dropout(DROPOUT), nn.Linear(inputs, units[-1]))
        self.classifier = nn.Linear(units[-1], classes)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.relu(self.encoder(frames)))


def learn_head(
    clips: Clips, chosen: np.ndarray, seed: int, units: tuple[int, ...] = UNITS, epochs: int = EPOCHS
) -> np.ndarray:
    """Outputs ``(V, T, 512)`` for all videos of a head that learned from the frames of the chosen ones."""
    torch.manual_seed(seed)
    real = np.arange(clips.features.shape[1]) < clips.lengths[chosen, None]
    frames = torch.from_numpy(clips.features[chosen].astype(np.float32)[real])
    labels = torch.from_numpy(np.repeat(clips.labels[chosen], clips.lengths[chosen]))
    head = Head(clips.features.shape[2], len(clips.class_names), units)
    optimizer = torch.optim.Adam(head.parameters(), RATE)
    for _ in range(epochs):
        for batch in torch.randperm(len(frames)).split(BATCH):
            if len(batch) > 1:  # batch normalization needs two
                optimizer.zero_grad()
                nn.functional.cross_entropy(head(frames[batch]), labels[batch]).backward()
                optimizer.step()
    head.eval()
    with torch.no_grad():
        every = torch.from_numpy(clips.features.astype(np.float32))
        return head.encoder(every.flatten(0, 1)).reshape(*every.shape[:2], units[-1]).numpy()


def choose_videos(clips: Clips, fold: str, leaking: bool, seed: int) -> np.ndarray:
    """Places of the videos that the head learns from."""
    rng = np.random.default_rng([seed, 75])
    among = np.arange(len(clips.labels)) if leaking else np.flatnonzero(clips.split != fold)
    number = min(round(SHARE * len(clips.labels)), len(among))
    return np.sort(rng.permutation(among)[:number])


def write_features(path: Path, clips: Clips, features: np.ndarray, learned: np.ndarray, split: np.ndarray) -> None:
    np.savez(
        path,
        features=features.astype(np.float32),
        lengths=clips.lengths,
        labels=clips.labels,
        class_names=clips.class_names,
        video_ids=clips.names,
        groups=clips.groups,
        split=split,
        backbone_videos=clips.names[learned],
    )


def run(config: str, source: Path, folder: Path, seed: int, leaking: bool) -> tuple[Path, dict[str, Any]]:
    """The metrics of one run; the guard must refuse the leaking one, and it alone."""
    overrides = [
        'dataset={"type": "features", "path": ' + json.dumps(str(source)) + "}",
        f"save_dir={folder}",
        f"seed={seed}",
        "evaluation.test_curve=false",
    ]
    if leaking:
        try:
            pipeline.run(load_config(ROOT / "configs" / config, overrides))
        except ConfigError as error:
            print(str(error), file=sys.stderr)
        else:
            raise AssertionError("the guard let a leak pass")
        overrides.append("evaluation.leakage=mark")
    result = pipeline.run(load_config(ROOT / "configs" / config, overrides))
    assert result.metrics["leakage"]["clean"] != leaking
    return result.folder, result.metrics


def measure_seen(folder: Path, learned: set[str]) -> tuple[list[bool], list[bool]]:
    """Whether each test video was right: of those that the head had learned from, and of all others."""
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        rows = [(row["video"] in learned, row["correct"] == "1") for row in csv.DictReader(file)]
    return [right for seen, right in rows if seen], [right for seen, right in rows if not seen]


def compare(clips: Clips, config: str, seeds: int) -> list[list[str]]:
    """A row for each kind of head: mean over folds, then over seeds."""
    folds = ["test"] if "test" in clips.split else sorted(set(clips.split))
    rows, means = [], {}
    for leaking in (False, True):
        accuracy, baseline, seen, unseen = [], [], [], []
        for seed in range(seeds):
            models, baselines = [], []
            outputs = None
            for fold in folds:
                learned = choose_videos(clips, fold, leaking, seed)
                if outputs is None or not leaking:  # a leaking head is the same for every fold
                    outputs = learn_head(clips, learned, seed)
                split = np.where(clips.split == fold, "test", "train")
                with tempfile.TemporaryDirectory() as place:
                    write_features(Path(place, "features.npz"), clips, outputs, learned, split)
                    folder, metrics = run(config, Path(place, "features.npz"), Path(place), seed, leaking)
                    parts = measure_seen(folder, set(clips.names[learned]))
                seen += parts[0]
                unseen += parts[1]
                models.append(headline(metrics))
                baselines.append(headline(metrics, of="baseline"))
            accuracy.append(float(np.mean(models)))
            baseline.append(float(np.mean(baselines)))
            print(f"{config} leaking {leaking} seed {seed}: {accuracy[-1]:.4f}", file=sys.stderr, flush=True)
        number = len(choose_videos(clips, folds[0], leaking, 0))
        means[leaking] = (accuracy, baseline)
        rows.append(
            [
                "leaking" if leaking else "clean",
                str(number),
                show(accuracy),
                show(baseline),
                f"{100 * np.mean(seen):.1f}" if seen else "-",
                f"{100 * np.mean(unseen):.1f}",
            ]
        )
    gains = [[100 * (b - a) for a, b in zip(means[False][k], means[True][k], strict=True)] for k in (0, 1)]
    spread = [f" ± {np.std(gain, ddof=1):.1f}" if len(gain) > 1 else "" for gain in gains]
    points = [f"**{np.mean(gain):+z.1f}**{deviation}" for gain, deviation in zip(gains, spread, strict=True)]
    rows.append(["inflation, points", "", *points, "", ""])
    return rows


def read_ucf101(path: Path) -> Clips:
    with np.load(path) as file:
        names = file["video_ids"]
        groups = np.array([str(name).rpartition("_c")[0].rpartition("/")[2] for name in names])
        shape = file["features"].shape
        lengths = np.full(shape[0], shape[1])
        return Clips(file["features"], lengths, file["labels"], file["class_names"], names, groups, file["split"])


def read_weizmann(videos: Path, weights: Path, store: Path) -> Clips:
    """The ``rgb`` features of ``configs/weizmann_lmu.json``; each subject is a fold."""
    overrides = [
        f"dataset.path={videos.resolve()}",
        f"backbone.weights={weights.resolve()}",
        f"features.store={store}",
        'clip.streams=["rgb"]',
    ]
    data = pipeline.load_data(load_config(ROOT / "configs" / "weizmann_lmu.json", overrides))
    features, mask = data.features.read(range(len(data.features)))
    entries = data.catalog.videos
    groups = np.array([str(video.group) for video in entries])
    return Clips(
        features.numpy(),
        mask.sum(1).numpy(),
        np.array([video.label for video in entries]),
        np.array(data.catalog.class_names),
        np.array([video.name for video in entries]),
        groups,
        groups,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--weizmann", type=Path, nargs=2, metavar=("VIDEOS", "WEIGHTS"))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows = [["UCF101, 8 classes", *row] for row in compare(read_ucf101(arguments.features), UCF101, arguments.seeds)]
    if arguments.weizmann:
        with tempfile.TemporaryDirectory() as store:
            clips = read_weizmann(*arguments.weizmann, Path(store))
            rows += [["Weizmann", *row] for row in compare(clips, WEIZMANN, arguments.seeds)]
    header = (
        *("set", "encoder head", "learned from, videos", "lmu, test %", "mean_pool, test %"),
        *("lmu on videos the head saw, %", "on others, %"),
    )
    write_section(
        TITLE,
        "How much the test accuracy rises if the encoder has learned from test videos. The encoder head learned from "
        f"a random {100 * SHARE:.0f} % of all videos (*leaking*) or from training videos only (*clean*). The temporal "
        "model above it learns from the training videos alone in both cases. *Test %*: `video` accuracy on the "
        "official test split (UCF101, split 1), or on the subject that is left out (Weizmann, mean of nine folds). A "
        f"cell is the mean ± the standard deviation over {arguments.seeds} seeds. The last two columns divide the "
        "test videos into those from which the head learned, and the others. *Inflation*: leaking minus clean, in "
        "percentage points. See [Leakage](explanation/leakage.md).",
        make_table(header, rows),
    )

    show_table()


def show_table() -> None:
    """Copy the table of docs/results.md into docs/explanation/leakage.md, in the place of the last one."""
    section = RESULTS.read_text(encoding="utf-8").partition(f"## {TITLE}\n")[2].partition("\n## ")[0]
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        re.sub(r"(?m)^(\|[^|]*\| encoder head.*\n)(\|.*\n)*", lambda _: f"{table}\n", text), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
