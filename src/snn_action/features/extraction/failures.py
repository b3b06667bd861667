"""Why videos failed, told among processes that share an extraction, so that all leave out the same ones.

A file beside the locks, ``<block>.failed``, says why keys of a block have no features. What failed during this
extraction is not tried again by anybody; what failed before it is, since a decoder may have crashed for lack of memory.
The extraction begins when the process asks for it, or, under ``torchrun``, when its agent was started: ranks that start
later than others, or again, then accept what the others found.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from snn_action.core.errors import WorkError
from snn_action.core.files import open_regular, write_atomic
from snn_action.features.store.unfinished import clock
from snn_action.video.settings import LimitSettings

_PROC = Path("/proc")
_LONGEST = 2**24  # bytes of a file that are read


class Failures:
    """What failed since the extraction began, under these limits. Nothing is written before something is asked."""

    def __init__(self, folder: Path, limits: LimitSettings) -> None:
        self._folder = folder
        self._limits = limits.model_dump(mode="json")

    @cached_property
    def _begin(self) -> float:
        """When the extraction began, in the file system's time."""
        try:
            self._folder.mkdir(exist_ok=True)
            now = clock(self._folder)
        except OSError as error:
            raise WorkError(f"{self._folder}: cannot be written: {error.strerror} (features.store)") from None
        return now - _age_of_launch()

    def read(self, block: str) -> dict[str, str]:
        """Why keys of a block failed, by key.

        Raises:
            WorkError: the folder cannot be written.
        """
        path, begin = self._path(block), self._begin
        try:
            with open_regular(path) as file:
                if os.fstat(file.fileno()).st_mtime < begin:
                    return {}
                found = json.loads(file.read(_LONGEST))
            reasons, limits = found["reasons"], found["limits"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return {}
        is_told = isinstance(reasons, dict) and all(isinstance(reason, str) for reason in reasons.values())
        return dict(reasons) if is_told and limits == self._limits else {}

    def write(self, block: str, reasons: Mapping[str, str]) -> None:
        """Tell the others; no reasons: nothing failed, whatever was told before.

        Raises:
            WorkError: the file cannot be written.
        """
        path = self._path(block)
        try:
            if reasons:
                write_atomic(path, json.dumps({"limits": self._limits, "reasons": dict(reasons)}))
            else:
                with suppress(FileNotFoundError):
                    path.unlink()
        except OSError as error:
            raise WorkError(
                f"{path}: cannot be written: {error.strerror}. All shards are complete: make room or fix the folder "
                "(features.store) and start again, it goes on from there"
            ) from None

    def _path(self, block: str) -> Path:
        return self._folder / f"{block}.failed"


def _age_of_launch() -> float:
    """Seconds since the agent of ``torchrun`` was started, the parent of this process; 0 without it."""
    return (age(os.getppid()) or 0.0) if "TORCHELASTIC_RUN_ID" in os.environ else 0.0


def age(pid: int) -> float | None:
    """Seconds since a process began, by field 22 of ``/proc/PID/stat`` (proc(5)); None where that is not known."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return float((_PROC / "uptime").read_text().split()[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return None
