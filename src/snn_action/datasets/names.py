"""Names of videos and classes as they are kept, shown and looked up: one form on every machine, one line each.

A file system gives a name as it was written: composed or decomposed (é is one character, or two on a Mac), in bytes
that are no UTF-8, with a line break. Paths keep it; what is stored, compared or printed has one form.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from snn_action.core.errors import ConfigError, printable
from snn_action.video.suffixes import stem

Key = TypeVar("Key", bound=Hashable)


def plain_name(name: str) -> str:
    """The name composed (NFC), on one line, in characters that can be stored."""
    return printable(unicodedata.normalize("NFC", name))


class NameIndex(Generic[Key]):
    """Finds what a list names: by the whole name, or where a suffix is left out or another one, by the rest.

    Args:
        names: What is there: for each key its name, ``/`` between folders.
        fold_case: Whether upper and lower case are one.
    """

    def __init__(self, names: Iterable[tuple[str, Key]], *, fold_case: bool = False) -> None:
        self._fold = fold_case
        self._whole: dict[str, list[Key]] = defaultdict(list)
        self._rest: dict[str, list[Key]] = defaultdict(list)
        for name, key in names:
            self._whole[self._plain(name)].append(key)
            self._rest[self._cut(name)].append(key)

    def find(self, entry: str) -> list[Key]:
        """What the entry fits: whole names before others."""
        return self._whole.get(self._plain(entry)) or self._rest.get(self._cut(entry)) or []

    def _plain(self, name: str) -> str:
        name = plain_name(name.replace("\\", "/"))
        return name.casefold() if self._fold else name

    def _cut(self, name: str) -> str:
        folder, slash, last = self._plain(name).rpartition("/")
        return folder + slash + stem(last)


def check_single(
    found: list[Key], entry: str, source: Path | str, shown: Mapping[Key, object] | None = None
) -> Key | None:
    """The only key found; None where there is none.

    Raises:
        ConfigError: there are several; names the first two.
    """
    if len(found) > 1:
        first, second = (str(key if shown is None else shown[key]) for key in found[:2])
        raise ConfigError(
            f"{source}: {printable(entry)} fits {printable(first)} and {printable(second)}; "
            "name one of them with its suffix, or remove the other"
        )
    return found[0] if found else None


def find_path(root: Path, name: str) -> Path:
    """The path of that name below ``root``, though it may be composed or decomposed; as asked where it is not there."""
    path = root / name
    if os.path.exists(path):  # noqa: PTH110 - false, too, for a name that no file can have
        return path
    found = root
    for part in Path(name).parts:
        if part in ("..", os.sep) or os.path.exists(found / part):  # noqa: PTH110
            found = found / part
            continue
        match = _list_plain(found).get(plain_name(part))
        if match is None:
            return path
        found = found / match
    return found


@lru_cache(maxsize=256)
def _list_plain(folder: Path) -> dict[str, str]:
    try:
        return {plain_name(name): name for name in os.listdir(folder)}  # noqa: PTH208 - names only
    except (OSError, ValueError):  # a name that no folder can have
        return {}
