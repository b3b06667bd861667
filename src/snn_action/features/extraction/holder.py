"""Which process holds something in a store that many processes and machines share, and whether it still runs.

A process is named by its host, its number and the moment it was started, in ticks since the host was: so a number that
is given to another process later is not taken for the first one. The host is its name, its boot and its space of
process numbers, as two containers on one machine may not see each other's processes. All of that comes from Linux's
``/proc``; elsewhere nobody can be said to be gone, and only the age of what it left behind counts.
"""

import hashlib
import os
import platform
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100  # a second


@dataclass(frozen=True)
class Holder:
    """A process. ``host`` is a digest of what makes up the host, ``start`` None where that is not known."""

    host: str
    name: str
    pid: int
    start: int | None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.name}"

    @property
    def mark(self) -> str:
        """It as part of a file's name, without dots; ``gone`` reads it."""
        return f"{self.host}-{self.pid}-{self.start if self.start is not None else ''}"


def this_process() -> Holder:
    """The process that asks."""
    return Holder(_host(), platform.node(), os.getpid(), _start(os.getpid()))


def is_gone(host: str, pid: int, start: int | None) -> bool | None:
    """Whether a process has ended (a zombie has); None where that cannot be told: on other hosts, without ``/proc``."""
    if host != _host() or start is None:
        return None
    found = _start(pid)
    return None if found is None and _is_hidden(pid) else found != start


def is_marked_gone(mark: str) -> bool | None:
    """``is_gone`` of the process that ``mark`` names; None also where it names none."""
    host, _, rest = mark.partition("-")
    pid, _, start = rest.partition("-")
    return is_gone(host, int(pid), int(start)) if pid.isdecimal() and start.isdecimal() else None


def age(pid: int) -> float | None:
    """Seconds since a process of this host was started; None where that is not known."""
    start = _start(pid)
    if start is None:
        return None
    return float((_PROC / "uptime").read_text().split()[0]) - start / _TICKS


def clock(folder: Path) -> float:
    """What time it is on the file system of ``folder``, which may be another machine's: what files there are dated by.

    Raises:
        OSError: nothing can be written there.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


@cache
def _host() -> str:
    parts = [platform.node()]
    try:
        parts.append((_PROC / "sys/kernel/random/boot_id").read_text())
        parts.append(str((_PROC / "self/ns/pid").readlink()))
    except OSError:
        pass
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _start(pid: int) -> int | None:
    """Field 22 of ``/proc/PID/stat`` (proc(5)); None where the process has ended."""
    try:
        state, *fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(fields[18])


def _is_hidden(pid: int) -> bool:
    """Whether there is such a process, though ``/proc`` (mounted with ``hidepid``) does not show it: another user's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except OverflowError:  # no process has such a number
        return False
    return False
