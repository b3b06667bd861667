"""Damaged files of every kind: does a reader ever let a library's own exception through, or leave the file unnamed?

    python benchmarks/robustness/readers.py [--seconds 300] [--seed 0]

For each kind of file that is read (weights, checkpoints, features, tables, lists, configurations, files of a run,
pickles of the original project, videos) a small whole one is made, damaged at random and read. A file may be read all
the same; else the error must be one of ours and name the file. A table says how many were read, refused, and wrong.
``tests/stress/test_fuzz.py`` does the same for a few of each.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import safetensors.torch
import torch

from snn_action.backbones.weights import read_provenance, read_weights
from snn_action.config import load_config, make_config
from snn_action.core import registry
from snn_action.core.errors import ConfigError, WorkError
from snn_action.evaluation.calibration import Calibration, read_calibration
from snn_action.models import build_model
from snn_action.original_2020.pickles import read_array, write_pickle
from snn_action.report import read_run
from snn_action.runs.split_file import read_split
from snn_action.training.checkpoints import load_weights, read_trained_on, save_weights
from snn_action.video.decode import count_frames
from snn_action.video.workers import Failure, map_apart

LMU = {"type": "lmu", "units": 4, "order": 2, "theta": 6.0, "memory_d": 2}
UCF_NAMES = [f"v_{action}_g{group:02}_c01" for action in ("Walk", "Run") for group in (1, 2)]


@dataclass(frozen=True)
class Kind:
    """A kind of file: ``make`` writes a whole one (and what belongs to it) into a folder, ``read`` reads it."""

    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """A few flipped bits, a cut, bytes put in, taken out, repeated, or a number made huge."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        size = max(len(data), 1)
        place, length = int(rng.integers(size)), int(rng.integers(1, 20))
        match int(rng.integers(7)):
            case 0:
                for at in rng.integers(size, size=length):
                    if at < len(data):
                        data[at] ^= 1 << int(rng.integers(8))
            case 1:
                del data[place:]
            case 2:
                data[place:place] = rng.bytes(length)
            case 3:
                del data[place : place + length]
            case 4:
                data[place:place] = data[place : place + 10 * length]
            case 5:
                data[place : place + 4] = b"\xff\xff\xff\x7f"
            case _:
                data[place : place + 1] = rng.choice([b"", b"\0", b"\n", b'"', b"9" * 30, b"[" * 2000, b"-", b"e9"])
    return bytes(data)


def try_one(kind: Kind, folder: Path, whole: bytes, rng: np.random.Generator) -> str:
    """``read``, ``refused``, or what is wrong."""
    path = folder / kind.file
    path.write_bytes(damage(whole, rng))
    try:
        kind.read(path)
    except (ConfigError, WorkError) as error:
        names = (path.name, str(folder), "dataset: ")  # a message may name the key instead
        return "refused" if any(name in str(error) for name in names) else f"names no file: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {re.sub(r'[0-9]+|/.*', '..', str(error))[:100]}"
    return "read"


def _settings(kind: str, **keys: Any) -> Any:
    return registry.parse("dataset", {"type": kind, **{key: str(value) for key, value in keys.items()}})


def _build(kind: str, **keys: Any) -> object:
    return _settings(kind, **keys).build(0)


def _small_model() -> Any:
    return build_model(LMU, in_features=3, num_classes=2, seed=0)


def _make_calibration(folder: Path) -> None:
    found = Calibration(1.5, "energy", (-3.0, -2.0, 0.5), 0.95, 3, 2, True, {"maximum_softmax": 0.6, "energy": 0.7})
    (folder / "calibration.json").write_text(found.to_json())


def _make_features(folder: Path) -> None:
    np.savez(
        folder / "a.npz",
        features=np.linspace(-1, 1, 4 * 5 * 3).reshape(4, 5, 3).astype(np.float32),
        labels=np.array([0, 1, 0, 1]),
        class_names=np.array(["Walk", "Run"]),
        video_ids=np.array([f"{name}.avi" for name in UCF_NAMES]),
        split=np.array(["train", "train", "test", "test"]),
        lengths=np.array([5, 4, 3, 5]),
    )


def _make_ucf101(folder: Path) -> None:
    for name in UCF_NAMES:
        path = folder / "videos" / name.split("_")[1] / f"{name}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not looked into")
    lines = [f"{name.split('_')[1]}/{name}.avi" for name in UCF_NAMES]
    (folder / "classInd.txt").write_text("1 Walk\n2 Run\n")
    (folder / "trainlist01.txt").write_text(f"{lines[0]} 1\n{lines[2]} 2\n")
    (folder / "testlist01.txt").write_text(f"{lines[1]}\n{lines[3]}\n")


def _make_table(folder: Path) -> None:
    _make_ucf101(folder)
    rows = [f"videos/{n.split('_')[1]}/{n}.avi,{n.split('_')[1]},{'test' if '02' in n else 'train'}" for n in UCF_NAMES]
    (folder / "a.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")


def _make_video(folder: Path, name: str, codec: str) -> None:
    with av.open(str(folder / name), "w") as output:
        stream = output.add_stream(codec, rate=12)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(8):
            image = np.full((32, 48, 3), 20 * index, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))


def _count_apart(path: Path) -> object:
    """In a process of its own: a damaged video may crash the decoder."""
    (found,) = map_apart(_count, [path], 1, 30.0)
    if isinstance(found, Failure):
        raise WorkError(f"{path}: {found.reason}")
    if isinstance(found, Exception):
        raise found
    return found


def _count(path: Path) -> object:
    try:
        return count_frames(path)
    except Exception as error:
        return error


_RUNS: dict[str, Path] = {}


def _make_run(folder: Path) -> None:
    """A finished run, made once."""
    if "run" not in _RUNS:
        from snn_action.runs import pipeline

        place = Path(tempfile.mkdtemp())
        rng = np.random.default_rng(0)
        labels = np.arange(12) % 2
        np.savez(
            place / "a.npz",
            features=(rng.normal(size=(12, 4, 3)) + labels[:, None, None]).astype(np.float32),
            labels=labels,
            class_names=np.array(["Walk", "Run"]),
            video_ids=np.array([f"v_{'Run' if label else 'Walk'}_g{i:02}_c01" for i, label in enumerate(labels)]),
            split=np.array(["test" if i < 4 else "train" for i in range(12)]),
        )
        dataset = {"type": "features", "path": str(place / "a.npz")}
        training = {"epochs": 1, "validation_share": 0.25}
        config = {"name": "x", "save_dir": str(place), "device": "cpu", "dataset": dataset, "model": LMU}
        _RUNS["run"] = pipeline.run(make_config({**config, "training": training}), run_id="one").folder
    for path in _RUNS["run"].rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(_RUNS["run"])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


def _read_checkpoint(path: Path) -> object:
    load_weights(_small_model(), path)
    return read_trained_on(path)


KINDS: dict[str, Kind] = {
    "checkpoint": Kind("a.ckpt", lambda folder: save_weights(_small_model(), folder / "a.ckpt"), _read_checkpoint),
    "weights, PyTorch": Kind("a.pth", lambda f: torch.save(_small_model().state_dict(), f / "a.pth"), read_weights),
    "weights, safetensors": Kind(
        "a.safetensors",
        lambda folder: safetensors.torch.save_file(_small_model().state_dict(), folder / "a.safetensors"),
        read_weights,
    ),
    "provenance of weights": Kind(
        "a.json", lambda folder: (folder / "a.json").write_text('{"trained_on": "x", "videos": ["a"]}'), read_provenance
    ),
    "features": Kind("a.npz", _make_features, lambda path: _build("features", path=path)),
    "table": Kind("a.csv", _make_table, lambda path: _build("csv", path=path)),
    "list of classes": Kind(
        "classInd.txt", _make_ucf101, lambda path: _build("ucf101", path=path.parent / "videos", lists=path.parent)
    ),
    "list of videos": Kind(
        "trainlist01.txt", _make_ucf101, lambda path: _build("ucf101", path=path.parent / "videos", lists=path.parent)
    ),
    "configuration": Kind(
        "a.json",
        lambda folder: (folder / "a.json").write_text(
            json.dumps({"name": "x", "dataset": {"type": "features", "path": "a.npz"}, "model": LMU, "seed": 1})
        ),
        load_config,
    ),
    "calibration": Kind("calibration.json", _make_calibration, read_calibration),
    "pickle": Kind("a.pkl", lambda f: write_pickle(f / "a.pkl", np.arange(24.0).reshape(2, 4, 3)), read_array),
    **{
        f"run: {name}": Kind(name, _make_run, lambda path: read_run(path.parent))
        for name in ("metrics.json", "metrics.jsonl", "predictions.csv", "confusion.csv", "examples.npz", "config.json")
    },
    "run: splits.json": Kind("splits.json", _make_run, lambda path: read_split(path.parent)),
    **{
        f"video, {suffix}": Kind(f"a.{suffix}", partial(_make_video, name=f"a.{suffix}", codec=codec), _count_apart)
        for suffix, codec in (("avi", "mpeg4"), ("mp4", "libx264"), ("mkv", "libx264"))
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="for all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong: Counter[str] = Counter()
    print("| kind | files | read | refused | wrong |\n| --- | --- | --- | --- | --- |")
    for number, (name, kind) in enumerate(KINDS.items()):
        rng, counts = np.random.default_rng([options.seed, number]), Counter[str]()
        with tempfile.TemporaryDirectory() as folder:
            kind.make(Path(folder))
            whole = (Path(folder) / kind.file).read_bytes()
            end = time.monotonic() + options.seconds / len(KINDS)
            while time.monotonic() < end:
                outcome = try_one(kind, Path(folder), whole, rng)
                known = outcome in ("read", "refused")
                counts[outcome if known else "wrong"] += 1
                if not known:
                    wrong[f"{name}: {outcome}"] += 1
        print(f"| {name} | {counts.total()} | {counts['read']} | {counts['refused']} | {counts['wrong']} |", flush=True)
    for text, count in wrong.most_common():
        print(f"{count} x {text}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
