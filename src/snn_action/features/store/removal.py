"""What is taken out of a store because it is broken goes into its folder ``removed`` first: it may yet be wanted."""

from pathlib import Path

from snn_action.core.errors import WorkError
from snn_action.core.files import set_aside
from snn_action.features.store.shard import Flaw
from snn_action.features.store.survey import judge

REMOVED = "removed"


def take_out(folder: Path, names: list[str]) -> list[str]:
    """Move broken shards of the store in ``folder``, each judged once more; return those that were moved.

    Raises:
        WorkError: one cannot be moved.
    """
    place, moved = folder / REMOVED, []
    for name in names:
        path = folder / "shards" / name
        found = judge(path, whole=True)
        if isinstance(found, Flaw) and found.verdict == "broken":
            try:
                if place.is_symlink():
                    raise NotADirectoryError(0, "is a link", str(place))
                place.mkdir(exist_ok=True)
                set_aside(path, place, name)
            except OSError as error:
                raise WorkError(f"{path}: cannot be moved into {place}: {error.strerror}; all else is kept") from None
            moved.append(name)
    return moved


def measure_removed(folder: Path) -> tuple[int, int]:
    """Files in the folder ``removed`` of a store, and their bytes."""
    try:
        sizes = [path.lstat().st_size for path in (folder / REMOVED).iterdir()]
    except OSError:
        return 0, 0
    return len(sizes), sum(sizes)
