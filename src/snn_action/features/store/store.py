"""The feature store: shards of features that are complete or absent, and an index that finds a video's rows.

A shard is a safetensors file in ``shards/`` with one tensor, ``features`` (rows, D) of one stream, float32 or uint8.
Its header holds, as JSON under ``snn_action``: ``format``, ``stream``, ``provenance`` of the backbone, and ``entries``,
one for a video: ``key``, ``name`` of the video, ``start`` (its first row), ``lengths`` of its clips, whose rows follow
one another, and ``frames``, the video's frames that the rows of each clip come from. ``index.sqlite`` repeats the
places and is made anew from the headers where it is lost. ``checksum`` stands beside ``snn_action`` (``checksum.py``).
"""

import json
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from snn_action.core.errors import WorkError, printable
from snn_action.core.files import describe_state
from snn_action.features.store.checksum import UNSEALED, seal
from snn_action.features.store.database import open_database
from snn_action.features.store.opening import BrokenShardError, open_shard, read_whole
from snn_action.features.store.shard import SHARD_FORMAT, SUFFIX, Shard, read_shard
from snn_action.features.store.unfinished import is_abandoned, unfinished

logger = logging.getLogger(__name__)

_TOGETHER = 1000  # shards that enter the index in one transaction
_SETTLED = 60_000_000_000  # ns after which even a coarse clock gives the next change of the folder another time


@dataclass(frozen=True)
class Rows:
    """Features of one video and stream on their way into the store.

    Attributes:
        key: The key under which they are found again (``keys.feature_key``).
        name: Name of the video, for people.
        features: Rows of all clips, one clip after the other (rows, D) float32.
        frames: For each clip, the frames of the video that its rows come from.
    """

    key: str
    name: str
    features: Tensor
    frames: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Place:
    """Where one video and stream lies: from row ``start`` of ``shard``, clips of ``lengths`` one after the other."""

    shard: str
    start: int
    lengths: tuple[int, ...]


class FeatureStore:
    """A folder of features. Several processes may read and write one at the same time.

    Where nothing can be written there, its index is kept in memory, so that all that is in it can be read.

    Args:
        folder: The folder.
        index: The index's file, where it is to lie elsewhere: on a disk of this machine's own, if the folder's file
            system has no locks that hold.

    Raises:
        WorkError: the folder cannot be made or its index cannot be written.
    """

    def __init__(self, folder: Path, index: Path | None = None) -> None:
        self.folder = folder
        self._shards = folder / "shards"
        self._passed_over: set[str] = set()  # what is no shard and has been named
        self._is_checked = False
        try:
            self._shards.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"{folder}: cannot make the feature store: {error.strerror} (features.store)") from None
        self.is_read_only = not os.access(self._shards, os.W_OK)
        self.index = index or folder / "index.sqlite"
        self.database = open_database(self.index, in_memory=self.is_read_only and index is None)
        self.database.refill = self.refresh
        self.refresh()

    def close(self) -> None:
        """Let go of the index."""
        self.database.close()

    def measure(self) -> int:
        """Bytes that all shards take up.

        Raises:
            WorkError: they cannot be looked at.
        """
        return sum(status.st_size for status in self._list_shards().values())

    def sweep(self) -> None:
        """Remove unfinished shards of processes that are gone."""
        with suppress(OSError):
            for path in self._shards.iterdir():
                if is_abandoned(path):
                    with suppress(OSError):
                        path.unlink()

    def refresh(self) -> None:
        """Bring the index up to date with the shards in the folder: those of other processes, lost or new ones.

        A folder that has not changed since it was last looked at is not looked at again, however many shards it holds.
        Shards are never changed in place; one that was damaged is found when it is opened, or by ``store verify``.

        Raises:
            WorkError: the folder cannot be looked at, or the index not be used.
        """
        with self._explain_errors():
            folder = str(self._shards.stat().st_mtime_ns)
        question = "SELECT state FROM folders WHERE name = 'shards'"
        if self.database.ask(question) == (folder,):
            return
        files = {name: describe_state(status) for name, status in self._list_shards().items()}
        known = self.database.run(lambda index: dict(index.execute("SELECT name, state FROM shards")))
        self._forget([name for name, state in known.items() if files.get(name) != state])
        new = sorted(name for name in files if known.get(name) != files[name])
        for first in range(0, len(new), _TOGETHER):
            self._add(new[first : first + _TOGETHER])
        if time.time_ns() - int(folder) > _SETTLED:
            statement = "INSERT OR REPLACE INTO folders VALUES ('shards', ?)"
            self.database.put(statement, [(folder,)])

    def find(self, keys: Iterable[str]) -> dict[str, Place]:
        """The places of those keys that are in the store, as the index has them.

        Where it lacks some, it is checked for damage first, once: what is there would be extracted again.

        Raises:
            WorkError: the index cannot be used.
        """
        wanted = list(dict.fromkeys(keys))
        found = self._find(wanted)
        if len(found) < len(wanted) and not self._is_checked:
            self._is_checked = True
            self.database.check()
            found = self._find(wanted)
        return found

    def open(self, keys: Iterable[str]) -> tuple[dict[str, Place], dict[str, Tensor]]:
        """The places of keys, each held to its shard's own header, and the features (rows, D) of these shards.

        An index that says anything else than the shards is made anew.

        Raises:
            WorkError: a shard is broken or cannot be read, or a key is not there any more.
        """
        wanted = list(dict.fromkeys(keys))
        make_anew = partial(self.database.make_anew, "it says other than the shards")
        for repair in (self.refresh, make_anew, None):
            places = self.find(wanted)
            opened: dict[str, Tensor] = {}
            true: dict[str, Place] = {}
            for name in dict.fromkeys(place.shard for place in places.values()):
                if self._has(name):
                    try:
                        shard, opened[name] = open_shard(self._shards / name)
                    except BrokenShardError:
                        self._forget([name])  # so that the next start finds nothing there
                        raise
                    there = {e.key: Place(name, e.start, e.lengths) for e in shard.entries}
                    true |= {key: there[key] for key, place in places.items() if place.shard == name and key in there}
            if len(places) == len(wanted) and all(true.get(key) == place for key, place in places.items()):
                return places, opened
            if repair is not None:
                repair()
        raise WorkError(
            f"{self._shards}: features of {len(wanted) - len(true)} videos are not there any more: did somebody prune "
            "the store? Start again, they are extracted anew"
        )

    def write(self, stream: str, rows: Sequence[Rows], provenance: Mapping[str, Any]) -> None:
        """Write one shard, then name it in the index. After a crash the shard is there wholly or not at all.

        Raises:
            WorkError: it cannot be written (disk full, folder removed, permission denied); names the folder.
        """
        entries = []
        start = 0
        for entry in rows:
            lengths = [len(clip) for clip in entry.frames]
            entries.append(
                {"key": entry.key, "name": entry.name, "start": start, "lengths": lengths, "frames": entry.frames}
            )
            start += sum(lengths)
        header = {"format": SHARD_FORMAT, "stream": stream, "provenance": dict(provenance), "entries": entries}
        features = torch.cat([entry.features for entry in rows])
        name = f"{stream}-{uuid.uuid4().hex}{SUFFIX}"
        try:
            metadata = {"snn_action": json.dumps(header), "checksum": UNSEALED}
            with unfinished(self._shards / name) as aside:
                # not ``save_file``: it writes aside under a name of its own, which a kill would leave
                aside.write_bytes(seal(safetensors.torch.save({"features": features}, metadata)))
                _to_disk(aside)
                aside.replace(self._shards / name)
            _to_disk(self._shards)
        except (OSError, safetensors.SafetensorError) as error:
            raise WorkError(
                f"{self._shards}: cannot write features: {error}. All earlier shards are complete: make room or fix "
                "the folder (features.store) and start again, it goes on from there"
            ) from None
        self._add([name])

    def read_header(self, shard: str) -> dict[str, Any]:
        """The JSON in a shard's header.

        Raises:
            WorkError: the shard is missing or broken.
        """
        return read_whole(self._shards / shard)[1]

    def open_shard(self, shard: str) -> Tensor:
        """The features in a shard (rows, D), memory-mapped: only the rows that are used are read.

        Raises:
            WorkError: the shard is missing or broken.
        """
        return open_shard(self._shards / shard)[1]

    def _find(self, wanted: Sequence[str]) -> dict[str, Place]:
        for _ in range(2):
            found: dict[str, Place] = {}
            try:
                for first in range(0, len(wanted), 500):
                    for key, shard, start, lengths in self._ask(wanted[first : first + 500]):
                        found[key] = Place(shard, int(start), tuple(map(int, json.loads(lengths))))
                if not found.keys() <= set(wanted):  # the key of a row differs from that in the index over keys
                    raise ValueError("a key that was not asked for")
                return found
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                self.database.make_anew(f"a place that cannot be true: {error}")
        raise WorkError(f"{self.index}: the index of the feature store cannot be used (features.index)")

    def _ask(self, some: Sequence[str]) -> list[tuple[str, str, int, str]]:
        query = f"SELECT key, shard, start, lengths FROM entries WHERE key IN ({', '.join('?' * len(some))})"
        # Two processes may both have written a key, with equal values: the first shard by name counts.
        return self.database.run(lambda index: index.execute(query + " ORDER BY shard DESC", some).fetchall())

    def _has(self, shard: str) -> bool:
        """Whether a shard that the index names lies in the folder, and nowhere else."""
        is_plain = isinstance(shard, str) and shard.endswith(SUFFIX) and Path(shard).name == shard
        return is_plain and os.path.lexists(self._shards / shard)

    def _add(self, names: Sequence[str]) -> None:
        """Put shards into the index."""
        shards, entries = [], []
        for name in names:
            with suppress(FileNotFoundError):  # it is gone again
                state = describe_state((self._shards / name).lstat())
                found = read_shard(self._shards / name)
                if isinstance(found, Shard):
                    shards.append((name, state))
                    entries += [(e.key, name, e.start, json.dumps(e.lengths)) for e in found.entries]
                elif name not in self._passed_over:  # it is looked at whenever the folder has changed
                    self._passed_over.add(name)
                    logger.warning("%s: passed over (%s)", printable(str(self._shards / name)), found.reason)

        def put(index: sqlite3.Connection) -> None:
            index.executemany("INSERT OR REPLACE INTO shards VALUES (?, ?)", shards)
            index.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", entries)

        self.database.run(put)

    def _forget(self, shards: Sequence[str]) -> None:
        def forget(index: sqlite3.Connection) -> None:
            for table, column in (("entries", "shard"), ("shards", "name")):
                index.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(shard,) for shard in shards])

        if shards:
            self.database.run(forget)

    def _list_shards(self) -> dict[str, os.stat_result]:
        """Files that have a shard's suffix; no links, nor what is gone again."""
        found = {}
        with self._explain_errors(), os.scandir(self._shards) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    with suppress(FileNotFoundError):
                        found[entry.name] = entry.stat(follow_symlinks=False)
        return found

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WorkError(f"{self._shards}: cannot be looked at: {error.strerror} (features.store)") from None


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
