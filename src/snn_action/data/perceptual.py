"""What a video looks like, small enough to compare all videos of a dataset with one another.

A perceptual hash is ``FRAMES`` frames, spread evenly over the video, each shrunk to ``SIDE`` x ``SIDE`` grey cells: a
cell is the mean of its pixels' luminance, ``0.299 R + 0.587 G + 0.114 B``. What changes in a copy (another codec,
another size, noise) hardly changes such means.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from snn_action.config import LimitSettings
from snn_action.data.decode import DECODER_VERSION, open_video
from snn_action.data.workers import Failure, map_apart
from snn_action.errors import VideoError

logger = logging.getLogger(__name__)

FRAMES, SIDE = 8, 16
Hash = npt.NDArray[np.uint8]

_VERSION = f"1 {DECODER_VERSION}"
_TABLE = "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, state TEXT NOT NULL, hash BLOB NOT NULL)"
_WRITTEN_TOGETHER = 200  # hashes that a kill may lose


def hash_video(path: Path, limits: LimitSettings) -> Hash:
    """The perceptual hash ``(FRAMES, SIDE, SIDE)`` of a video; a short one repeats frames.

    Raises:
        VideoError: names the file and why it cannot be read.
    """
    source = open_video(path, limits)
    indices = (2 * np.arange(FRAMES) + 1) * source.n_frames // (2 * FRAMES)
    distinct = np.unique(indices)
    cells = {index: _shrink(frame) for index, frame in zip(distinct, source.read(distinct.tolist()), strict=True)}
    return np.stack([cells[index] for index in indices])


def hash_videos(
    paths: Sequence[Path],
    cache: Path,
    limits: LimitSettings,
    workers: int,
    tick: Callable[[], None] = lambda: None,
) -> list[Hash | None]:
    """The hash of each video, None where it cannot be read.

    Hashes are kept in the file ``cache`` by path, size and time; one that cannot be used is done without.

    Args:
        paths: Video files and folders of frames.
        cache: SQLite file, made where it is absent, with its folder.
        limits: What a video may ask for.
        workers: Processes that decode; 0: in this process.
        tick: Called after each video.
    """
    states = [_state(path) for path in paths]
    found = _recall(cache, paths, states)
    left = [index for index, hash_ in enumerate(found) if hash_ is None and states[index] is not None]
    for _ in range(len(paths) - len(left)):
        tick()
    new: list[tuple[str, str, bytes]] = []
    for index, hash_ in zip(left, _compute([paths[index] for index in left], limits, workers), strict=True):
        found[index] = hash_
        if hash_ is not None:
            new.append((str(paths[index].absolute()), str(states[index]), hash_.tobytes()))
        if len(new) == _WRITTEN_TOGETHER:
            _remember(cache, new)
            new = []
        tick()
    _remember(cache, new)
    return found


def _shrink(frame: npt.NDArray[np.uint8]) -> Hash:
    grey = Image.fromarray(frame).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), np.uint8)


def _compute(paths: Sequence[Path], limits: LimitSettings, workers: int) -> Iterator[Hash | None]:
    compute = partial(_hash_if_readable, limits=limits)
    results = map_apart(compute, paths, workers, limits.timeout) if workers else map(compute, paths)
    for result in results:
        yield None if isinstance(result, Failure) else result


def _hash_if_readable(path: Path, limits: LimitSettings) -> Hash | None:
    try:
        return hash_video(path, limits)
    except (VideoError, OSError):
        return None


def _state(path: Path) -> str | None:
    """What changes when a video changes; None where it is not there."""
    try:
        if not path.is_dir():
            status = path.stat()
            return f"{_VERSION} {status.st_size} {status.st_mtime_ns}"
        with os.scandir(path) as entries:
            every = [entry.stat() for entry in entries]
    except OSError:
        return None
    size, newest = sum(status.st_size for status in every), max((status.st_mtime_ns for status in every), default=0)
    return f"{_VERSION} {len(every)} {size} {newest}"


def _recall(cache: Path, paths: Sequence[Path], states: Sequence[str | None]) -> list[Hash | None]:
    found: list[Hash | None] = [None] * len(paths)
    if not cache.is_file():
        return found
    try:
        with closing(sqlite3.connect(cache, timeout=60.0)) as database:
            for index, (path, state) in enumerate(zip(paths, states, strict=True)):
                question = "SELECT hash FROM hashes WHERE path = ? AND state = ?"
                row = database.execute(question, (str(path.absolute()), state)).fetchone()
                if row is not None and len(row[0]) == FRAMES * SIDE * SIDE:
                    found[index] = np.frombuffer(row[0], np.uint8).reshape(FRAMES, SIDE, SIDE)
    except sqlite3.Error as error:
        logger.warning("%s: cannot be used (%s); videos are looked at anew", cache, error)
    return found


def _remember(cache: Path, rows: Sequence[tuple[str, str, bytes]]) -> None:
    if not rows:
        return
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(cache, timeout=60.0)) as database, database:
            database.execute(_TABLE)
            database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", rows)
    except (sqlite3.Error, OSError) as error:
        logger.warning("%s: cannot be written (%s)", cache, error)
