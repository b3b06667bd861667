"""A checksum in each shard's header, over every byte of its file.

    BLAKE2b, 32 bytes, of the file with 64 zeros in the checksum's own place

The safetensors header is JSON; among its ``__metadata__`` stands ``"checksum":"<64 hexadecimal digits>"``. The file is
first written with zeros there, so that the digits, put in afterwards, cover all else: lengths, names, tensor, padding.
"""

import hashlib
from pathlib import Path
from typing import BinaryIO, Literal

from snn_action.core.files import open_regular
from snn_action.features.store.shard import LONGEST_HEADER

UNSEALED = "0" * 64  # what a shard is written with, under ``checksum``
_FIELD = b'"checksum":"'  # not in the JSON that the header holds as text: quotes are escaped there
_CHUNK = 2**22

Seal = Literal["whole", "changed", "none"]


def seal(path: Path) -> None:
    """Put the checksum of a file into its header, which has ``UNSEALED`` in its place.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: it has no place for a checksum.
    """
    with path.open("r+b") as file:
        digest, place, _ = _digest(file)
        if place is None:
            raise ValueError(f"{path}: its header has no place for a checksum")
        file.seek(place)
        file.write(digest.encode())


def check(path: Path) -> Seal:
    """Whether a file is still what was written: ``none`` where it has no checksum (of an older version, or of others).

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        digest, place, found = _digest(file)
    if place is None:
        return "none"
    return "whole" if digest == found else "changed"


def _digest(file: BinaryIO) -> tuple[str, int | None, str]:
    """The file's checksum, where it stands (None: nowhere) and what stands there."""
    total = hashlib.blake2b(digest_size=32)
    length = file.read(8)
    stated = int.from_bytes(length, "little")
    header = file.read(stated if stated <= LONGEST_HEADER else 0)
    start = header.find(_FIELD) + len(_FIELD)
    place, found = None, b""
    if start >= len(_FIELD):
        place, found = 8 + start, header[start : start + 64]
        header = header[:start] + UNSEALED.encode() + header[start + 64 :]
    total.update(length + header)
    while chunk := file.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest(), place, found.decode("ascii", "replace")
