"""How processes share one extraction: the catalog is cut into blocks, and each process takes those that are free.

Blocks are cut from all videos of the catalog, whatever is in the store: so every process cuts the same ones, whenever
it starts, and a block is known by its keys. A process goes round them from its own place, takes those that nobody
works on (``locks``), does what the store lacks of them, and writes one shard of each stream. Then it waits for those
that others work on, and does them itself where the others are gone. No process talks to another one.
"""

import hashlib
import time
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from snn_action.core import distributed
from snn_action.core.progress import Tick
from snn_action.datasets.catalog import Catalog
from snn_action.features.extraction.decoding import Job
from snn_action.features.extraction.failures import Failures
from snn_action.features.extraction.locks import Locks
from snn_action.features.extraction.needs import Contents, Draws
from snn_action.features.store.store import FeatureStore
from snn_action.video.settings import Stream

PATIENCE = 1.0  # seconds between two looks at what others do


@dataclass(frozen=True)
class Block:
    """Videos that are written together; ``name`` is the same whoever cuts it."""

    name: str
    jobs: tuple[Job, ...]

    @property
    def keys(self) -> Iterator[str]:
        """All keys of all its videos."""
        return (key for job in self.jobs for key in job.keys.values())


@dataclass(frozen=True)
class Claim:
    """What this process does of a block."""

    block: Block
    jobs: tuple[Job, ...]


def cut_blocks(
    catalog: Catalog,
    keys: Mapping[int, Mapping[Stream, str]],
    contents: Contents,
    videos: int,
    draws: Draws | None = None,
) -> list[Block]:
    """Blocks of ``videos`` videos in the catalog's order; of videos with equal keys only the first is in one."""
    seen: set[str] = set()
    jobs = []
    for index, streams in keys.items():
        video = catalog.videos[index]
        new = {stream: key for stream, key in streams.items() if key not in seen}
        if new and video.path is not None:
            known = str(contents.digests[index]), str(contents.states[index])
            jobs.append(Job(video, video.path, new, *known, draws[index] if draws else None))
            seen.update(new.values())
    return [_name(jobs[first : first + videos]) for first in range(0, len(jobs), videos)]


def own_place(blocks: int) -> int:
    """Where this process begins: at its share, under ``torchrun``; else at the first block."""
    return distributed.rank() * blocks // distributed.world_size()


class Sharing:
    """The blocks that are not done, as this process sees them.

    Attributes:
        n_left: Videos of which the store lacked something at the beginning.
        failed: Why keys have no features.
        claims: Blocks whose jobs ``take`` has given, in that order; the caller removes the first when it is done.
    """

    def __init__(
        self, blocks: Sequence[Block], store: FeatureStore, locks: Locks | None, failures: Failures | None
    ) -> None:
        self._store, self._locks, self._failures = store, locks, failures
        self.failed: dict[str, str] = {}
        self.claims: deque[Claim] = deque()
        self._held: dict[str, Block] = {}  # blocks that others work on
        present = store.find(key for block in blocks for key in block.keys)
        place = own_place(len(blocks))
        walk = [*blocks[place:], *blocks[:place]]
        left = {block.name: len(self._find_left(block, present)) for block in walk}
        self._left = {name: number for name, number in left.items() if number}
        self._free = deque(block for block in walk if block.name in self._left)
        self.n_left = sum(self._left.values())

    @property
    def is_done(self) -> bool:
        """Whether nothing is left that this process or another one does."""
        return not (self._free or self._held)

    def take(self, tick: Tick) -> Iterator[Job]:
        """Take one free block after the other and give its jobs, when they are asked for.

        Raises:
            WorkError: a lock cannot be taken, or the index cannot be used.
        """
        while self._free:
            block = self._free.popleft()
            if self._locks and not self._locks.take(block.name):
                self._held[block.name] = block
                continue
            self._store.refresh()
            jobs = self._find_left(block, self._store.find(block.keys))
            tick(self._left[block.name] - len(jobs))
            if jobs:
                self.claims.append(Claim(block, jobs))
                yield from jobs
            else:
                self._let_go(block)
            self._look_at_others(tick)

    def finish(self, reasons: Mapping[str, str]) -> None:
        """The first claim is done: its features are in the store, but for the keys with a reason why not."""
        claim = self.claims.popleft()
        self.failed.update(reasons)
        if self._failures:
            self._failures.write(claim.block.name, {k: self.failed[k] for k in claim.block.keys if k in self.failed})
        self._let_go(claim.block)

    def wait(self, tick: Tick) -> None:
        """Return when a block is free that others have worked on, or when all are done; say whom it waits for."""
        while self._held and self._locks:
            self._store.refresh()
            self._look_at_others(tick)
            holders = {name: self._locks.holder(name) for name in self._held}
            if freed := [name for name, holder in holders.items() if holder is None]:
                self._free.extend(self._held.pop(name) for name in freed)
                break
            if holders:
                names = sorted({holder for holder in holders.values() if holder})
                tick.say(f"Waiting for {', '.join(names)} ({len(holders)} blocks)")
                time.sleep(PATIENCE)
        tick.say()

    def clean(self, blocks: Iterable[Block]) -> None:
        """Remove locks that killed processes left, when all blocks are done."""
        if self._locks:
            self._locks.clean({block.name for block in blocks})

    def _look_at_others(self, tick: Tick) -> None:
        """Strike out blocks that others have done."""
        for name, block in list(self._held.items()):
            if not self._find_left(block, self._store.find(block.keys)):
                del self._held[name]
                tick(self._left[name])

    def _find_left(self, block: Block, present: Container[str]) -> tuple[Job, ...]:
        if self._failures and not all(key in present for key in block.keys):
            self.failed.update(self._failures.read(block.name))
        jobs = []
        for job in block.jobs:
            missing = {s: key for s, key in job.keys.items() if key not in present and key not in self.failed}
            if missing:
                jobs.append(replace(job, keys=missing))
        return tuple(jobs)

    def _let_go(self, block: Block) -> None:
        if self._locks:
            self._locks.end(block.name)


def _name(jobs: Sequence[Job]) -> Block:
    digest = hashlib.sha256(" ".join(key for job in jobs for key in job.keys.values()).encode())
    return Block(digest.hexdigest()[:32], tuple(jobs))
