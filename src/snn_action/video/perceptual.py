"""What a video looks like, small enough to compare all videos of a dataset with one another: its fingerprint.

A fingerprint is the digest of the file's content and small gray pictures of frames: of every frame of a short video, of
evenly spaced ones of a longer one. Bars at the sides (what has nearly one luminance in all frames) are cut off first. A
picture has the mean luminance, ``0.299 R + 0.587 G + 0.114 B``, of ``SIDE`` x ``SIDE`` cells, less the video's mean and
divided by its contrast. So what a copy changes (codec, size, brightness, contrast) hardly changes it. What else a copy
may change (a cut, a mirror, a crop) is looked for when two videos are compared (``video/copies.py``).
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from snn_action.core.database import Database
from snn_action.core.errors import VideoError, WorkError
from snn_action.video.content import digest_content, path_text, state_of
from snn_action.video.decode import DECODER_VERSION, FrameSource, open_video, use_video
from snn_action.video.settings import LimitSettings
from snn_action.video.workers import Failure, map_apart

logger = logging.getLogger(__name__)

SIDE = 32

UNIT = 32.0  # what a picture's contrast is in a fingerprint's numbers
PLAIN = 2.0  # gray levels of contrast below which a video shows nothing that could be told from another
NO_PATTERN = "shows no pattern"
_FRAMES, _STRIDE, _MOST = 64, 8, 1024  # every frame up to 64; then every 2nd to 8th; never more than 1,024 in all
_WORKING_SIDE = 96  # at which bars are looked for
_UNIFORM = 0.05  # of all gray levels' spread that the cells of a bar may be spread over: noise of a codec

_VERSION = f"2 {DECODER_VERSION}"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS fingerprints "
    "(path TEXT PRIMARY KEY, state TEXT NOT NULL, digest TEXT NOT NULL, stride INTEGER NOT NULL, frames BLOB NOT NULL);"
)
_WRITTEN_TOGETHER = 200  # fingerprints that a kill may lose

Pictures = npt.NDArray[np.int8]
_Row = tuple[str, str, str, int, bytes]  # path, state, digest, stride, pictures


@dataclass(frozen=True)
class Fingerprint:
    """What a video is compared by; its digest, its pictures or both may be unknown.

    Attributes:
        digest: SHA-256 of its content.
        pictures: Of every ``stride``-th frame, ``(N, SIDE, SIDE)``, in ``UNIT`` of the video's contrast.
        reason: Why there are no pictures.
    """

    digest: str | None
    pictures: Pictures | None
    reason: str = ""
    stride: int = 1


def fingerprint_video(path: Path, limits: LimitSettings) -> Fingerprint:
    """The fingerprint of a video file or of a folder of frames.

    Raises:
        VideoError: names the file and why it cannot be read.
        OSError: it cannot be opened.
    """
    cells, stride = use_video(open_video(path, limits), _read_cells)
    pictures = _standardize(cells)
    return Fingerprint(digest_content(path), pictures, "" if pictures is not None else NO_PATTERN, stride)


def _read_cells(source: FrameSource) -> tuple[npt.NDArray[np.uint8], int]:
    """Frames spread over a video, shrunk, and their distance."""
    stride = max(min(-(-source.n_frames // _FRAMES), _STRIDE), -(-source.n_frames // _MOST))
    return np.stack([_shrink(frame) for frame in source.read(range(0, source.n_frames, stride))]), stride


def _standardize(cells: npt.NDArray[np.uint8]) -> Pictures | None:
    """The pictures of frames ``(N, H, W)`` without their bars, or None where they show no pattern."""
    box = _find_picture(cells)
    if box is None:
        return None
    pictures = np.stack([_resize(frame.astype(np.float32), box) for frame in cells])
    contrast = float(np.sqrt(pictures.var((1, 2)).mean()))
    if contrast < PLAIN:
        return None
    scores = (pictures - pictures.mean()) * (UNIT / contrast)
    return np.asarray(np.clip(np.rint(scores), -127, 127), np.int8)


def fingerprint_videos(
    paths: Sequence[Path],
    cache: Path,
    limits: LimitSettings,
    workers: int,
    tick: Callable[[], None] = lambda: None,
) -> list[Fingerprint]:
    """The fingerprint of each video; one that cannot be read has no pictures but a reason.

    Fingerprints are kept in the file ``cache`` by path, size, times and inode; one that cannot be used is done without.

    Args:
        paths: Video files and folders of frames.
        cache: SQLite file, made where it is absent, with its folder.
        limits: What a video may ask for.
        workers: Processes that decode; 0: in this process.
        tick: Called after each video.
    """
    states = [_state(path) for path in paths]
    found = _recall(cache, paths, states)
    left = [index for index, fingerprint in enumerate(found) if fingerprint is None]
    for _ in range(len(paths) - len(left)):
        tick()
    new: list[_Row] = []
    for index, result in zip(left, _compute([paths[index] for index in left], limits, workers), strict=True):
        found[index] = result
        is_still = states[index] is not None and states[index] == _state(paths[index])  # not replaced meanwhile
        if is_still and result.digest is not None and result.reason in ("", NO_PATTERN):
            pictures = b"" if result.pictures is None else result.pictures.tobytes()
            new.append((path_text(paths[index]), str(states[index]), result.digest, result.stride, pictures))
        if len(new) == _WRITTEN_TOGETHER:
            _remember(cache, new)
            new = []
        tick()
    _remember(cache, new)
    return [fingerprint for fingerprint in found if fingerprint is not None]


def _shrink(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    gray = Image.fromarray(frame).convert("L")
    return np.asarray(gray.resize((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.BOX), np.uint8)


def _resize(cells: npt.NDArray[np.float32], box: tuple[int, int, int, int]) -> npt.NDArray[np.float32]:
    image = Image.fromarray(cells)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.HAMMING, box=box), np.float32)


def _find_picture(cells: npt.NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of what lies within the bars of frames ``(N, H, W)``; None where all is one bar."""
    sides = []
    least = max(2.0, _UNIFORM * (int(cells.max()) - int(cells.min())))
    for axis in (1, 2):  # over columns: rows that are uniform; over rows: columns
        spread = cells.max((0, 3 - axis)).astype(int) - cells.min((0, 3 - axis))
        inside = np.flatnonzero(spread > least)
        if not len(inside):
            return None
        first, last = int(inside[0]), int(inside[-1]) + 1
        # the cells beside a bar are partly of it
        sides.append((first + (first > 0), last - (last < cells.shape[axis])))
    (top, bottom), (left, right) = sides
    return (left, top, right, bottom) if min(bottom - top, right - left) > _WORKING_SIDE // 4 else None


def _compute(paths: Sequence[Path], limits: LimitSettings, workers: int) -> Iterator[Fingerprint]:
    compute = partial(_fingerprint_or_reason, limits=limits)
    results = map_apart(compute, paths, workers, limits.timeout) if workers else map(compute, paths)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, Failure):  # the digest died with the process
            yield Fingerprint(_digest(path), None, result.reason)
        else:
            yield result


def _fingerprint_or_reason(path: Path, limits: LimitSettings) -> Fingerprint:
    try:
        return fingerprint_video(path, limits)
    except (VideoError, OSError) as error:
        return Fingerprint(_digest(path), None, str(error))
    except Exception as error:  # of a library, on a file that it was not made for: costs this video
        return Fingerprint(_digest(path), None, f"{path}: {type(error).__name__}: {error}")


def _digest(path: Path) -> str | None:
    try:
        return digest_content(path) if path.is_file() or path.is_dir() else None
    except OSError:
        return None


def _state(path: Path) -> str | None:
    """What changes when a video changes; None where it is not there."""
    state = state_of(path)
    return f"{_VERSION} {state}" if isinstance(state, str) else None


def _open(cache: Path) -> Database:
    return Database(cache, _TABLE, 1, "the cache of fingerprints", "Videos are looked at anew without it.")


def _recall(cache: Path, paths: Sequence[Path], states: Sequence[str | None]) -> list[Fingerprint | None]:
    found: list[Fingerprint | None] = [None] * len(paths)
    if not os.path.lexists(cache):
        return found
    question = "SELECT digest, stride, frames FROM fingerprints WHERE path = ? AND state = ?"
    try:
        with closing(_open(cache)) as database:
            for index, (path, state) in enumerate(zip(paths, states, strict=True)):
                row = database.ask(question, path_text(path), state)
                if row is None:
                    continue
                sealed, stride, frames = row
                digest = str(sealed)[:64]
                if sealed == f"{digest} {_seal((path_text(path), str(state), digest, stride, frames))}":
                    pictures = np.frombuffer(frames, np.int8).reshape(-1, SIDE, SIDE) if frames else None
                    found[index] = Fingerprint(digest, pictures, "" if frames else NO_PATTERN, stride)
    except WorkError as error:
        logger.warning("%s", error)
    return found


def _remember(cache: Path, rows: Sequence[_Row]) -> None:
    if not rows:
        return
    statement = "INSERT OR REPLACE INTO fingerprints VALUES (?, ?, ?, ?, ?)"
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with closing(_open(cache)) as database:
            database.put(statement, [(*row[:2], f"{row[2]} {_seal(row)}", *row[3:]) for row in rows])
    except OSError as error:
        logger.warning("%s: cannot be written (%s)", cache, error)
    except WorkError as error:
        logger.warning("%s", error)


def _seal(row: _Row) -> str:
    """Of a row, which a damaged page must not turn into what another video looks like."""
    return hashlib.sha256(repr(row).encode()).hexdigest()
