"""Removes from a store what nobody needs, and takes in the shards of other stores.

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

from snn_action.errors import ConfigError, WorkError
from snn_action.features.checksum import check
from snn_action.features.store import FeatureStore, Rows, aside_of, is_abandoned
from snn_action.features.survey import Entry, Shard, Survey, survey_store


@dataclass(frozen=True)
class Plan:
    """What pruning would do.

    Attributes:
        files: Files that go, and why.
        rewritten: Shards of which some rows go: what stays of each.
        dropped: Videos and streams that go with files and shards.
        freed: Bytes.
    """

    files: dict[str, str]
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

    Args:
        survey: Of the store.
        needed: Keys that stay; None: all.
        compact: Shards of fewer videos than this are written anew, so many together.
    """
    files = dict(survey.broken)
    for name in survey.unfinished:
        with suppress(FileNotFoundError):
            if is_abandoned(survey.path(name)):
                files[name] = "unfinished"
    doubled = {name for names in survey.find_doubled().values() for name in names}
    rewritten: dict[Shard, tuple[Entry, ...]] = {}
    seen: set[str] = set()
    dropped = freed = 0
    for shard in survey.shards:
        if shard.name in doubled and check(survey.path(shard.name)) == "changed":  # it is the others that stay
            files[shard.name] = "broken (wrong checksum)"
            continue
        kept = []
        for entry in shard.entries:  # a key may stand twice in one shard, too
            if entry.key not in seen and (needed is None or entry.key in needed):
                kept.append(entry)
            seen.add(entry.key)
        dropped += len(shard.entries) - len(kept)
        if not kept:
            files[shard.name] = "not needed"
        elif len(kept) < len(shard.entries) or len(shard.entries) < compact:
            rewritten[shard] = tuple(kept)
            rows = sum(entry.rows for entry in shard.entries)
            freed += shard.size * (rows - sum(entry.rows for entry in kept)) // max(rows, 1)
    rewritten = _leave_alone_what_stays_small(rewritten, compact)
    with suppress(FileNotFoundError):
        freed += sum(survey.path(name).stat().st_size for name in files)
    return Plan(files, rewritten, dropped, freed)


def prune(survey: Survey, plan: Plan, compact: int = 0) -> None:
    """Do what was planned.

    Raises:
        WorkError: a shard that is to be rewritten is broken, or the store cannot be written; what was there is kept.
    """
    store = FeatureStore(survey.folder)
    try:
        for shards, pieces in _pack(plan.rewritten, compact):
            _write(store, survey, pieces)
            for shard in shards:
                survey.path(shard.name).unlink(missing_ok=True)
        for name in plan.files:
            survey.path(name).unlink(missing_ok=True)
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
            done.broken |= {str(survey.path(name)): reason for name, reason in survey.broken.items()}
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
    whole = len(new) == len(shard.entries) and not target.exists()
    aside = aside_of(target)
    try:
        if whole:
            _link_or_copy(source, aside)
        if check(aside if whole else source) == "changed":
            done.broken[str(source)] = "its bytes are not those that were written (wrong checksum)"
            return
        if whole:
            aside.replace(target)
            done.shards += 1
        else:
            _write(store, survey, [(shard, entry) for entry in new])
            done.entries += len(new)
    except OSError as error:
        raise WorkError(f"{store.folder}: cannot take in {source}: {error.strerror}; make room and run again") from None
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    known.update(entry.key for entry in new)


def _link_or_copy(source: Path, aside: Path) -> None:
    aside.unlink(missing_ok=True)
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


def _write(store: FeatureStore, survey: Survey, pieces: Sequence[tuple[Shard, Entry]]) -> None:
    """Write entries of shards, all of one stream and backbone, into a new shard of ``store``."""
    source = FeatureStore(survey.folder) if survey.folder != store.folder else store
    rows = []
    for shard in dict.fromkeys(shard for shard, _ in pieces):
        if check(survey.path(shard.name)) == "changed":
            raise WorkError(
                f"{survey.path(shard.name)}: this shard is broken (wrong checksum); remove it with: snn-action store "
                f"verify {survey.folder} --remove"
            )
        features = source.open_shard(shard.name)
        frames = {(e["key"], e["start"]): e["frames"] for e in source.read_header(shard.name)["entries"]}
        for other, entry in pieces:
            if other is shard:
                piece = features[entry.start : entry.start + entry.rows]
                rows.append(Rows(entry.key, entry.name, piece, tuple(map(tuple, frames[entry.key, entry.start]))))
    store.write(pieces[0][0].stream, rows, json.loads(pieces[0][0].provenance))
    if source is not store:
        source.close()
