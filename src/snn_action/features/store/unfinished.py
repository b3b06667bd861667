"""Files that are not finished: written under a name that says which process writes them, then renamed.

Only such a name makes a file ours to remove, when its process is gone.
"""

import re
import stat
from pathlib import Path

from snn_action.features.extraction.holder import clock, is_marked_gone, this_process
from snn_action.features.store.shard import SUFFIX

_NAME = re.compile(re.escape(SUFFIX) + r"\.([0-9a-f]{12}-[0-9]{1,10}-[0-9]{0,20})\.part$")  # see ``aside_of``
_ABANDONED = 86400.0  # seconds after which the file of another host's process is nobody's


def aside_of(path: Path) -> Path:
    """Where this process writes a file before it is put into its place, under a name that says whose it is."""
    return path.with_name(f"{path.name}.{this_process().mark}.part")


def is_unfinished(name: str) -> bool:
    """Whether a name is one of ``aside_of``."""
    return _NAME.search(name) is not None


def is_abandoned(aside: Path) -> bool:
    """Whether a file is unfinished and its process gone, or the file a day old where that cannot be told."""
    named = _NAME.search(aside.name)
    try:
        if named is None or not stat.S_ISREG((status := aside.lstat()).st_mode):
            return False
        gone = is_marked_gone(named[1])
        return clock(aside.parent) - status.st_mtime > _ABANDONED if gone is None else gone
    except OSError:  # nothing can be written there, or it is gone
        return False
