"""An SQLite file that keeps what can be made anew: where it is damaged it is set aside, and a new one takes its place.

Damage shows when the file is opened, or when a page is first read, long after. So every question is asked by ``run``,
which makes the file anew and asks once more. Nothing is deleted: what was there is kept beside it as ``NAME.broken``,
since it may be another program's file. A file that is only locked, or cannot be written, is said to be so, and stays.
"""

import logging
import os
import sqlite3
import stat
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from snn_action.core.errors import WorkError
from snn_action.core.files import set_aside

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

PATIENCE = 60.0  # seconds that another process may hold the file
_DAMAGE = {  # what a whole file of ours never answers
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # another table or column than ours
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_TOOBIG,
}
_ERRORS = (sqlite3.Error, UnicodeError)  # the latter: SQLite names a damaged table in bytes that are no text
_JOURNALS = ("-journal", "-wal", "-shm")  # of the damaged file: SQLite would put their pages into a new one


class Database:
    """The file. It is opened at once; ``run`` asks it.

    Attributes:
        refill: Called after it was made anew, by ``run``.

    Args:
        path: The file, made where it is absent.
        tables: SQL that creates all that is in it, each ``IF NOT EXISTS``.
        version: Of the tables.
        what: What it is, in messages.
        way_out: What to do where it cannot be used.
        in_memory: Work on a copy in memory: where nothing can be written.

    Raises:
        WorkError: it cannot be opened or written, or another process keeps it locked.
    """

    def __init__(self, path: Path, tables: str, version: int, what: str, way_out: str, in_memory: bool = False) -> None:
        self.path = path
        self.refill: Callable[[], None] = lambda: None
        self._tables, self._version, self._what, self._way_out = tables, version, what, way_out
        self._in_memory = in_memory
        self._is_repairing = False
        try:
            self._connection = self._open_copy() if in_memory else self._open_file()
        except (*_ERRORS, OSError) as error:
            raise self._explain(error) from None

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def run(self, ask: Callable[[sqlite3.Connection], Result]) -> Result:
        """What ``ask`` gives of the connection, in one transaction; where the file shows damage, of a new one.

        Raises:
            WorkError: it cannot be read or written.
        """
        try:
            try:
                with self._connection:
                    return ask(self._connection)
            except _ERRORS as error:
                if self._is_repairing or not self._is_damage(error):
                    raise
                self.make_anew(str(error))
            with self._connection:
                return ask(self._connection)
        except _ERRORS as error:
            raise self._explain(error) from None

    def ask(self, question: str, *values: object) -> tuple[Any, ...] | None:
        """The first row of an answer.

        Raises:
            WorkError: the file cannot be read.
        """
        row: tuple[Any, ...] | None = self.run(lambda connection: connection.execute(question, values).fetchone())
        return row

    def put(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Do a statement for each row, in one transaction.

        Raises:
            WorkError: the file cannot be written.
        """
        self.run(lambda connection: connection.executemany(statement, rows))

    def check(self) -> None:
        """Hold the file to SQLite's own rules, which takes a second for 100,000 rows, and make it anew if it fails.

        Raises:
            WorkError: it cannot be read or written.
        """
        found = self.ask("PRAGMA integrity_check(1)")
        if found != ("ok",):
            self.make_anew(str(found))

    def make_anew(self, reason: str) -> None:
        """Set the file aside and fill a new one (``refill``).

        Raises:
            WorkError: that cannot be done.
        """
        self._connection.close()
        self._is_repairing = True
        try:
            if self._in_memory:
                self._connection = self._connect(":memory:")
            else:
                self._set_aside(reason)
                self._connection = self._connect(self.path)
            self._opened = self._identify()
            self.refill()
        except (*_ERRORS, OSError) as error:
            raise self._explain(error) from None
        finally:
            self._is_repairing = False

    def _open_file(self) -> sqlite3.Connection:
        self._opened = self._identify()
        try:
            if self._opened is not None and not stat.S_ISREG(self.path.lstat().st_mode):
                raise _ForeignError("a link, a folder or no regular file")
            connection = self._connect(self.path)
        except _ERRORS as error:
            if not self._is_damage(error):
                raise
            self._set_aside(str(error))
            connection = self._connect(self.path)
        self._opened = self._identify()
        return connection

    def _open_copy(self) -> sqlite3.Connection:
        """A copy in memory, empty where the file cannot be read."""
        self._opened = None
        memory = sqlite3.connect(":memory:")
        with suppress(*_ERRORS, OSError):
            if stat.S_ISREG(self.path.lstat().st_mode):
                source = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE)
                try:
                    source.backup(memory)
                finally:
                    source.close()
                return self._prepare(memory)
        memory.close()
        return self._connect(":memory:")

    def _connect(self, path: Path | str) -> sqlite3.Connection:
        return self._prepare(sqlite3.connect(path, timeout=PATIENCE))

    def _prepare(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """The connection, with our tables; nothing is written into a file that has others."""
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            others = _list_tables(connection) - self._own_tables()
            if found not in (0, self._version) or others:
                names = ", ".join(sorted(others)[:3]) or "none"
                raise _ForeignError(f"format {found}, other tables: {names}")
            connection.executescript(f"BEGIN IMMEDIATE; {self._tables} PRAGMA user_version = {self._version}; COMMIT;")
        except BaseException:
            connection.close()
            raise
        return connection

    def _own_tables(self) -> set[str]:
        with closing(sqlite3.connect(":memory:")) as empty:
            empty.executescript(self._tables)
            return _list_tables(empty)

    def _identify(self) -> tuple[int, int] | None:
        try:
            status = self.path.lstat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _set_aside(self, reason: str) -> None:
        """Move the file that was opened out of the way, unless another process has done so."""
        if self._opened is None or self._identify() != self._opened:
            return
        folder, name = self.path.parent, self.path.name
        for journal in (name + suffix for suffix in _JOURNALS):
            with suppress(FileNotFoundError):
                set_aside(folder / journal, folder, f"{journal}.broken")
        with suppress(FileNotFoundError):
            kept = set_aside(self.path, folder, f"{name}.broken")
            logger.warning("%s: broken (%s); made anew, the old one is kept as %s", self.path, reason, kept.name)

    def _is_damage(self, error: Exception) -> bool:
        if (code := _code(error)) is None:  # text that is no UTF-8 is Python's to find
            return isinstance(error, _ForeignError | sqlite3.OperationalError | UnicodeError)
        if code == sqlite3.SQLITE_READONLY:  # its header says so, or another process has set it aside
            return os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        return code in _DAMAGE

    def _explain(self, error: Exception) -> WorkError:
        if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return WorkError(
                f"{self.path}: {self._what} is locked: another process has kept it for {PATIENCE:g} s. Start "
                f"again when that one has ended. {self._way_out}"
            )
        return WorkError(
            f"{self.path}: {self._what} cannot be used ({error}). Is the disk full, or the folder not writable? "
            f"{self._way_out}"
        )


class _ForeignError(sqlite3.DatabaseError):
    """A sound file, of another program or version."""


def _list_tables(connection: sqlite3.Connection) -> set[str]:
    """Tables, indices, views and triggers; each name with its kind."""
    rows = connection.execute(
        "SELECT type || ' ' || name FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    )
    return {str(name) for (name,) in rows}


def _code(error: Exception) -> int | None:
    """SQLite's primary code of an error; None where it is Python's."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF
