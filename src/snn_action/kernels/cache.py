"""Where compiled kernels are kept: a folder that belongs to the user and that nobody else may enter.

What lies there is run, so what another user could have put there is not taken: the folder is
``$XDG_CACHE_HOME/snn_action/machine_code`` (``~/.cache`` by default), made with mode 700, and it is not used if it, or
a file in it, belongs to another user or if its mode lets others in. Where there is no such folder, every process
compiles for itself.
"""

import logging
import os
import stat
from functools import cache
from pathlib import Path

from snn_action.files import write_atomic

logger = logging.getLogger(__name__)


def find_folder(name: str) -> Path | None:
    """The private folder ``name`` of the cache, made if missing; None, and a line that says why: there is none."""
    try:
        folder = _place() / name
        _make_private(folder.parent)
        _make_private(folder)
        _check_files(folder)
    except (OSError, RuntimeError) as error:
        say(str(error))
        return None
    return folder


def read(path: Path) -> bytes:
    """The content of a file of the cache.

    Raises:
        OSError: it is not there, is a link, or belongs to another user.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        _check_owner(path, os.fstat(file.fileno()))
        return file.read()


def write(path: Path, content: bytes) -> None:
    """Keep a file; where that cannot be, a line says so and nothing else happens."""
    try:
        write_atomic(path, content)
    except OSError as error:
        say(f"{path}: cannot be written: {error.strerror or error}")


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
        _check_owner(folder, found)
        if hasattr(os, "geteuid") and stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(f"{folder}: other users may enter it; chmod 700, or delete it") from None


def _check_files(folder: Path) -> None:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            try:
                _check_owner(path, path.lstat())
            except FileNotFoundError:  # written aside by another process, and now in its place
                continue


def _check_owner(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise PermissionError(f"{path}: is a link")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise PermissionError(f"{path}: belongs to another user (number {found.st_uid})")


@cache
def say(reason: str) -> None:
    """Say once that, and why, nothing is kept."""
    logger.warning("compiled kernels are not kept, every process compiles them anew: %s", reason)
