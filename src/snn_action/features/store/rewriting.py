"""Removes from a store what nobody needs, and takes in the shards of other stores.

What is whole and needed no more, or doubled, is deleted. What is broken is moved into the store's folder ``removed``,
if it is of this program and proved broken; anything else that is no shard is left where it is (``survey``).
Nothing is ever changed in place: rows that stay are written into a new shard before the old one is removed. A kill
between the two leaves them twice, with equal values, until the store is pruned again. Whoever has mapped a shard that
is removed keeps it (on POSIX systems the file lives until it is let go).
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from snn_action.core.errors import ConfigError, WorkError
from snn_action.features.store.opening import open_shard, read_whole
from snn_action.features.store.removal import take_out
from snn_action.features.store.shard import Entry, Flaw, Shard
from snn_action.features.store.store import FeatureStore, Rows
from snn_action.features.store.survey import Survey, judge, survey_store
from snn_action.features.store.unfinished import is_abandoned, unfinished


@dataclass(frozen=True)
class Plan:
    """What pruning would do.

    Attributes:
        files: Files that go, and why.
        broken: Shards that go into ``removed``, and why.
        rewritten: Shards of which some rows go: what stays of each.
        dropped: Videos and streams that go with files and shards.
        freed: Bytes.
    """

    files: dict[str, str]
    broken: dict[str, str]
    rewritten: dict[Shard, tuple[Entry, ...]]
    dropped: int
    freed: int


@dataclass
class Merged:
    """What merging did: shards taken as they are, videos and streams taken out of others, those that were there."""

    shards: int = 0
    entries: int = 0
    present: int = 0
    broken: dict[str, str] = field(default_factory=dict)


def plan_pruning(survey: Survey, needed: Collection[str] | None = None, compact: int = 0) -> Plan:
    """Find what can go: broken shards, abandoned files, doubled keys and those that are not ``needed``.

    A shard of which some rows stay elsewhere or are written anew is read whole first.

    Args:
        survey: Of the store.
        needed: Keys that stay; None: all.
        compact: Shards of fewer videos than this are written anew, so many together.
    """
    files = {name: "unfinished" for name in survey.unfinished if is_abandoned(survey.path(name))}
    broken = dict(survey.broken)
    doubled = {name for names in survey.find_doubled().values() for name in names}
    rewritten: dict[Shard, tuple[Entry, ...]] = {}
    seen: set[str] = set()
    dropped = freed = 0
    for shard in sorted(survey.shards, key=lambda shard: not shard.is_sealed):  # what can be checked rather stays
        kept = [e for e in shard.entries if e.key not in seen and (needed is None or e.key in needed)]
        changes = len(kept) < len(shard.entries) or len(shard.entries) < compact
        if kept and (changes or shard.name in doubled):
            flaw = judge(survey.path(shard.name), whole=True)
            if isinstance(flaw, Flaw):  # it is the others that stay
                if flaw.verdict == "broken":
                    broken[shard.name] = flaw.reason
                continue
        seen.update(entry.key for entry in kept)
        dropped += len(shard.entries) - len(kept)
        if not kept:
            files[shard.name] = "not needed"
        elif changes:
            rewritten[shard] = tuple(kept)
            rows = shard.rows
            freed += shard.size * (rows - sum(entry.rows for entry in kept)) // max(rows, 1)
    rewritten = _leave_alone_what_stays_small(rewritten, compact)
    with suppress(OSError):
        freed += sum(survey.path(name).lstat().st_size for name in files)
    return Plan(files, broken, rewritten, dropped, freed)


def prune(survey: Survey, plan: Plan, compact: int = 0) -> None:
    """Do what was planned.

    Raises:
        WorkError: the store cannot be written, or a shard changed meanwhile; what was there is kept.
    """
    store = FeatureStore(survey.folder)
    try:
        for shards, pieces in _pack(plan.rewritten, compact):
            store.write(shards[0].stream, _read_rows(survey, pieces), json.loads(shards[0].provenance))
            for shard in shards:
                survey.path(shard.name).unlink(missing_ok=True)
        for name in plan.files:
            survey.path(name).unlink(missing_ok=True)
        take_out(survey.folder, list(plan.broken))
        store.refresh()
    except OSError as error:
        raise WorkError(f"{error.filename or survey.folder}: cannot be pruned: {error.strerror}") from None
    finally:
        store.close()


def merge(target: Path, sources: Sequence[Path], tick: Callable[[], object] = lambda: None) -> Merged:
    """Take into ``target`` what ``sources`` have and it has not; ``tick`` is called for each of their shards.

    Every shard is held to its checksum on the way; a broken one stays where it is and is named in what is returned.

    Raises:
        ConfigError: a source is no store, or is the target.
        WorkError: the target cannot be written; what is complete in it is kept.
    """
    surveys = [survey_store(source) for source in sources]
    if any(target.exists() and source.samefile(target) for source in sources):
        raise ConfigError(f"{target}: a store cannot be merged into itself")
    store, done = FeatureStore(target), Merged()
    try:
        known = {entry.key for shard in survey_store(target).shards for entry in shard.entries}
        for survey in surveys:
            flaws = survey.broken | survey.left
            done.broken |= {str(survey.path(name)): reason for name, reason in flaws.items()}
            for shard in survey.shards:
                _take(store, survey, shard, known, done)
                tick()
        store.refresh()
    finally:
        store.close()
    return done


def _take(store: FeatureStore, survey: Survey, shard: Shard, known: set[str], done: Merged) -> None:
    new = tuple(entry for entry in shard.entries if entry.key not in known)
    done.present += len(shard.entries) - len(new)
    if not new:
        return
    source, target = survey.path(shard.name), store.folder / "shards" / shard.name
    if len(new) == len(shard.entries) and not os.path.lexists(target):
        found = _take_whole(source, target)
        done.shards += not found
    else:
        found = _take_rows(store, survey, shard, new)
        done.entries += 0 if found else len(new)
    if found:
        done.broken[str(source)] = found
    else:
        known.update(entry.key for entry in new)


def _take_whole(source: Path, target: Path) -> str:
    """Put a shard into its place as it is; why not, where it is no whole one."""
    try:
        with unfinished(target) as aside:
            _link_or_copy(source, aside)
            found = judge(aside, whole=True)
            if isinstance(found, Shard):
                aside.replace(target)
        return found.reason if isinstance(found, Flaw) else ""
    except OSError as error:
        raise WorkError(f"{target}: cannot take in {source}: {error.strerror}; make room and run again") from None


def _take_rows(store: FeatureStore, survey: Survey, shard: Shard, new: Sequence[Entry]) -> str:
    """Write some rows of a shard into a new one; why not, where it is no whole one."""
    try:
        rows = _read_rows(survey, [(shard, entry) for entry in new])
    except WorkError as error:
        return str(error)
    store.write(shard.stream, rows, json.loads(shard.provenance))
    return ""


def _link_or_copy(source: Path, aside: Path) -> None:
    try:
        os.link(source, aside)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, aside)
        with aside.open("rb") as file:
            os.fsync(file.fileno())


def _leave_alone_what_stays_small(
    rewritten: dict[Shard, tuple[Entry, ...]], compact: int
) -> dict[Shard, tuple[Entry, ...]]:
    """Without shards that would be written anew just as they are: the only small one of their kind."""
    kinds: dict[tuple[str, str], int] = defaultdict(int)
    for shard in rewritten:
        kinds[shard.stream, shard.provenance] += 1
    return {
        shard: kept
        for shard, kept in rewritten.items()
        if len(kept) < len(shard.entries) or (compact and kinds[shard.stream, shard.provenance] > 1)
    }


def _pack(
    rewritten: dict[Shard, tuple[Entry, ...]], compact: int
) -> Iterator[tuple[list[Shard], list[tuple[Shard, Entry]]]]:
    """Shards that are replaced together by one new shard of what stays of them."""
    kinds: dict[tuple[str, str], list[Shard]] = defaultdict(list)
    for shard in rewritten:
        kinds[shard.stream, shard.provenance].append(shard)
    for shards in kinds.values():
        waiting: list[Shard] = []
        for shard in shards:
            count = sum(len(rewritten[other]) for other in waiting)
            if waiting and count + len(rewritten[shard]) > compact:
                yield waiting, [(other, entry) for other in waiting for entry in rewritten[other]]
                waiting = []
            waiting.append(shard)
        yield waiting, [(other, entry) for other in waiting for entry in rewritten[other]]


def _read_rows(survey: Survey, pieces: Sequence[tuple[Shard, Entry]]) -> list[Rows]:
    """Rows of entries of shards, each held to its checksum.

    Raises:
        WorkError: a shard is not what it was when the survey was made.
    """
    rows = []
    for shard in dict.fromkeys(shard for shard, _ in pieces):
        path = survey.path(shard.name)
        found = judge(path, whole=True)
        if found != shard:
            raise WorkError(f"{path}: {found.reason if isinstance(found, Flaw) else 'it has changed'}; run this again")
        _, features = open_shard(path)
        frames = {said["key"]: said["frames"] for said in read_whole(path)[1]["entries"]}
        for other, entry in pieces:
            if other is shard:
                piece = features[entry.start : entry.start + entry.rows]
                rows.append(Rows(entry.key, entry.name, piece, tuple(map(tuple, frames[entry.key]))))
    return rows
