"""What the benchmarks that take hours share: with ``--keep`` results stay in a folder.

Started again at the same commit with the same settings, a script goes on where it was cut.
"""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.lib.table import find_commit
from snn_action.core.files import write_atomic

T = TypeVar("T")


def keep_result(folder: Path | None, make: Callable[[], T], *question: object) -> T:
    """The result of ``make``, or what ``folder`` has of it; the ``question`` tells what of it depends on."""
    if folder is None:
        return make()
    name = hashlib.sha256(repr((find_commit(), question)).encode()).hexdigest()[:16]
    kept = folder / f"{name}.pickle"
    if kept.exists():
        found: T = pickle.loads(kept.read_bytes())
        return found
    found = make()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, pickle.dumps(found))
    return found
