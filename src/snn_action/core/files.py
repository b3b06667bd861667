"""Files that are complete or absent, whenever the process dies; and care with files of others."""

import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import BufferedReader
from itertools import count
from pathlib import Path

NOT_REGULAR = "not a regular file (a pipe, a device, a socket)"
_ASIDE = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")  # as ``tempfile`` names it


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) aside, sync it to the disk, and rename it into place.

    Raises:
        OSError: the folder is missing, read-only or full; names ``path``, where the file stays as it was.
    """
    write_together({Path(path): content})


def write_together(files: Mapping[Path, str | bytes], outdated: Sequence[Path] = ()) -> None:
    """Write several files aside, and when all are there rename them into place, in order: a full disk changes none.

    Args:
        files: Path and content of each.
        outdated: Files that do not fit what is written; removed before the first is in place.

    Raises:
        OSError: as ``write_atomic``.
    """
    asides: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in files.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
            asides[path] = Path(name)
            _fill(handle, content)
            asides[path].chmod(0o666 & ~read_umask())  # mkstemp makes files private
        for path in outdated:
            path.unlink(missing_ok=True)
        for path, aside in asides.items():
            aside.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        for aside in asides.values():
            aside.unlink(missing_ok=True)


def _fill(handle: int, content: str | bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def read_umask() -> int:
    """The bits that files which this process makes do not get."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def remove_asides(folder: Path, is_own: Callable[[str], object], age: float = 0.0, begin: bytes = b"") -> None:
    """Remove what ``write_atomic`` left in a folder when it was killed, of files of which ``is_own`` is true.

    Args:
        folder: The folder.
        is_own: Of a file's name.
        age: Seconds since which nothing was written, where other processes may be writing.
        begin: What the content must hold from its ninth byte on, in a folder that is not ours alone.
    """
    for path in folder.glob(".*.tmp"):
        if (match := _ASIDE.fullmatch(path.name)) and is_own(match[1]):
            with suppress(FileNotFoundError):
                if (not age or time.time() - path.stat().st_mtime > age) and (not begin or _begins(path, begin)):
                    path.unlink()


def _begins(path: Path, begin: bytes) -> bool:
    try:
        with open_regular(path) as file:
            return not path.is_symlink() and file.read(8 + len(begin))[8:] == begin
    except OSError:
        return False


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading, unless it is a pipe, a device or the like, which may block for ever or do things.

    Raises:
        OSError: it is none, or cannot be opened.
    """
    check_regular(path, path.stat().st_mode)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    try:
        check_regular(path, os.fstat(file.fileno()).st_mode)  # another one may have taken its place
    except BaseException:
        file.close()
        raise
    return file


def check_regular(path: Path, mode: int) -> None:
    """Nothing, where ``mode`` (of ``stat``) is that of a regular file.

    Raises:
        OSError: it is that of a folder, a pipe, a device or a socket.
    """
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))


def describe_state(status: os.stat_result) -> str:
    """What changes when a file is changed or replaced: size, times and inode.

    Another program can set the time of change, but not ``ctime``.
    """
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino} {status.st_ctime_ns}"


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
