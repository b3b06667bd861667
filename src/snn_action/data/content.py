"""What a video is known by, wherever it lies: a digest of its content."""

import hashlib
from pathlib import Path


def digest_content(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files.

    Raises:
        OSError: something cannot be read.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256(b"folder")
    for file_path in sorted(path.iterdir()):
        if file_path.is_file():
            digest.update(f"{file_path.name} {digest_content(file_path)}\n".encode())
    return digest.hexdigest()
