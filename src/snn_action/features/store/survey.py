"""What lies in a store: a look at the header of every shard, and at the files that are none."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.files import open_regular
from snn_action.features.store.checksum import check
from snn_action.features.store.shard import LONGEST_HEADER, SUFFIX, Flaw, Shard, read_shard
from snn_action.features.store.unfinished import is_unfinished


@dataclass(frozen=True)
class Survey:
    """The files of a store's folder of shards, and why those that are no shards are none.

    Attributes:
        folder: The store.
        shards: What can be used.
        broken: Of this program and proved damaged.
        left: What cannot be used and may yet be good: of another format, not to be read, not as it was written.
        unfinished: Written by a process at this moment, or by one that was killed.
        foreign: Of others: any other file, folder or link.
    """

    folder: Path
    shards: tuple[Shard, ...]
    broken: dict[str, str]
    left: dict[str, str]
    unfinished: tuple[str, ...]
    foreign: dict[str, str]

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
    """What reading a whole shard gave, why, and its videos; ``unverifiable`` has no checksum, ``left`` is no shard."""

    shard: str
    state: Literal["whole", "unverifiable", "broken", "left"]
    problem: str
    videos: tuple[str, ...]


def survey_store(folder: Path) -> Survey:
    """Look at every file of a store, shards in the order of their names.

    Raises:
        ConfigError: the folder is no store.
    """
    if not (folder / "shards").is_dir():
        raise ConfigError(f"{folder}: not a feature store (it has no folder 'shards'); features.store names one")
    try:
        names = sorted(path.name for path in (folder / "shards").iterdir())
    except OSError as error:
        raise WorkError(f"{folder / 'shards'}: cannot be looked at: {error.strerror}") from None
    mine = [name for name in names if name.endswith(SUFFIX)]
    with ThreadPoolExecutor() as pool:
        found = dict(zip(mine, pool.map(lambda name: judge(folder / "shards" / name), mine), strict=True))
    flaws = {name: flaw for name, flaw in found.items() if isinstance(flaw, Flaw) and _is_there(folder, name)}
    others = {name: "not a shard" for name in names if name not in found and not is_unfinished(name)}
    return Survey(
        folder=folder,
        shards=tuple(shard for shard in found.values() if isinstance(shard, Shard)),
        broken={name: flaw.reason for name, flaw in flaws.items() if flaw.verdict == "broken"},
        left={name: flaw.reason for name, flaw in flaws.items() if flaw.verdict == "left"},
        unfinished=tuple(filter(is_unfinished, names)),
        foreign=others | {name: flaw.reason for name, flaw in flaws.items() if flaw.verdict == "foreign"},
    )


def judge(path: Path, whole: bool = False) -> Shard | Flaw:
    """A shard, or a flaw that is ``broken``, ``left`` or ``foreign``: what is odd is held to its checksum.

    With ``whole`` a shard is held to it, too; one without a checksum passes.
    """
    found = read_shard(path)
    if found.verdict != "odd" if isinstance(found, Flaw) else not whole:
        return found
    try:
        seal = check(path)
    except OSError as error:
        return Flaw("left", f"cannot be read: {error.strerror}")
    if seal == "changed":
        return Flaw("broken", "its bytes are not those that were written (wrong checksum)")
    if isinstance(found, Shard):
        is_held = seal == "whole" or not found.is_sealed
        return found if is_held else Flaw("left", "its checksum does not stand where this program writes it")
    return Flaw("left", found.reason)


def check_shards(
    survey: Survey, workers: int | None = None, tick: Callable[[], object] = lambda: None
) -> Iterable[Check]:
    """Read every shard whole, several at once, and hold it to its checksum; ``tick`` is called for each video."""
    names = sorted([*survey.broken, *survey.left, *(shard.name for shard in survey.shards)])
    with ThreadPoolExecutor(workers) as pool:
        for done in pool.map(lambda name: _check(survey.path(name)), names):
            for _ in done.videos:
                tick()
            if done.state != "left" or _is_there(survey.folder, done.shard):
                yield done


def _is_there(folder: Path, name: str) -> bool:
    """Whether a file is still there: others may be pruning the store."""
    return os.path.lexists(folder / "shards" / name)


def _check(path: Path) -> Check:
    found = judge(path, whole=True)
    if isinstance(found, Flaw):
        state: Literal["broken", "left"] = "broken" if found.verdict == "broken" else "left"
        return Check(path.name, state, found.reason, _salvage_names(path))
    videos = tuple(entry.name for entry in found.entries)
    if found.is_sealed:
        return Check(path.name, "whole", "", videos)
    return Check(path.name, "unverifiable", "written without a checksum", videos)


def _salvage_names(path: Path) -> tuple[str, ...]:
    """Names of videos that can still be made out in a broken file: where its header is whole, whatever its length."""
    try:
        with open_regular(path) as file:
            text = file.read(8 + LONGEST_HEADER)[8:].decode(errors="replace")
        header, _ = json.JSONDecoder().raw_decode(text)
        return tuple(str(entry["name"]) for entry in json.loads(header["__metadata__"]["snn_action"])["entries"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ()
