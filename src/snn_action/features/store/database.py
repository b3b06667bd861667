"""The index of a feature store, an SQLite file. All that is in it can be made anew from the shards and the videos."""

from pathlib import Path

from snn_action.core.database import Database

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


def open_database(path: Path, in_memory: bool = False) -> Database:
    """Open the file, made anew where it is absent, broken or of another format; or a copy in memory.

    Raises:
        WorkError: it cannot be opened or written.
    """
    return Database(
        path,
        _TABLES,
        _FORMAT,
        "the index of the feature store",
        "All shards are complete: it goes on from there. features.store names another folder, features.index another "
        "file",
        in_memory,
    )
