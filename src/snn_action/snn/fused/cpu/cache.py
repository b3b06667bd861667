"""Where compiled kernels are kept: a folder that belongs to the user and that nobody else may enter.

What lies there is run, so what another user could have put there is not taken: the folder is
``$XDG_CACHE_HOME/snn_action/machine_code`` (``~/.cache`` by default), made with mode 700. It is not used if it, or
anything in it, belongs to another user, may be written by others, is a link or has a second name, or if others could
put another folder in its place. Then every process compiles for itself.
"""

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from snn_action.core.files import write_atomic

logger = logging.getLogger(__name__)


def find_folder(name: str) -> Path | None:
    """The private folder ``name`` of the cache, made if missing; None, and a line that says why: there is none."""
    try:
        folder = _place() / name
        with private_files():
            _make_private(folder.parent)
            _make_private(folder)
        _check_parents(folder.parent)
        _check_files(folder)
    except (OSError, RuntimeError) as error:
        say(str(error))
        return None
    return folder


def read(path: Path) -> bytes:
    """The content of a file of the cache.

    Raises:
        OSError: it is not there, or is not the user's alone.
    """
    how = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_BINARY", "O_NONBLOCK"))  # the last: a pipe may be there
    handle = os.open(path, os.O_RDONLY | sum(how))
    with os.fdopen(handle, "rb") as file:
        _check(path, os.fstat(file.fileno()))
        return file.read()


@contextmanager
def private_files() -> Iterator[None]:
    """What is written inside may be written by nobody else, as what is found here must be."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def write(path: Path, content: bytes) -> None:
    """Keep a file; where that cannot be, a line says so and nothing else happens."""
    try:
        with private_files():
            write_atomic(path, content)
    except OSError as error:
        say(f"{path}: cannot be written: {error.strerror or error}")


def discard(folder: Path, pattern: str) -> None:
    """Remove the files of a folder of the cache, at any depth, whose names fit a pattern."""
    for path in folder.rglob(pattern):
        with suppress(OSError):
            path.unlink()


def _place() -> Path:
    """Where caches lie. A relative ``XDG_CACHE_HOME`` is to be ignored, as its specification says."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    place = Path(named) if named and Path(named).is_absolute() else Path.home() / ".cache"
    return place / "snn_action" / "machine_code"


def _make_private(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(f"{folder}: is not a folder") from None
        if hasattr(os, "geteuid") and found.st_mode & 0o077:
            raise PermissionError(f"{folder}: other users may enter it; chmod 700, or delete it") from None
        _check(folder, found)


def _check_parents(folder: Path) -> None:
    """Whoever may write to a folder above, or owns it, may put another in the place of this one."""
    if not hasattr(os, "geteuid"):
        return
    for parent in _find_parents(folder.absolute()):
        found = parent.lstat()
        if found.st_uid not in (0, os.geteuid()):
            raise PermissionError(f"{parent}: belongs to another user (number {found.st_uid})")
        mode = found.st_mode
        if stat.S_ISDIR(mode) and mode & 0o022 and not mode & stat.S_ISVTX:
            raise PermissionError(f"{parent}: may be written by other users; chmod go-w, or set XDG_CACHE_HOME")


def _find_parents(folder: Path) -> set[Path]:
    """The folders above, and those above what each link among them points to, and so on."""
    found: set[Path] = set()
    waiting = [folder]
    while waiting:
        new = set(waiting.pop().parents) - found
        found |= new
        waiting += [each.parent / each.readlink() / "file" for each in new if each.is_symlink()]
    return found


def _check_files(folder: Path) -> None:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            try:
                _check(path, path.lstat())
            except FileNotFoundError:  # written aside by another process, and now in its place
                continue


def _check(path: Path, found: os.stat_result) -> None:
    """Nothing, where this is a folder or file of the user, and nobody else can have written to it."""
    if stat.S_ISLNK(found.st_mode):
        raise PermissionError(f"{path}: is a link")
    if not hasattr(os, "geteuid"):
        return
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{path}: belongs to another user (number {found.st_uid})")
    if not stat.S_ISDIR(found.st_mode) and (not stat.S_ISREG(found.st_mode) or found.st_nlink > 1):
        raise PermissionError(f"{path}: is no file of its own; delete it")
    if found.st_mode & 0o022:
        raise PermissionError(f"{path}: may be written by other users; delete it")


@cache
def say(reason: str) -> None:
    """Say once that, and why, nothing is kept."""
    logger.warning("compiled kernels are not kept, every process compiles them anew: %s", reason)
