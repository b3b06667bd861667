"""The SQLite file of a feature store. All that is in it can be made anew: what is broken is thrown away."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snn_action.errors import WorkError

logger = logging.getLogger(__name__)

_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS shards (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    key TEXT, shard TEXT, start INTEGER NOT NULL, lengths TEXT NOT NULL, PRIMARY KEY (key, shard)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_by_shard ON entries (shard);
CREATE TABLE IF NOT EXISTS folders (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
"""
_PATIENCE = 60.0  # seconds that another process may hold the file


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, made anew where it is absent, broken or of another format.

    Raises:
        WorkError: it cannot be opened or written.
    """
    with explain_errors(path):
        try:
            return _open(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            logger.warning("%s: broken (%s); made anew", path, error)
            path.unlink()
            return _open(path)


def open_copy(path: Path) -> sqlite3.Connection:
    """A copy of the file in memory, empty where that cannot be read: for a folder in which nothing can be written."""
    memory = _open(":memory:")
    try:
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)
        try:
            if source.execute("PRAGMA user_version").fetchone()[0] == _FORMAT:
                source.backup(memory)
        finally:
            source.close()
    except sqlite3.Error:
        memory.close()
        return _open(":memory:")
    return memory


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn failures of the database into a ``WorkError`` that names the file."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise WorkError(
            f"{path}: the index of the feature store cannot be used ({error}). Is the disk full, or the folder not "
            "writable? features.store names another folder"
        ) from None


def _open(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_PATIENCE)
    try:
        with connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _FORMAT):
                raise sqlite3.DatabaseError(f"format {found}")
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_FORMAT}; COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection
