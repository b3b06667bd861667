"""Keys of the feature store: a hash of all that determines a video's features, and nothing else.

A video is known by its content, not by its path: the digest of the file, or of the names and bytes in a folder of
frames. Digests are cached by path, size, times of change and inode, so that a second run reads no video.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snn_action.backbones import Backbone
from snn_action.core.database import Database
from snn_action.video.content import digest_content, path_text, state_of
from snn_action.video.decode import DECODER_VERSION
from snn_action.video.frame_augmentation import FrameDraw
from snn_action.video.settings import ClipSettings
from snn_action.video.transforms import TRANSFORM_VERSION

FEATURE_VERSION = 1  # of this package: raise it when the same inputs would give other features
_WRITTEN_TOGETHER = 200  # digests that a kill may lose
_SEALED = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{16})")


def feature_key(
    content: str,
    name: str,
    stream: str,
    clip: ClipSettings,
    size: int,
    seed: int,
    backbone: Backbone,
    precision: str,
    draw: FrameDraw | None = None,
) -> str:
    """The key of one stream of one video, 64 hexadecimal digits.

    Args:
        content: Digest of the video's content.
        name: Name of the video; like ``seed`` it matters only where frames are drawn at random.
        stream: One of ``clip.streams``.
        clip: How clips are cut.
        size: Side of the images that the backbone gets.
        seed: Seed of random sampling.
        backbone: The network; its fingerprint matters.
        precision: Arithmetic of the network.
        draw: How frames are changed; None: they are not.
    """
    what = {
        "version": FEATURE_VERSION,
        "decoder": DECODER_VERSION,
        "transform": TRANSFORM_VERSION,
        "content": content,
        "stream": [stream, clip.difference_span] if stream == "difference" else [stream],
        "clip": [clip.sampling, clip.frames, clip.stride, clip.hop],
        **({"clips": clip.clips} if clip.sampling == "segments" else {}),  # other keys stay what they were
        "random": [seed, name] if clip.sampling == "random" else None,
        "size": size,
        "backbone": [*backbone.fingerprint, precision],
        **({"draw": draw.key} if draw else {}),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def digest_videos(
    paths: Sequence[Path], database: Database, tick: Callable[[], None] = lambda: None, threads: int = 4
) -> list[str | OSError]:
    """The digest of each video, or why it cannot be read.

    Args:
        paths: Video files and folders of frames.
        database: Where earlier digests are kept.
        tick: Called after each video.
        threads: Files that are read at once.
    """
    digests: list[str | OSError] = []
    new: list[tuple[str, str, str]] = []
    with ThreadPoolExecutor(threads) as pool:
        states = pool.map(state_of, paths)
        asked = [(path, state, _look_up(database, path, state)) for path, state in zip(paths, states, strict=True)]
        found = pool.map(lambda entry: entry[2] or _digest(entry[0]), asked)
        for (path, state, known), digest in zip(asked, found, strict=True):
            digests.append(digest)
            if known is None and isinstance(state, str) and isinstance(digest, str):
                new.append((path_text(path), state, digest))
            if len(new) == _WRITTEN_TOGETHER:
                _remember(database, new)
                new = []
            tick()
    _remember(database, new)
    return digests


def find_new(paths: Sequence[Path], database: Database, states: Sequence[str | OSError]) -> list[bool]:
    """Whether each video, of such a state now, is unknown here, or has changed since its digest was kept."""
    return [_look_up(database, path, state) is None for path, state in zip(paths, states, strict=True)]


def read_states(paths: Sequence[Path], threads: int = 4) -> list[str | OSError]:
    """The state of each video (``state_of``)."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(state_of, paths))


def _remember(database: Database, rows: list[tuple[str, str, str]]) -> None:
    sealed = [(path, state, f"{digest} {_seal(path, state, digest)}") for path, state, digest in rows]
    statement = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?)"
    database.put(statement, sealed)


def _look_up(database: Database, path: Path, state: str | OSError) -> str | OSError | None:
    if isinstance(state, OSError):
        return state
    question, place = "SELECT digest FROM digests WHERE path = ? AND state = ?", path_text(path)
    row = database.ask(question, place, state)
    found = None if row is None else _SEALED.fullmatch(str(row[0]))
    return found[1] if found and found[2] == _seal(place, state, found[1]) else None


def _seal(path: str, state: str, digest: str) -> str:
    """Of a row of the index, which a damaged page must not turn into another video's digest."""
    return hashlib.sha256(f"{path}\0{state}\0{digest}".encode()).hexdigest()[:16]


def _digest(path: Path) -> str | OSError:
    try:
        return digest_content(path)
    except OSError as error:
        return error
