"""Files that are not finished: written under another name, beside a lock that ends with their writer, then renamed.

Only such a name makes a file ours to remove, when nobody holds its lock.
"""

import os
import re
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from snn_action.core.locks import NoLocksError, remove_lock, try_lock
from snn_action.features.store.file_system import network_file_system
from snn_action.features.store.shard import SUFFIX

_NAME = re.compile(rf"(.*{re.escape(SUFFIX)}\.[0-9a-f]{{32}}\.part)(\.lock)?")  # see ``unfinished``
_OLD_NAME = re.compile(rf".*{re.escape(SUFFIX)}\.[0-9a-f]{{12}}-[0-9]{{1,10}}-[0-9]{{0,20}}\.part")  # without a lock
_ABANDONED = 86400.0  # seconds after which a file without a lock is nobody's
_FRESH = 60.0  # seconds that a file on a network is left alone: its locks may not reach other machines


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Where to write a file before it is renamed to ``path``; removed at the end where it is still there."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        lock = try_lock(_lock_of(aside), wait=_FRESH)  # a look at it (``is_abandoned``) is short
    except NoLocksError:
        lock = None
    try:
        yield aside
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if lock:
            remove_lock(lock)


def is_unfinished(name: str) -> bool:
    """Whether a name is one of ``unfinished``, or of its lock."""
    return (_NAME.fullmatch(name) or _OLD_NAME.fullmatch(name)) is not None


def is_abandoned(path: Path) -> bool:
    """Whether a file is unfinished and its writer gone, or the file a day old where that cannot be told."""
    try:
        if not is_unfinished(path.name) or not stat.S_ISREG((status := path.lstat()).st_mode):
            return False
        age = clock(path.parent) - status.st_mtime
        if age > _ABANDONED:
            return True
        named = _NAME.fullmatch(path.name)
        if not named or (age < _FRESH and network_file_system(path.parent)):
            return False
        lock = try_lock(_lock_of(path.with_name(named[1])))
    except (OSError, NoLocksError):  # nothing can be written there, or it is gone
        return False
    if lock:
        remove_lock(lock)
    return lock is not None


def clock(folder: Path) -> float:
    """What time it is on the file system of ``folder``, which may be another machine's: what files there are dated by.

    Raises:
        OSError: nothing can be written there.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _lock_of(aside: Path) -> Path:
    return aside.with_name(f"{aside.name}.lock")
