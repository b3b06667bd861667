"""Who works on which block, so that several processes on one store do not do the same work.

The lock of a block is the file ``<block>.lock``, whose text says who holds it. It ends with its process.

Locks only save work. Whether features are right never depends on them: two processes that do one block, as on a file
system without locks, write equal values under equal keys, and of two shards with a key the first by name counts.
"""

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from snn_action.core.errors import WorkError, printable
from snn_action.core.files import open_regular
from snn_action.core.locks import NoLocksError, remove_lock, try_lock

logger = logging.getLogger(__name__)

_LONGEST = 2**10  # bytes of a lock's text that are read


class Locks:
    """The locks of a store's blocks, and those that this process holds until ``close``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, FileLock] = {}
        self._has_locks = True

    def take(self, block: str) -> bool:
        """Whether nobody else works on a block: then this process does.

        Raises:
            WorkError: the lock cannot be made; names it.
        """
        with self._explain_errors():
            self.folder.mkdir(exist_ok=True)
            if self._has_locks and (lock := self._try(block)):
                self._held[block] = lock
                with suppress(OSError):  # a full disk, or Windows
                    self._path(block).write_text(f"process {os.getpid()} on {platform.node()}")
        return block in self._held or not self._has_locks

    def holder(self, block: str) -> str | None:
        """Who works on a block; None where nobody does any more.

        Raises:
            WorkError: that cannot be found out.
        """
        with self._explain_errors():
            if not self._path(block).exists():
                return None
            if lock := self._try(block):
                lock.release()
            if lock or not self._has_locks:
                return None
            with suppress(OSError), open_regular(self._path(block)) as file:
                return printable(file.read(_LONGEST).decode("utf-8", "replace")) or "another process"
        return "another process"

    def end(self, block: str) -> None:
        """Let go of a block."""
        if lock := self._held.pop(block, None):
            remove_lock(lock)

    def clean(self, blocks: set[str]) -> None:
        """Remove what killed processes left of these blocks, which are done."""
        with suppress(OSError, WorkError):
            for path in self.folder.iterdir():
                block, _, kind = path.name.partition(".")
                if block in blocks and kind == "lock" and self.take(block):
                    self.end(block)
                elif block in blocks and kind.isdecimal():  # of an earlier version
                    path.unlink()

    def close(self) -> None:
        """Let go of all."""
        for block in list(self._held):
            self.end(block)

    def _path(self, block: str) -> Path:
        return self.folder / f"{block}.lock"

    def _try(self, block: str) -> FileLock | None:
        try:
            return try_lock(self._path(block))
        except NoLocksError as error:
            self._has_locks = False
            logger.warning("%s: no locks (%s): several processes on this store do work twice", self.folder, error)
            return None

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WorkError(
                f"{error.filename or self.folder}: a block cannot be locked: {error.strerror}. All shards are "
                "complete: make room or fix the folder (features.store) and start again, it goes on from there"
            ) from None
