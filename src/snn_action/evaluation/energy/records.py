"""Facts about hardware: JSON files that come with the package, or a user's own, each checked against one class."""

from pathlib import Path
from typing import Any, TypeVar

from snn_action.core.errors import ConfigError, printable
from snn_action.core.reading import parse_json, read_text, reading
from snn_action.core.settings import Settings, SettingsError, suggest, validate

R = TypeVar("R", bound=Settings)
_LONGEST = 2**20  # bytes of a file


def list_records(folder: Path) -> list[str]:
    """The names of the files of ``folder``, in order."""
    return sorted(path.stem for path in folder.glob("*.json"))


def load_record(cls: type[R], folder: Path, name: str, what: str) -> R:
    """One file as ``cls``.

    Args:
        cls: What the file must hold.
        folder: Of the files that come with the package.
        name: Of one of them, or the path of another file; a path ends in ".json".
        what: What the files describe, in a word.

    Raises:
        ConfigError: no file has this name, it cannot be read, or a key or value does not fit; one line, which names
            the file and the key.
    """
    if name.endswith(".json"):
        return _read_record(cls, Path(name))
    known = list_records(folder)
    if name not in known:
        raise ConfigError(
            f"unknown {what} {printable(name)!r}; {suggest(name, known)}; or give the path of a .json file"
        )
    return _read_record(cls, folder / f"{name}.json")


def _read_record(cls: type[R], path: Path) -> R:
    with reading(path, "not a JSON file"):
        raw: Any = parse_json(read_text(path, _LONGEST))
        if not isinstance(raw, dict):
            raise ConfigError(f"{printable(str(path))}: not a JSON object")
        try:
            return validate(cls, raw)
        except SettingsError as error:
            raise ConfigError(f"{printable(str(path))}: {printable(str(error))}") from None
