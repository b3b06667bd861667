"""Where the trials of a search are kept: a file of SQLite that may be anybody's, or a database that the user names."""

import os
import sqlite3
import stat
from contextlib import closing
from functools import partial
from pathlib import Path

import optuna

from snn_action.core.database import PATIENCE
from snn_action.core.errors import ConfigError
from snn_action.core.reading import explain, reading


def check_file(path: Path) -> None:
    """Nothing, where a study's file, which may be anybody's, is not there yet or a whole database of Optuna's.

    Raises:
        ConfigError: it is a link, a pipe or the like, damaged, or another program's.
    """
    way_out = "; remove it to begin the search anew, or choose another --out"
    if os.path.lexists(path):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ConfigError(f"{path}: a link or no regular file, where this command would write{way_out}")
        with reading(path, "a damaged database", lambda text: ConfigError(f"{text}{way_out}")):
            with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
                found = database.execute("PRAGMA quick_check(1)").fetchone()
                tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if found != ("ok",):
                raise ValueError(str(found[0]))
            if tables and not tables >= {"studies", "trials"}:
                raise ConfigError(f"{path}: the database of another program; choose another --out")


def open_storage(storage: str | Path) -> str | optuna.storages.RDBStorage:
    """What Optuna takes: the address of a database, or a file that is opened."""
    if isinstance(storage, str):
        return storage
    # not by its address: a name may hold what means something there
    connect = partial(sqlite3.connect, storage.absolute(), timeout=PATIENCE, check_same_thread=False)
    return optuna.storages.RDBStorage("sqlite:///trials", {"creator": connect})


def explain_storage(error: BaseException) -> str:
    """What the database itself says, on one line, without the statement that it was asked."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(said := getattr(cause, "orig", None), Exception):
            return explain(said)
        cause = cause.__cause__
    return explain(error)
