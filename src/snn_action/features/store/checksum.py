"""A checksum in each shard's header, over every byte of its file.

    BLAKE2b, 32 bytes, of the file with 64 zeros in the checksum's own place

The safetensors header is JSON; among its ``__metadata__`` stands ``"checksum":"<64 hexadecimal digits>"``. The file is
first written with zeros there, so that the digits, put in afterwards, cover all else: lengths, names, tensor, padding.
"""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

from snn_action.core.files import open_regular
from snn_action.features.store.shard import read_header

UNSEALED = "0" * 64  # what a shard is written with, under ``checksum``
_FIELD = b'"checksum":"'  # not in the JSON that the header holds as text: quotes are escaped there
_CHUNK = 2**22

Seal = Literal["whole", "changed", "none"]


def seal(content: bytes) -> bytes:
    """A file with its checksum in its header, which has ``UNSEALED`` in its place.

    Raises:
        ValueError: it has no place for a checksum.
    """
    digest, place, _ = _digest(BytesIO(content))
    if place is None:
        raise ValueError("the header has no place for a checksum")
    return b"".join((content[:place], digest.encode(), content[place + len(digest) :]))


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
    header = read_header(file) or b""
    start = header.find(_FIELD) + len(_FIELD)
    if start < len(_FIELD):
        return "", None, ""
    found = header[start : start + 64]
    blank = b"".join((header[:start], UNSEALED.encode(), header[start + 64 :]))
    total = hashlib.blake2b(len(header).to_bytes(8, "little") + blank, digest_size=32)
    while chunk := file.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest(), 8 + start, found.decode("ascii", "replace")
