"""Locks on files, which the system releases when their process ends, however it ends (``flock``, by ``filelock``)."""

import errno
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_NONE = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class NoLocksError(Exception):
    """The file system has no locks."""


def try_lock(path: Path, wait: float = 0.0) -> FileLock | None:
    """Lock a file, which is made where it is not there; None: another process, or part of this one, holds its lock
    and does not let go of it within ``wait`` seconds.

    Raises:
        NoLocksError: the file system has none.
        OSError: the file cannot be made.
    """
    lock = FileLock(path, timeout=wait, fallback_to_soft=False, thread_local=False)
    path.parent.stat()  # ``filelock`` would make the folder
    try:
        lock.acquire()
    except Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NONE:
            raise
        raise NoLocksError(str(error)) from None
    return lock


def remove_lock(lock: FileLock) -> None:
    """Release a lock and remove its file. Who has opened it meanwhile does not get the lock of a removed file."""
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
