"""What lies in a store: a look at the header of every shard, and at the files that are none."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from snn_action.errors import ConfigError
from snn_action.features.checksum import check
from snn_action.features.store import SHARD_FORMAT

SUFFIX = ".safetensors"
_METADATA = {"snn_action"}, {"snn_action", "checksum"}
_NAME = re.compile(rb'\\"name\\": (\\"(?:[^"\\]|\\\\\\\\|\\\\\\"|\\\\[^\\"])*\\")')  # JSON within JSON, as text


@dataclass(frozen=True, slots=True)
class Entry:
    """One video and stream of a shard: its rows begin at ``start``, clips of ``lengths`` one after the other."""

    key: str
    name: str
    start: int
    lengths: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows of all clips."""
        return sum(self.lengths)


@dataclass(frozen=True)
class Shard:
    """A shard as its header describes it."""

    name: str
    size: int
    stream: str
    provenance: str
    entries: tuple[Entry, ...]

    @property
    def backbone(self) -> tuple[str, str]:
        """Name and digest of the weights of the network that made it."""
        made_by = json.loads(self.provenance)
        return str(made_by.get("backbone", "unknown")), str(made_by.get("digest", "unknown"))


@dataclass(frozen=True)
class Survey:
    """The files of a store's folder of shards: shards, those that are broken and why, unfinished and foreign ones."""

    folder: Path
    shards: tuple[Shard, ...]
    broken: dict[str, str]
    unfinished: tuple[str, ...]
    foreign: tuple[str, ...]

    def path(self, name: str) -> Path:
        """Where a file lies."""
        return self.folder / "shards" / name

    def find_doubled(self) -> dict[str, list[str]]:
        """Keys that stand more than once, with their shards; the first shard is the one that is read."""
        places = defaultdict(list)
        for shard in self.shards:
            for entry in shard.entries:
                places[entry.key].append(shard.name)
        return {key: shards for key, shards in places.items() if len(shards) > 1}


@dataclass(frozen=True)
class Check:
    """What reading a whole shard gave: ``whole``, ``unverifiable`` (it has no checksum) or ``broken``; its videos."""

    shard: str
    state: str
    problem: str
    videos: tuple[str, ...]


def survey_store(folder: Path) -> Survey:
    """Look at every file of a store, shards in the order of their names.

    Raises:
        ConfigError: the folder is no store.
    """
    if not (folder / "shards").is_dir():
        raise ConfigError(f"{folder}: not a feature store (it has no folder 'shards'); features.store names one")
    names = sorted(path.name for path in (folder / "shards").iterdir())
    mine = [name for name in names if name.endswith(SUFFIX)]
    with ThreadPoolExecutor() as pool:
        found = dict(zip(mine, pool.map(lambda name: _describe(folder / "shards" / name), mine), strict=True))
    return Survey(
        folder=folder,
        shards=tuple(shard for shard in found.values() if isinstance(shard, Shard)),
        broken={name: reason for name, reason in found.items() if isinstance(reason, str)},
        unfinished=tuple(name for name in names if name.endswith(".part")),
        foreign=tuple(name for name in names if not name.endswith((SUFFIX, ".part"))),
    )


def check_shards(
    survey: Survey, workers: int | None = None, tick: Callable[[], object] = lambda: None
) -> Iterable[Check]:
    """Read every shard whole, several at once, and hold it to its checksum; ``tick`` is called for each video."""
    names = sorted([*survey.broken, *(shard.name for shard in survey.shards)])
    known = {shard.name: shard for shard in survey.shards}
    with ThreadPoolExecutor(workers) as pool:
        for done in pool.map(lambda name: _check(survey, name, known.get(name)), names):
            for _ in done.videos:
                tick()
            yield done


def _describe(path: Path) -> Shard | str:
    """A shard, or why it is none."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            features = file.get_slice("features")
            rows, kind = features.get_shape()[0], features.get_dtype()
            header: dict[str, Any] = json.loads(metadata["snn_action"])
        entries = tuple(Entry(e["key"], e["name"], e["start"], tuple(e["lengths"])) for e in header["entries"])
        shard = Shard(
            path.name, path.stat().st_size, header["stream"], json.dumps(header["provenance"], sort_keys=True), entries
        )
        version = header["format"]
    except (OSError, ValueError, LookupError, TypeError, safetensors.SafetensorError) as error:
        return f"not a complete shard ({error})"
    if version != SHARD_FORMAT or set(metadata) not in _METADATA or kind != "F32":
        return "of another format"
    if sum(entry.rows for entry in entries) != rows:
        return f"it has {rows} rows, not those of its videos"
    return shard


def _check(survey: Survey, name: str, shard: Shard | None) -> Check:
    path = survey.path(name)
    try:
        if shard is None:
            return Check(name, "broken", survey.broken[name], _salvage_names(path))
        state = check(path)
    except OSError as error:
        return Check(name, "broken", f"cannot be read: {error.strerror}", ())
    videos = tuple(entry.name for entry in shard.entries)
    if state == "changed":
        return Check(name, "broken", "its bytes are not those that were written (wrong checksum)", videos)
    if state == "none":
        return Check(name, "unverifiable", "written without a checksum", videos)
    return Check(name, "whole", "", videos)


def _salvage_names(path: Path) -> tuple[str, ...]:
    """Names of videos that can still be made out in a broken file."""
    names = []
    for text in _NAME.findall(path.read_bytes()):
        try:
            names.append(str(json.loads(json.loads(b'"' + text + b'"'))))
        except (ValueError, UnicodeDecodeError):
            continue
    return tuple(names)
