"""Real videos that were damaged at random: does reading them ever crash, hang, or lie about the number of frames?

    python benchmarks/robustness/fuzz.py VIDEOS [--mutations 2000]

VIDEOS is a folder with videos at any depth. Each mutation takes one of them and flips bits, cuts the end off, or swaps
blocks; the seed is fixed. What is damaged is then

- checked as ``snn-action check-videos`` does, in worker processes: every frame is decoded;
- read as the extraction does: 28 frames spread over the video (``uniform``), resized, in worker processes;
- decoded to its end by a plain loop of PyAV in a fresh process, the reference.

A check is right where it finds a problem, or says how many frames there are: as many as the header declares (or it
warns that there are not) and as many as the fresh process decodes. A read is right where it fails with the file's name,
or takes its frames from as many as the header declares or the fresh process decodes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snn_action.core.errors import VideoError
from snn_action.datasets.check import VideoCheck, check_videos, find_all_videos
from snn_action.video.clips import read_video
from snn_action.video.settings import ClipSettings, LimitSettings
from snn_action.video.workers import Failure, map_apart

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

KINDS = ("bit flips", "truncation", "swapped blocks")
LIMITS = LimitSettings(timeout=30.0)
CLIP = ClipSettings(frames=28, sampling="uniform")
TOGETHER = 50  # files that are there at a time
REFERENCE = """
import json, sys, av
decoded, error = 0, None
try:
    with av.open("file:" + sys.argv[1]) as container:
        for frame in container.decode(video=0):
            decoded += 1
except Exception as caught:
    error = type(caught).__name__
print(json.dumps([decoded, error]))
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutation; ``fault`` says what is wrong with that, if anything is."""

    kind: str
    check: str
    read: str
    reference: str
    fault: str | None


def mutate(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """A damaged copy; half of the damage to bits and blocks is in the first 4 KiB, where the headers are."""
    size = len(data)
    if kind == "truncation":
        return data[: int(rng.integers(0, size))]
    broken = bytearray(data)
    reach = min(size, 4096) if rng.random() < 0.5 else size
    if kind == "bit flips":
        for place in rng.integers(0, reach, int(2 ** rng.uniform(0, 8))):
            broken[place] ^= 1 << int(rng.integers(8))
        return bytes(broken)
    length = int(min(2 ** rng.uniform(2, 14), reach // 2))
    first, second = sorted(int(place) for place in rng.integers(0, reach - length, 2))
    length = min(length, second - first)
    broken[first : first + length], broken[second : second + length] = (
        data[second : second + length],
        data[first : first + length],
    )
    return bytes(broken)


def make_mutations(sources: Sequence[Path], count: int, seed: int) -> Iterator[tuple[int, str, str, bytes]]:
    """Number, kind, suffix and content of each."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        source = sources[int(rng.integers(len(sources)))]
        kind = KINDS[number % len(KINDS)]
        yield number, kind, source.suffix, mutate(source.read_bytes(), kind, rng)


def read_clip(path: Path) -> int | str:
    """How many frames the extraction takes a video to have, or why it does not read it."""
    try:
        return read_video(path, CLIP, 64, 0, path.name, LIMITS).n_frames
    except VideoError as error:
        return str(error)


def decode_afresh(path: Path) -> tuple[int, str | None] | None:
    """Frames that a plain loop decodes, and the error that ended it; None where the process crashed or hung."""
    try:
        process = subprocess.run(
            [sys.executable, "-c", REFERENCE, str(path)], capture_output=True, text=True, timeout=60, check=True
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    decoded, error = json.loads(process.stdout)
    return decoded, error


def judge(
    path: Path, kind: str, check: VideoCheck, read: int | str | Failure, reference: tuple[int, str | None] | None
) -> Outcome:
    """Hold what was said of a file against what it declares and what the reference found."""
    faults = []
    decoded = None if reference is None or reference[1] else reference[0]
    for problem in check.problems:
        if str(path) not in problem.text:
            faults.append(f"check: a problem without the file's name: {problem.text}")
    if not check.problems:
        told = {warning.kind for warning in check.warnings}
        if check.declared not in (None, check.frames) and "frame count" not in told:
            faults.append(f"check: {check.frames} frames, {check.declared} declared")
        if check.frames != decoded:
            faults.append(f"check: {check.frames} frames, the reference: {reference}")
    if isinstance(read, Failure):
        faults.append(f"read: {read.reason}")
    elif isinstance(read, str):
        if str(path) not in read:
            faults.append(f"read: a failure without the file's name: {read}")
    elif read not in (check.declared, decoded):
        faults.append(f"read: {read} frames, {check.declared} declared, the reference: {reference}")
    return Outcome(
        kind,
        check.problems[0].kind if check.problems else "usable" + (", with warnings" if check.warnings else ""),
        "frames" if isinstance(read, int) else "refused",
        "crash or hang" if reference is None else "error" if reference[1] else "whole",
        "; ".join(faults) or None,
    )


def fuzz(sources: Sequence[Path], count: int, seed: int, workers: int, keep: Path | None = None) -> list[Outcome]:
    """The outcome of each of ``count`` mutations; those with a fault are kept in the folder ``keep``."""
    outcomes: list[Outcome] = []
    mutations = make_mutations(sources, count, seed)
    with ThreadPoolExecutor(workers) as pool:
        while len(outcomes) < count:
            with tempfile.TemporaryDirectory() as folder:
                paths, kinds = [], []
                for number, kind, suffix, content in mutations:
                    paths.append(Path(folder, f"{number:05d}{suffix}"))
                    paths[-1].write_bytes(content)
                    kinds.append(kind)
                    if len(paths) == TOGETHER:
                        break
                checks = list(check_videos(paths, LIMITS, workers))
                reads = list(map_apart(read_clip, paths, workers, LIMITS.timeout))
                references = list(pool.map(decode_afresh, paths))
                found = list(map(judge, paths, kinds, checks, reads, references))
                for path, outcome in zip(paths, found, strict=True):
                    if outcome.fault:
                        print(f"{path.name}, {outcome.kind}: {outcome.fault}", file=sys.stderr, flush=True)
                        if keep is not None:
                            keep.mkdir(exist_ok=True, parents=True)
                            (keep / path.name).write_bytes(path.read_bytes())
                outcomes += found
            print(f"{len(outcomes)} of {count}", file=sys.stderr, flush=True)
    return outcomes


def main() -> None:
    from benchmarks.lib.table import make_table, write_section

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for the mutations that show a fault")
    arguments = parser.parse_args()
    sources = find_all_videos(arguments.videos)
    outcomes = fuzz(sources, arguments.mutations, arguments.seed, arguments.workers, arguments.keep)
    rows = []
    for kind in KINDS:
        of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
        checks = Counter(outcome.check for outcome in of_kind)
        usable = sum(number for check, number in checks.items() if check.startswith("usable"))
        problems = ", ".join(f"{check} {number}" for check, number in checks.most_common() if check[:6] != "usable")
        rows.append(
            [
                kind,
                str(len(of_kind)),
                str(usable),
                str(checks["usable, with warnings"]),
                problems,
                str(sum(outcome.read == "frames" for outcome in of_kind)),
                str(sum(outcome.reference == "crash or hang" for outcome in of_kind)),
                str(sum(outcome.fault is not None for outcome in of_kind)),
            ]
        )
    header = (
        *(
            "damage",
            "videos",
            "can be used",
            "of these with a warning",
            "refused by check-videos",
            "read by extraction",
        ),
        *("crash or hang of the plain loop", "faults"),
    )
    write_section(
        "Damaged videos",
        f"{len(outcomes)} damaged copies of {len(sources)} real videos. Each copy is checked as by `check-videos`, "
        "read as an extraction reads it, and decoded to its end by a plain loop of PyAV in a fresh process. *Refused "
        "by check-videos*: the problem that was found, and in how many copies. *Faults* should be 0. A fault is a "
        "crash or a hang of the main process or of a reader of the extraction, an error that does not name the file, "
        "or a success whose number of frames differs, without a word about it, from the number that the header "
        "declares or that the fresh process decodes.",
        make_table(header, rows),
    )


if __name__ == "__main__":
    main()
