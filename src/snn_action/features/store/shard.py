"""What a shard's header says, held to all that a shard must be before a row of it is used.

A store may come from somebody else, and any file in it may be damaged. So a header is taken for what it says only where
all of it fits together: types, sizes, ranges, keys, and the tensor it describes with the length of the file.

Otherwise the file is one of four: ``broken``, of this program and proved damaged; ``odd``, of this program and not as
it writes them, which its checksum may yet prove damaged; ``left``, which nobody here can judge (a later format, no
permission); ``foreign``, of somebody else. Only what is broken is ever taken out of a store.
"""

import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import safetensors

from snn_action.core.files import open_regular
from snn_action.core.reading import explain
from snn_action.video.settings import Stream

SHARD_FORMAT = 1
SUFFIX = ".safetensors"
LONGEST_HEADER = 100_000_000  # bytes; safetensors neither writes nor reads a longer one
_METADATA = {"snn_action"}, {"snn_action", "checksum"}
_OWN_NAME = re.compile(rf"({'|'.join(get_args(Stream))})-[0-9a-f]{{32}}{re.escape(SUFFIX)}")
_KEY = re.compile(r"[0-9a-f]{64}")
_SIZES = {"F32": 4, "U8": 1}  # bytes of a number; images that a model is trained from are uint8

Verdict = Literal["broken", "odd", "left", "foreign"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One video and stream of a shard: its rows begin at ``start``, clips of ``lengths`` one after the other."""

    key: str
    name: str
    start: int
    lengths: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows of all clips."""
        return sum(self.lengths)


@dataclass(frozen=True)
class Shard:
    """A shard as its header describes it: ``dim`` numbers a row, with a checksum or without."""

    name: str
    size: int
    stream: str
    provenance: str
    entries: tuple[Entry, ...]
    dim: int
    is_sealed: bool

    @property
    def rows(self) -> int:
        """Rows of all videos."""
        return sum(entry.rows for entry in self.entries)

    @property
    def backbone(self) -> tuple[str, str]:
        """Name and digest of the weights of the network that made it."""
        made_by = json.loads(self.provenance)
        return str(made_by.get("backbone", "unknown")), str(made_by.get("digest", "unknown"))


@dataclass(frozen=True)
class Flaw:
    """Why a file is no shard, and what that says of it."""

    verdict: Verdict
    reason: str


class _FlawError(Exception):
    def __init__(self, verdict: Verdict, reason: str) -> None:
        self.flaw = Flaw(verdict, reason)


def read_shard(path: Path) -> Shard | Flaw:
    """The shard in a file, or why it is none. Links are not followed, pipes and devices not opened."""
    found = read_description(path)
    return found if isinstance(found, Flaw) else found[0]


def read_description(path: Path) -> tuple[Shard, dict[str, Any]] | Flaw:
    """The shard in a file and the description in its header, whose ``frames`` are lists as long as clips say."""
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            what = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no regular file"
            return Flaw("foreign", what)
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            header = read_header(file)
    except OSError as error:
        return Flaw("left", f"cannot be read: {error.strerror}")
    found = parse(path.name, size, header)
    if not isinstance(found, Flaw):
        try:
            with safetensors.safe_open(path, "pt"):  # what that would not open is no shard, whatever we make of it
                pass
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            return Flaw("odd", f"not a shard as this program writes it ({error})")
    return found


def read_header(file: BinaryIO) -> bytes | None:
    """The JSON that a safetensors file begins with, after its length; None where it has none of the stated length."""
    length = int.from_bytes(file.read(8), "little")
    header = file.read(length if length <= LONGEST_HEADER else 0)
    return header if len(header) == length else None


def parse(name: str, size: int, header: bytes | None) -> tuple[Shard, dict[str, Any]] | Flaw:
    """What the header of a file of ``size`` bytes says; None: there is none of the length that is stated."""
    try:
        name.encode()
        return _parse(name, size, header)
    except UnicodeEncodeError:
        return Flaw("foreign", "its name is no text")
    except _FlawError as error:
        return error.flaw


def _parse(name: str, size: int, header: bytes | None) -> tuple[Shard, dict[str, Any]]:
    unreadable: Verdict = "broken" if _OWN_NAME.fullmatch(name) else "foreign"
    if header is None:
        raise _FlawError(unreadable, "not a complete shard (it is shorter than its header)")
    outer = _load(header, unreadable, "its header")
    metadata = outer.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(text := metadata.get("snn_action"), str):
        raise _FlawError("odd" if unreadable == "broken" else "foreign", "not a shard of this program")
    proves = unreadable == "broken" and "checksum" not in metadata  # which tells damage from what we cannot read
    said = _load(text, "broken" if proves else "odd", "its description")
    version = said.get("format")
    if type(version) is int and version != SHARD_FORMAT:
        raise _FlawError("left", f"of another format ({version}), of a later version of this program?")
    _require(version == SHARD_FORMAT and type(version) is int, "no format")
    _require(all(isinstance(value, str) for value in metadata.values()), "metadata that are no text")
    _require(set(metadata) in _METADATA and outer.keys() == {"__metadata__", "features"}, "it holds other things, too")
    rows, dim = _check_tensor(outer["features"], size - 8 - len(header))
    stream, provenance, listed = said.get("stream"), said.get("provenance"), said.get("entries", ())
    _require(stream in get_args(Stream), "an unknown stream")
    _require(isinstance(provenance, dict) and _is_flat(provenance), "nothing about its backbone that can be read")
    _require(isinstance(listed, list) and bool(listed), "no videos")
    entries, start = [], 0
    for one in listed:
        entry = _check_entry(one)
        _require(entry.start == start, "rows of its videos do not follow one another")
        start += entry.rows
        entries.append(entry)
    _require(start == rows, f"it has {rows} rows, not those of its videos")
    _require(len({entry.key for entry in entries}) == len(entries), "a key stands there twice")
    made_by = json.dumps(provenance, sort_keys=True)
    return Shard(name, size, str(stream), made_by, tuple(entries), dim, "checksum" in metadata), said


def _load(text: bytes | str, verdict: Verdict, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise _FlawError(verdict, f"not a complete shard ({what} cannot be read: {explain(error)})") from None
    if not isinstance(found, dict):
        raise _FlawError(verdict, f"not a complete shard ({what} is no object)")
    return found


def _check_tensor(described: Any, there: int) -> tuple[int, int]:
    """Rows and columns of the one tensor, if it is as we write them and as long as what follows the header."""
    size = _SIZES.get(str(described.get("dtype"))) if isinstance(described, dict) else None
    if size is None:
        raise _FlawError("odd", "not a shard as this program writes it (its features are not float32 or uint8)")
    shape = described.get("shape")
    _require(isinstance(shape, list) and len(shape) == 2 and all(map(_is_count, shape)), "its features are no table")
    rows, dim = described["shape"]
    wanted = size * rows * dim
    _require(dim > 0 and described.get("data_offsets") == [0, wanted], "its features are no table")
    if there < wanted:
        raise _FlawError("broken", f"truncated: {there} of {wanted} bytes of features are there")
    _require(there == wanted, "it is longer than its header says")
    return rows, dim


def _check_entry(said: Any) -> Entry:
    _require(isinstance(said, dict), "a video is not described")
    key, name, start, lengths, frames = (said.get(part) for part in ("key", "name", "start", "lengths", "frames"))
    _require(isinstance(key, str) and _KEY.fullmatch(key) is not None, "a key is not 64 hexadecimal digits")
    _require(isinstance(name, str), "a video's name is no text")
    _require(_is_count(start) and _are_counts(lengths), "places that are no numbers of rows")
    _require(bool(lengths) and min(lengths) > 0, "a video without rows")
    _require(isinstance(frames, list) and all(map(_are_counts, frames)), "frames that are no numbers")
    _require([len(clip) for clip in frames] == lengths, "other frames than rows")
    return Entry(key, name, start, tuple(lengths))


def _are_counts(values: Any) -> bool:
    if not isinstance(values, list) or not {*map(type, values)} <= {int}:
        return False
    return not values or (_is_count(min(values)) and _is_count(max(values)))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_flat(value: Any, levels: int = 16) -> bool:
    """Whether lists and objects are nested no deeper than that: JSON is read and written by recursion."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_flat(one, levels - 1) for one in inner)


def _require(fits: bool, otherwise: str) -> None:
    if not fits:
        raise _FlawError("odd", f"not a shard as this program writes it ({otherwise})")
