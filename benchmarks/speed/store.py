"""Opening a feature store and reading random batches from it, beside a store a hundredth of its size and a plain array.

    python benchmarks/speed/store.py [--clips 1000000] [--small 10000] [--folder FOLDER]

Stores are synthetic and sparse: real shards of 64 videos of one clip each, whose features are holes in the files, so
that a million clips take little disk. The plain array is such a file too, of the shape (clips, steps, features), mapped
by numpy. All ways take turns. Batches are drawn anew from 2,000 clips all over the store, which every way has read once
before: it is not the disk that is timed, nor what the processor still has in its caches.

open             ``FeatureStore``, the index being there
find             places of a batch's keys in the index
assemble         the feature set of a batch's videos: places, and their shards mapped
batch of store   a batch of training (``ClipDataset``) from a feature set of the whole store
batch of array   the same rows by indexing the plain array, as a tensor, with their mask
"""

import argparse
import hashlib
import json
import math
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import make_table, write_section
from snn_action.datasets.catalog import Catalog, Fold, Video
from snn_action.features.extraction.assembly import assemble
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.features.store.store import SHARD_FORMAT, FeatureStore
from snn_action.training.clips import ClipDataset

STEPS, FEATURES, TOGETHER = 25, 512, 64
ROUNDS, POOL = 200, 2000
CLASSES = 101


def key_of(clip: int) -> str:
    return hashlib.sha256(str(clip).encode()).hexdigest()


def make_store(folder: Path, clips: int) -> FeatureStore:
    """A store of so many videos; its folder is as old as one that nobody has written to for a while."""
    (folder / "shards").mkdir(parents=True)
    for first in range(0, clips, TOGETHER):
        chosen = range(first, min(first + TOGETHER, clips))
        entries = [
            {
                "key": key_of(c),
                "name": f"video {c}",
                "start": i * STEPS,
                "lengths": [STEPS],
                "frames": [[*range(STEPS)]],
            }
            for i, c in enumerate(chosen)
        ]
        description = {"format": SHARD_FORMAT, "stream": "rgb", "provenance": {}, "entries": entries}
        size = len(chosen) * STEPS * FEATURES * 4
        tensor = {"dtype": "F32", "shape": [len(chosen) * STEPS, FEATURES], "data_offsets": [0, size]}
        header = json.dumps({"__metadata__": {"snn_action": json.dumps(description)}, "features": tensor}).encode()
        header += b" " * (-len(header) % 8)
        with (folder / "shards" / f"rgb-{first:09d}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + size)
    age_folder(folder)
    return FeatureStore(folder)


def age_folder(folder: Path) -> None:
    hour_ago = time.time() - 3600
    os.utime(folder / "shards", (hour_ago, hour_ago))


def open_set(store: FeatureStore, clips: int) -> FeatureSet:
    """All clips of a store, as ``assemble`` lays them out, without a catalog of a million videos."""
    every = np.arange(clips)
    names = [f"rgb-{first:09d}.safetensors" for first in range(0, clips, TOGETHER)]
    shards = tuple(store.open_shard(name) for name in names)
    stream = StreamRows(shards, every // TOGETHER, every % TOGETHER * STEPS)
    return FeatureSet(every, every % CLASSES, np.full(clips, STEPS), (stream,))


def map_array(path: Path, clips: int) -> np.ndarray:
    """A file of zeros, as holes, mapped by numpy."""
    with path.open("wb") as file:
        file.truncate(clips * STEPS * FEATURES * 4)
    return np.memmap(path, np.float32, "r", shape=(clips, STEPS, FEATURES))


def read_array(array: np.ndarray, batch: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the feature set gives of the same clips."""
    return torch.from_numpy(np.asarray(array[batch])), torch.ones(len(batch), STEPS, dtype=torch.bool)


def measure(ways: dict[str, Callable[[list[int]], object]], sizes: dict[str, int], batch: int) -> dict[str, float]:
    """Median milliseconds of each way on batches of its own store; all take turns, in an order drawn anew."""
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in ways}
    pools = {clips: rng.choice(clips, min(POOL, clips), replace=False) for clips in set(sizes.values())}
    for name, way in ways.items():
        for part in np.array_split(pools[sizes[name]], math.ceil(POOL / batch)):
            way(part.tolist())
    for _ in range(ROUNDS):
        for name in rng.permutation(list(ways)):
            chosen = rng.choice(pools[sizes[name]], batch, replace=False).tolist()
            begin = time.perf_counter()
            result = ways[name](chosen)
            found[name].append(1e3 * (time.perf_counter() - begin))
            del result  # letting go of it is timed for none
    return {name: statistics.median(times) for name, times in found.items()}


def count_shards(clips: int, batch: int) -> float:
    """In how many shards a batch of random clips lies, on average: more of them have to be mapped in a larger store."""
    shards = math.ceil(clips / TOGETHER)
    return shards * (1 - (1 - 1 / shards) ** batch)


def make_ways(folder: Path, clips: int, label: str) -> dict[str, Callable[[list[int]], object]]:
    begin = time.perf_counter()
    store = make_store(folder / label, clips)
    print(f"{label}: made and indexed in {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    features = open_set(store, clips)
    dataset = ClipDataset(features, range(clips))
    array = map_array(folder / f"{label}.array", clips)

    def assemble_batch(batch: list[int]) -> FeatureSet:
        videos = tuple(Video(f"video {clip}", clip % 2) for clip in batch)
        everything = tuple(range(len(batch)))
        catalog = Catalog(("even", "odd"), videos, (Fold("1", everything, everything),))
        return assemble(catalog, {i: {"rgb": key_of(clip)} for i, clip in enumerate(batch)}, store)

    return {
        "open": lambda _: FeatureStore(folder / label).close(),
        "find": lambda batch: store.find(map(key_of, batch)),
        "assemble": assemble_batch,
        "batch of store": dataset.__getitems__,
        "batch of array": lambda batch: read_array(array, batch),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument(
        "--folder", type=Path, help="where the stores are made, and removed; default: the temporary one"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        ways: dict[str, Callable[[list[int]], object]] = {}
        sizes: dict[str, int] = {}
        for label, clips in (("small", arguments.small), ("large", arguments.clips)):
            for name, way in make_ways(Path(folder), clips, label).items():
                ways[f"{label} {name}"], sizes[f"{label} {name}"] = way, clips
        found = measure(ways, sizes, arguments.batch)
    rows = []
    for name in ("open", "find", "assemble", "batch of store", "batch of array"):
        small, large = found[f"small {name}"], found[f"large {name}"]
        rows.append([name, f"{small:.2f}", f"{large:.2f}", f"{large / small:.2f}"])
    lie_in = [count_shards(clips, arguments.batch) for clips in (arguments.small, arguments.clips)]
    rows.append(["shards of a batch", *(f"{shards:.1f}" for shards in lie_in), f"{lie_in[1] / lie_in[0]:.2f}"])
    speeds = [found[f"{label} batch of array"] / found[f"{label} batch of store"] for label in ("small", "large")]
    rows.append(["speed of store / array", *(f"{speed:.0%}" for speed in speeds), ""])
    write_section(
        "Feature store of a million clips",
        "The same steps in a small and in a large feature store, in milliseconds; *ratio* is large divided by small. "
        f"The stores are synthetic and sparse, with {STEPS} steps of {FEATURES} features a clip and {TOGETHER} clips "
        f"a shard. A batch has {arguments.batch} random clips, which are in memory. *Open*: open the store. *Find*: "
        "find the clips of a batch in the index. *Assemble*: find them and map their shards, anew each time; this "
        "takes most of the time, and training does it only once. *Batch of store*: a batch of training. *Batch of "
        "array*: the same clips from a plain array. *Shards of a batch*: in how many shards a batch lies. *Speed of "
        f"store / array*: the time of the array divided by that of the store. Medians of {ROUNDS} rounds, in which "
        "all take turns.",
        make_table(("", f"{arguments.small:,} clips", f"{arguments.clips:,} clips", "ratio"), rows),
    )


if __name__ == "__main__":
    main()
