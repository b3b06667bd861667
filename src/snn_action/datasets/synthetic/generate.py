"""Generates the set: every clip from its own seed, by as many processes as there are cores.

A clip's bytes depend on the plan's seed, its group, action and number alone, not on what else is generated, in
which order or by how many processes. A file is there completely or not at all, so a generation that was killed
goes on where it was.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from rich.console import Console
from rich.progress import track

from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.files import remove_asides, write_atomic
from snn_action.datasets.synthetic.casting import draw_clip
from snn_action.datasets.synthetic.motions import ACTIONS
from snn_action.datasets.synthetic.render import render_clip
from snn_action.datasets.synthetic.video_file import encode_avi
from snn_action.video.workers import is_daemonic

VERSION = 2  # of what is generated: counts up when the same plan gives other bytes
MANIFEST = "synthetic.json"
LISTS = "ucfTrainTestlist"
SPLITS = (1, 2, 3)
TEST_SHARE = 0.28  # of the groups, as in UCF101: 7 of 25
_CHUNK = 8  # clips that a process takes at once
_STALE = 60.0  # seconds after which a half-written file is nobody's any more


@dataclass(frozen=True)
class Plan:
    """What set is to be generated; ``size`` is the side of a picture, ``rate`` frames a second."""

    seed: int = 0
    groups: int = 25
    clips: int = 2
    frames: int = 32
    rate: int = 16
    size: int = 112

    def videos(self) -> Iterator[tuple[str, int, int, int]]:
        """Name, number of the action, group and clip of every video."""
        for number, action in enumerate(ACTIONS):
            for group in range(1, self.groups + 1):
                for clip in range(1, self.clips + 1):
                    yield f"{action.name}/v_{action.name}_g{group:02d}_c{clip:02d}.avi", number, group, clip

    def test_groups(self, split: int) -> range:
        """The groups that split 1, 2 or 3 tests on: each time others."""
        share = max(1, round(TEST_SHARE * self.groups))
        return range((split - 1) * share + 1, split * share + 1)


def generate(folder: Path, plan: Plan, workers: int | None = None) -> None:
    """Generate the set in ``folder``, or what is missing of it, with ``workers`` processes (None: one a core).

    Raises:
        ConfigError: the folder holds another set, or something else.
        WorkError: the folder or a file cannot be written.
    """
    wanted = json.dumps({"generator": VERSION, "plan": asdict(plan)}, indent=2) + "\n"
    try:
        _claim(folder, wanted)
        for name, text in _lists(plan).items():
            _write(folder / LISTS / name, text)
        missing = [video for video in plan.videos() if not (folder / video[0]).is_file()]
    except OSError as error:
        raise _explain(error, folder) from None
    if missing:
        _make_clips(folder, plan, missing, workers or _cores())
        _sweep(folder)


def _claim(folder: Path, wanted: str) -> None:
    """Make ``folder`` the place of the set that the manifest ``wanted`` describes."""
    manifest = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"dataset.path: {folder} is not a folder")
    if manifest.is_file():
        if manifest.read_bytes() != wanted.encode():
            raise ConfigError(
                f"dataset.path: {folder} holds a synthetic set of other settings or another version of the generator "
                f"({MANIFEST} says which): delete it or name another folder"
            )
    elif folder.is_dir() and any(not name.name.endswith(".tmp") for name in folder.iterdir()):
        raise ConfigError(f"dataset.path: {folder} holds something else than a synthetic set: name another folder")
    else:
        _write(manifest, wanted)


def _lists(plan: Plan) -> dict[str, str]:
    """UCF101's files of lists: name to text."""
    files = {"classInd.txt": "".join(f"{k} {action.name}\n" for k, action in enumerate(ACTIONS, 1))}
    for split in SPLITS:
        tested = plan.test_groups(split)
        train = [f"{name} {number + 1}\n" for name, number, group, _ in plan.videos() if group not in tested]
        test = [f"{name}\n" for name, _, group, _ in plan.videos() if group in tested]
        files[f"trainlist{split:02d}.txt"], files[f"testlist{split:02d}.txt"] = "".join(train), "".join(test)
    return files


def _make_clips(folder: Path, plan: Plan, videos: Sequence[tuple[str, int, int, int]], workers: int) -> None:
    make = partial(_make_clip, folder, plan)
    shown = partial(track, description="Generating videos", total=len(videos), console=Console(stderr=True))
    if workers == 1 or len(videos) <= _CHUNK or is_daemonic():
        for _ in shown(map(make, videos)):
            pass
        return
    context = multiprocessing.get_context("spawn")  # the parent may hold threads, which do not survive a fork
    try:
        with ProcessPoolExecutor(min(workers, len(videos)), context, initializer=_begin_worker) as pool:
            for _ in shown(pool.map(make, videos, chunksize=_CHUNK)):
                pass
    except BrokenProcessPool:
        raise WorkError(
            f"{folder}: a process that generates videos died: out of memory, or a script that starts a run "
            "without `if __name__ == '__main__':`; run again to go on"
        ) from None


def _make_clip(folder: Path, plan: Plan, video: tuple[str, int, int, int]) -> None:
    name, number, group, clip = video
    frames, _ = render_clip(draw_clip(plan.seed, group, clip, ACTIONS[number], plan.frames, plan.rate), plan.size)
    try:
        _write(folder / name, encode_avi(frames, plan.rate))
    except OSError as error:
        raise _explain(error, folder / name) from None


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)


def _sweep(folder: Path) -> None:
    """Remove half-written files that a killed generation left."""
    for place in (folder, folder / LISTS, *(folder / action.name for action in ACTIONS)):
        remove_asides(place, lambda _: True, _STALE)


def _explain(error: OSError, path: Path) -> WorkError:
    return WorkError(
        f"{error.filename or path}: cannot write the synthetic set: {error.strerror or error}; "
        "make room or name another folder in dataset.path, then run again to go on"
    )


def _begin_worker() -> None:
    """A worker leaves Ctrl-C to its parent and ends when that does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
