"""Leases: who works on which block, so that several processes on one store do not do the same work.

A lease is a file ``<block>.<generation>`` that names its holder and is created with ``O_EXCL``, which only one process
can do. It ends with its holder: at once where that can be seen (same host, the process is gone), elsewhere when the
file has not been touched for ``LIMIT`` seconds, told by the file system's clock, as clocks of machines differ, or when
it has not changed for as long as that before the eyes of who waits: a clock that was set may date it in the future.
An ended lease is taken over by creating the next generation; again only one process can. Nothing is ever removed or
renamed that somebody might have just taken, as would be the danger with a rename: two processes find a lease ended,
the first one takes it over, the second one renames the first one's. The files of a block go when the block is done.

Leases only save work. Whether features are right never depends on them: two processes that do one block write equal
values under equal keys, and of two shards with a key the first by name counts.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from snn_action.core.errors import WorkError, printable
from snn_action.core.files import open_regular
from snn_action.features.extraction.holder import Holder, clock, is_gone, this_process

BEAT = 5.0  # seconds between two touches
LIMIT = 60.0  # seconds without one after which a holder on another host is taken to be gone
_LONGEST = 2**16  # bytes of a lease that are read
_UNKNOWN = Holder("", "", 0, None)  # a holder that died, or is, between creating its lease and writing its name


class Lease:
    """A block that this process works on. Made by ``Leases.take``."""

    def __init__(self, folder: Path, block: str, generation: int, content: bytes) -> None:
        self._folder, self._block, self._generation = folder, block, generation
        self._content = content

    def _path(self, generation: int) -> Path:
        return self._folder / f"{self._block}.{generation}"

    def touch(self) -> None:
        """Say that the holder is still there. One touch may fail: many fit into the limit."""
        with suppress(OSError), self._path(self._generation).open("r+b") as file:
            if file.read() == self._content:
                os.utime(file.fileno() if os.utime in os.supports_fd else file.name)

    def is_lost(self) -> bool:
        """Whether somebody took it over: this process stood still too long."""
        try:
            mine = self._path(self._generation).read_bytes() == self._content
        except OSError:
            mine = False
        return not mine or self._path(self._generation + 1).exists()

    def end(self, done: bool) -> None:
        """Let go of the block: with all earlier generations where it is done, so that none are left."""
        with suppress(OSError):
            if done:
                for generation in range(self._generation, -1, -1):
                    self._path(generation).unlink(missing_ok=True)
            elif self._path(self._generation).read_bytes() == self._content:
                self._path(self._generation).unlink()


class Leases:
    """The leases of a store, and those that this process holds, which a thread keeps alive until ``close``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: set[Lease] = set()
        self._seen: dict[str, tuple[float, float]] = {}  # when a lease was touched, and since when that is seen here
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, block: str) -> Lease | Holder:
        """The lease of a block, or who has it.

        Raises:
            WorkError: the lease cannot be written; names the folder.
        """
        with self._explain_errors():
            self.folder.mkdir(exist_ok=True)
            lease = None
            while lease is None:
                generation, holder = self._look(block)
                if holder is not None:
                    return holder
                lease = self._create(block, generation)
        self._held.add(lease)
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_alive, name="leases", daemon=True)
            self._thread.start()
        return lease

    def end(self, lease: Lease, done: bool) -> None:
        """Let go of a lease; ``done`` where its block needs no more work."""
        self._held.discard(lease)
        lease.end(done)

    def holder(self, block: str) -> Holder | None:
        """Who works on a block; None where nobody does any more.

        Raises:
            WorkError: that cannot be found out.
        """
        with self._explain_errors():
            return self._look(block)[1]

    def clean(self, blocks: set[str]) -> None:
        """Remove what killed processes left of these blocks, which are done."""
        with suppress(OSError):
            left = {path.name.partition(".")[0] for path in self.folder.iterdir()} & blocks
            for block in left:
                generation, holder = self._look(block)
                if holder is None:
                    Lease(self.folder, block, generation, b"").end(done=True)

    def close(self) -> None:
        """Let go of all."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        for lease in list(self._held):
            self.end(lease, done=False)

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WorkError(
                f"{error.filename or self.folder}: leases cannot be taken: {error.strerror}. All shards are "
                "complete: make room or mend the folder (features.store) and start again, it goes on from there"
            ) from None

    def _keep_alive(self) -> None:
        while not self._closed.wait(BEAT):
            for lease in self._held.copy():
                lease.touch()

    def _look(self, block: str) -> tuple[int, Holder | None]:
        """The last generation and its holder, or the one that may be created and None."""
        generation = 0
        while True:
            name = f"{block}.{generation}"
            try:
                with open_regular(self.folder / name) as file:  # opened: NFS then asks the server
                    holder, touched = _read(file.read(_LONGEST)), os.fstat(file.fileno()).st_mtime
            except FileNotFoundError:
                return generation, None
            if not self._is_over(name, holder, touched):
                return generation, holder
            generation += 1

    def _is_over(self, name: str, holder: Holder, touched: float) -> bool:
        gone = is_gone(holder.host, holder.pid, holder.start)
        if gone is not None:
            return gone
        now = time.monotonic()
        if name not in self._seen or self._seen[name][0] != touched:
            self._seen[name] = touched, now
        return clock(self.folder) - touched > LIMIT or now - self._seen[name][1] > LIMIT

    def _create(self, block: str, generation: int) -> Lease | None:
        path = self.folder / f"{block}.{generation}"
        content = json.dumps({**asdict(this_process()), "block": block, "lease": uuid.uuid4().hex}).encode()
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            return None
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise
        return Lease(self.folder, block, generation, content)


def _read(content: bytes) -> Holder:
    try:
        known = json.loads(content)
        host, name, pid, start = (known[part] for part in ("host", "name", "pid", "start"))
    except (ValueError, LookupError, TypeError, RecursionError):
        return _UNKNOWN
    is_process = type(pid) is int and 0 < pid < 2**31 and (start is None or type(start) is int)
    if not (isinstance(host, str) and isinstance(name, str) and is_process):
        return _UNKNOWN
    return Holder(host, printable(name), pid, start)
