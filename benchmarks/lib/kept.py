"""What the benchmarks that take hours share: with ``--keep`` results stay in a folder.

Started again with the same code, as committed, and the same settings, a script goes on where it was cut.
"""

import hashlib
import pickle
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from benchmarks.lib.table import ROOT
from snn_action.core.files import write_atomic

T = TypeVar("T")


@cache
def find_code() -> str:
    """What stands for the committed code: names of its two folders' contents in Git."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD:src", "HEAD:benchmarks"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def keep_result(folder: Path | None, make: Callable[[], T], *question: object) -> T:
    """The result of ``make``, or what ``folder`` has of it; the ``question`` tells what of it depends on."""
    if folder is None:
        return make()
    name = hashlib.sha256(repr((find_code(), question)).encode()).hexdigest()[:16]
    kept = folder / f"{name}.pickle"
    if kept.exists():
        found: T = pickle.loads(kept.read_bytes())
        return found
    found = make()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, pickle.dumps(found))
    return found
