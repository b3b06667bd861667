"""What a video is known by, wherever it lies: a digest of its content."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.core.files import describe_state, open_regular


def path_text(path: Path) -> str:
    """The whole path as text for a database; bytes that are no UTF-8 as escapes."""
    return os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")


def digest_content(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files.

    Raises:
        OSError: something cannot be read, or is a pipe, a device or the like.
    """
    if not path.is_dir():
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256(b"folder")
    for file_path in sorted(path.iterdir()):
        if file_path.exists() and not file_path.is_dir():
            digest.update(f"{file_path.name} {digest_content(file_path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def state_of(path: Path) -> str | OSError:
    """What changes when a file or a folder's files change or are replaced (``describe_state``); nothing is opened."""
    try:
        if not path.is_dir():
            return describe_state(path.stat())
        with os.scandir(path) as entries:
            files = sorted((entry.name, describe_state(entry.stat())) for entry in entries)
    except OSError as error:
        return error
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def digest_array(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and values."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
