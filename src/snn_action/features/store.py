"""The feature store: shards of features that are complete or absent, and an index that finds a video's rows.

A shard is a safetensors file in ``shards/`` with one tensor, ``features`` (rows, D) float32 of one stream. Its header
holds, as JSON under ``snn_action``: ``format``, ``stream``, ``provenance`` of the backbone, and ``entries``, one for a
video: ``key``, ``name`` of the video, ``start`` (its first row), ``lengths`` of its clips, whose rows follow one
another, and ``frames``, the video's frames that the rows of each clip come from. ``index.sqlite`` repeats the places
and is made anew from the headers where it is lost. ``checksum`` stands beside ``snn_action`` (``checksum.py``).
"""

import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from snn_action.errors import WorkError
from snn_action.features.checksum import UNSEALED, seal
from snn_action.features.database import explain_errors, open_copy, open_database
from snn_action.features.holder import clock, is_marked_gone, this_process

logger = logging.getLogger(__name__)

SHARD_FORMAT = 1
_SUFFIX = ".safetensors"
_TOGETHER = 1000  # shards that enter the index in one transaction
_SETTLED = 60_000_000_000  # ns after which even a coarse clock gives the next change of the folder another time
_ASIDE = ".part"
_ABANDONED = 86400.0  # seconds after which an unfinished shard of another host's process is nobody's


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
        self._passed_over: set[str] = set()  # broken shards that have been named
        try:
            self._shards.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"{folder}: cannot make the feature store: {error.strerror} (features.store)") from None
        self.is_read_only = not os.access(self._shards, os.W_OK)
        self.index = index or folder / "index.sqlite"
        self.database = open_copy(self.index) if self.is_read_only and index is None else open_database(self.index)
        self.refresh()

    def close(self) -> None:
        """Let go of the index."""
        self.database.close()

    def measure(self) -> int:
        """Bytes that all shards take up.

        Raises:
            WorkError: they cannot be looked at.
        """
        with explain_errors(self.index):
            return sum(path.stat().st_size for path in self._shards.glob(f"*{_SUFFIX}"))

    def sweep(self) -> None:
        """Remove unfinished shards of processes that are gone."""
        with suppress(OSError):
            for path in self._shards.glob(f"*{_ASIDE}"):
                if is_abandoned(path):
                    path.unlink(missing_ok=True)

    def refresh(self) -> None:
        """Bring the index up to date with the shards in the folder: those of other processes, lost or new ones.

        A folder that has not changed since it was last looked at is not looked at again, however many shards it holds.
        Shards are never changed in place; one that was damaged is found when it is opened, or by ``store verify``.
        """
        with explain_errors(self.index):
            folder = self._shards.stat().st_mtime_ns
            if self.database.execute("SELECT state FROM folders WHERE name = 'shards'").fetchone() == (str(folder),):
                return
            with os.scandir(self._shards) as entries:
                files = {entry.name: _state(entry.stat()) for entry in entries if entry.name.endswith(_SUFFIX)}
            known = dict(self.database.execute("SELECT name, state FROM shards"))
            stale = [name for name, state in known.items() if files.get(name) != state]
            with self.database:
                self.database.executemany("DELETE FROM entries WHERE shard = ?", [(name,) for name in stale])
                self.database.executemany("DELETE FROM shards WHERE name = ?", [(name,) for name in stale])
        new = sorted(name for name in files if known.get(name) != files[name])
        for first in range(0, len(new), _TOGETHER):
            self._add(new[first : first + _TOGETHER])
        if time.time_ns() - folder > _SETTLED:
            with explain_errors(self.index), self.database:
                self.database.execute("INSERT OR REPLACE INTO folders VALUES ('shards', ?)", (str(folder),))

    def find(self, keys: Iterable[str]) -> dict[str, Place]:
        """The places of those keys that are in the store."""
        found: dict[str, Place] = {}
        wanted = list(keys)
        with explain_errors(self.index):
            for first in range(0, len(wanted), 500):
                some = wanted[first : first + 500]
                query = f"SELECT key, shard, start, lengths FROM entries WHERE key IN ({', '.join('?' * len(some))})"
                # Two processes may both have written a key, with equal values: the first shard by name counts.
                for key, shard, start, lengths in self.database.execute(query + " ORDER BY shard DESC", some):
                    found[key] = Place(shard, start, tuple(json.loads(lengths)))
        return found

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
        name = f"{stream}-{uuid.uuid4().hex}{_SUFFIX}"
        aside = aside_of(self._shards / name)
        try:
            metadata = {"snn_action": json.dumps(header), "checksum": UNSEALED}
            # not ``save_file``: it writes aside under a name of its own, which a kill would leave, for this user alone
            aside.write_bytes(safetensors.torch.save({"features": features}, metadata))
            seal(aside)
            _to_disk(aside)
            aside.replace(self._shards / name)
            _to_disk(self._shards)
        except (OSError, safetensors.SafetensorError) as error:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise WorkError(
                f"{self._shards}: cannot write features: {error}. All earlier shards are complete: make room or mend "
                "the folder (features.store) and start again, it goes on from there"
            ) from None
        self._add([name])

    def read_header(self, shard: str) -> dict[str, Any]:
        """The JSON in a shard's header.

        Raises:
            WorkError: the shard is missing or broken.
        """
        header, _ = _read_header(self._shards / shard)
        return header

    def open_shard(self, shard: str) -> Tensor:
        """The features in a shard (rows, D), memory-mapped: only the rows that are used are read.

        Raises:
            WorkError: the shard is missing or broken.
        """
        path = self._shards / shard
        try:
            with safetensors.safe_open(path, "pt") as file:
                features: Tensor = file.get_tensor("features")
        except (OSError, safetensors.SafetensorError) as error:
            raise _broken(path, error) from None
        return features

    def _add(self, names: Sequence[str]) -> None:
        """Put shards into the index, in one transaction."""
        described = [found for name in names if (found := self._describe(name)) is not None]
        with explain_errors(self.index), self.database:
            self.database.executemany("INSERT OR REPLACE INTO shards VALUES (?, ?)", [shard for shard, _ in described])
            for _, rows in described:
                self.database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)

    def _describe(self, name: str) -> tuple[tuple[str, str], list[tuple[str, str, int, str]]] | None:
        """The rows of the index for a shard; None, with a warning, where it is not a complete one."""
        path = self._shards / name
        try:
            state = _state(path.stat())
            header, n_rows = _read_header(path)
            rows = [(e["key"], name, e["start"], json.dumps(e["lengths"])) for e in header["entries"]]
            if header["format"] != SHARD_FORMAT or sum(sum(e["lengths"]) for e in header["entries"]) != n_rows:
                raise WorkError(f"{path}: of another format")
        except (OSError, KeyError, TypeError, WorkError) as error:
            if name not in self._passed_over:  # it is looked at whenever the folder has changed
                logger.warning("%s: not a complete shard, passed over (%s)", path, error)
            self._passed_over.add(name)
            return None
        return (name, state), rows


def aside_of(path: Path) -> Path:
    """Where this process writes a file before it is put into its place, under a name that says whose it is."""
    return path.with_name(f"{path.name}.{this_process().mark}{_ASIDE}")


def is_abandoned(aside: Path) -> bool:
    """Whether the process that wrote an unfinished file is gone, or the file a day old where that cannot be told."""
    gone = is_marked_gone(aside.stem.rpartition(".")[2])
    return clock(aside.parent) - aside.stat().st_mtime > _ABANDONED if gone is None else gone


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})["snn_action"])
            n_rows: int = file.get_slice("features").get_shape()[0]
    except (OSError, ValueError, KeyError, IndexError, safetensors.SafetensorError) as error:
        raise _broken(path, error) from None
    return header, n_rows


def _broken(path: Path, error: Exception) -> WorkError:
    if path.exists() and not os.access(path, os.R_OK):  # safetensors says that there is no such file
        return WorkError(f"{path}: this shard may not be read (permission denied)")
    return WorkError(f"{path}: this shard is missing or broken ({error}); remove it and run again to extract it anew")


def _state(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
