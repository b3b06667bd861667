"""Files that are complete or absent, whenever the process dies; and care with files of others."""

import errno
import os
import stat
import tempfile
from io import BufferedReader
from itertools import count
from pathlib import Path


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) aside, sync it to the disk, and rename it into place.

    Raises:
        OSError: the folder is missing, read-only or full; the file at ``path`` stays as it was.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(aside).chmod(0o666 & ~umask)  # mkstemp makes files private
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading, unless it is a pipe, a device or the like, which may block for ever or do things.

    Raises:
        OSError: it is none, or cannot be opened.
    """
    _check_regular(path, path.stat().st_mode)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    try:
        _check_regular(path, os.fstat(file.fileno()).st_mode)  # another one may have taken its place
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file (a pipe, a device, a socket)", str(path))


def set_aside(path: Path, folder: Path, name: str) -> Path:
    """Move a file, a folder or a link into ``folder`` under ``name`` or, where that is taken, ``name.1``, ...

    Raises:
        OSError: it is not there, or cannot be moved.
    """
    for number in count():
        target = folder / (f"{name}.{number}" if number else name)
        if not os.path.lexists(target):
            return path.rename(target)
    raise AssertionError
