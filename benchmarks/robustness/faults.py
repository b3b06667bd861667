"""Processes that share one extraction are killed at random moments: is anything lost, doubled or changed?

    python benchmarks/robustness/faults.py [VIDEOS] [--backbone mobilenet_v2 --weights FILE] [--kills 60]

VIDEOS is a folder with videos at any depth; without it, synthetic ones are generated. Two processes extract the
features of all of them into one store. After a random time, from a twentieth of a second to a few seconds, one of them
(sometimes both) gets SIGKILL and is started again, until the extraction is done. Every other time the kill waits, for
as long again at most, until the victim is in a step drawn by lot, as most steps are short. That is repeated, with a new
store, until there were enough kills. Each store is then held against one that a single process made undisturbed: the
digest over sorted keys and the bytes of their features, keys that are missing (lost) and keys that several shards hold
(doubled).

Processes are forked from one that has imported everything and chooses nothing but the moment, so that they are at work
at once; every one decodes in a worker process of its own. What a process was doing when it was killed is what it wrote
into shared memory on entering that step.
"""

import argparse
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from snn_action.backbones import build_backbone
from snn_action.backbones.settings import BackboneSettings
from snn_action.config import Config, FeatureSettings
from snn_action.datasets.catalog import Catalog, DatasetSettings, Fold, Video
from snn_action.datasets.check import find_all_videos
from snn_action.datasets.synthetic.generate import Plan, generate
from snn_action.features.extraction import extract, locks, sharing
from snn_action.features.store import store
from snn_action.features.store.store import FeatureStore
from snn_action.video.settings import ClipSettings

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

STEPS: dict[str, list[tuple[Any, str]]] = {
    "start: keys, opening the store": [],
    "taking a block": [(locks.Locks, "take")],
    "waiting for frames": [],
    "network": [(extract, "embed_clips")],
    "writing a shard": [(FeatureStore, "write")],
    "syncing it to the disk": [(store, "_to_disk")],
    "updating the index": [(FeatureStore, "_add"), (FeatureStore, "refresh")],
    "letting a block go": [(sharing.Sharing, "finish")],
    "waiting for the other process": [(sharing.Sharing, "wait")],
    "putting the features together": [(extract, "assemble")],
}
NAMES = list(STEPS)
START, FRAMES = 0, 2
CONTEXT = multiprocessing.get_context("fork")


def note_steps(step: Any) -> None:
    """From now on ``step.value`` says which of the steps this process is in."""

    def wrap(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            before, step.value = step.value, number
            try:
                return function(*arguments, **options)
            finally:
                step.value = before

        return noted

    for number, name in enumerate(NAMES):
        for owner, attribute in STEPS[name]:
            setattr(owner, attribute, wrap(number, getattr(owner, attribute)))
    share = extract._share

    def begin(*arguments: Any) -> Any:
        step.value = FRAMES
        try:
            return share(*arguments)
        finally:
            step.value = START

    extract._share = begin


def work(catalog: Catalog, config: Config, step: Any) -> None:
    """What a process does; its exit code says whether everything is there."""
    torch.set_num_threads(1)
    note_steps(step)
    extract.extract_features(catalog, config, build_backbone(config.backbone), "cpu", progress=False)


def start(catalog: Catalog, config: Config) -> tuple[Any, Any]:
    step = CONTEXT.Value("i", START, lock=False)
    process = CONTEXT.Process(target=work, args=(catalog, config, step))
    process.start()
    return process, step


def wait_for_step(step: Any, wanted: int, longest: float) -> None:
    deadline = time.monotonic() + longest
    while step.value != wanted and time.monotonic() < deadline:
        time.sleep(0.0001)


def run_killed(catalog: Catalog, config: Config, kills: int, longest: float, rng: random.Random) -> Counter[str]:
    """Two processes on one store, killed up to ``kills`` times; return how many kills hit which step."""
    hit: Counter[str] = Counter()
    team = [start(catalog, config) for _ in range(2)]
    while any(process.exitcode != 0 for process, _ in team):
        time.sleep(rng.uniform(0.05, longest) if rng.random() < 0.7 else rng.uniform(0.05, 0.3))
        victims = [rng.randrange(2)] if rng.random() < 0.8 else [0, 1]
        if rng.random() < 0.5:
            wait_for_step(team[victims[0]][1], rng.randrange(len(NAMES)), longest)
        for place in victims:
            process, step = team[place]
            if process.is_alive() and hit.total() < kills:
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                if process.exitcode == -signal.SIGKILL:
                    hit[NAMES[step.value]] += 1
        for place, (process, _) in enumerate(team):
            if process.exitcode == -signal.SIGKILL:
                team[place] = start(catalog, config)
            elif process.exitcode not in (0, None):
                raise SystemExit(f"a process failed with exit code {process.exitcode}")
    return hit


def describe_store(folder: Path) -> tuple[str, Counter[str], int]:
    """Digest over sorted keys and the bytes of their features, in how many shards each key is, unfinished files."""
    found: Counter[str] = Counter()
    opened = FeatureStore(folder)
    for path in (folder / "shards").glob("*.safetensors"):
        found.update(entry["key"] for entry in opened.read_header(path.name)["entries"])
    digest = hashlib.sha256()
    for key, place in sorted(opened.find(found).items()):
        rows = opened.open_shard(place.shard)[place.start : place.start + sum(place.lengths)]
        digest.update(key.encode() + rows.contiguous().numpy().tobytes())
    opened.close()
    left = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".safetensors" and p.name != "index.sqlite"]
    return digest.hexdigest(), found, len(left)


def make_catalog(paths: list[Path], root: Path) -> Catalog:
    videos = tuple(Video(str(path.relative_to(root)), i % 2, path=path) for i, path in enumerate(paths))
    everything = tuple(range(len(paths)))
    return Catalog(("even", "odd"), videos, (Fold("all", everything, everything),))


def main() -> None:
    from benchmarks.lib.table import make_table, write_section

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="?")
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds between two kills at most")
    parser.add_argument("--shard-videos", type=int, default=2)
    parser.add_argument("--frames", type=int, default=8, help="frames of a clip")
    parser.add_argument("--limit", type=int, default=None, help="videos at most")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # before anything computes: threads do not survive a fork
    rng = random.Random(arguments.seed)
    hit: Counter[str] = Counter()
    rounds = lost = doubled = left = different = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = arguments.videos
        if root is None:
            root = folder / "videos"
            generate(root, Plan(groups=12, clips=2))
        paths = find_all_videos(root)[: arguments.limit]
        catalog = make_catalog(paths, root)

        def configure(place: str) -> Config:
            return Config.model_construct(
                seed=0,
                dataset=DatasetSettings(path=root, max_bad_share=0.0),
                clip=ClipSettings(frames=arguments.frames, streams=("rgb", "difference")),
                backbone=BackboneSettings(name=arguments.backbone, weights=arguments.weights),
                features=FeatureSettings(store=folder / place, workers=1, shard_videos=arguments.shard_videos),
            )

        begin = time.perf_counter()
        process, _ = start(catalog, configure("undisturbed"))
        process.join()
        undisturbed = time.perf_counter() - begin
        expected, wanted, _ = describe_store(folder / "undisturbed")
        if process.exitcode != 0 or set(wanted.values()) != {1} or len(wanted) != 2 * len(paths):
            raise SystemExit("the undisturbed extraction is not whole")
        begin = time.perf_counter()
        while hit.total() < arguments.kills:
            config = configure(f"round {rounds}")
            hit += run_killed(catalog, config, arguments.kills - hit.total(), arguments.longest, rng)
            digest, found, remains = describe_store(config.features.store)
            rounds += 1
            lost += len(wanted.keys() - found.keys())
            doubled += sum(number > 1 for number in found.values())
            different += digest != expected
            left += remains
            print(f"round {rounds}: {hit.total()} kills, equal: {digest == expected}", file=sys.stderr, flush=True)
        disturbed = time.perf_counter() - begin
    working = hit.total() - hit[NAMES[START]]
    rows = [
        ["kills", str(hit.total())],
        ["of these after the start, while extracting", str(working)],
        *([f"while: {step}", str(hit[step])] for step in NAMES if hit[step]),
        ["extractions, each by two processes until done", str(rounds)],
        ["stores whose digest differs from the undisturbed one", str(different)],
        ["lost clips", str(lost)],
        ["doubled clips", str(doubled)],
        ["other files left at the end: unfinished shards, locks", str(left)],
        ["seconds of the undisturbed extraction by one process", f"{undisturbed:.0f}"],
        ["seconds of a killed one, on average", f"{disturbed / rounds:.0f}"],
    ]
    origin = "synthetic" if arguments.videos is None else "real"
    write_section(
        "Killed extractions",
        f"Two processes extract the features of {len(paths)} {origin} videos into one store. One or both of them are "
        f"killed (SIGKILL) every 0.05 to {arguments.longest:g} s and started again. Half of the kills wait until the "
        "process is in a step that is drawn at random; the lines *while* say how many kills came in which step. Each "
        "store is then compared with one that a single process made undisturbed. A clip is one stream of one video. "
        f"*Lost*: missing in the store. *Doubled*: in two shards. The extraction: two streams, {arguments.frames} "
        f"frames, `{arguments.backbone}`, block size {arguments.shard_videos}, one thread a process.",
        make_table(("", "number"), rows),
    )
    if different or lost or doubled:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
