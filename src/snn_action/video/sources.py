"""What a word on the command line means as a source of frames: a file, a folder, a pattern, an address, a camera.

A file keeps to the rules of ``opening``: nothing that its content or its name points to is opened. An address or a
device is opened with FFmpeg's protocols only where the word itself names one.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Literal

from snn_action.core.errors import ConfigError, printable
from snn_action.video.frame_folder import is_frame_folder
from snn_action.video.suffixes import choose_videos

STDIN = "-"
Kind = Literal["file", "frames", "network", "device", "stdin"]
LIVE: frozenset[Kind] = frozenset(("network", "device", "stdin"))

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DOWNLOAD = re.compile(r"(?:https?|ftp)://", re.IGNORECASE)
_DEVICE = re.compile(r"([a-z][a-z0-9_]+):(.+)", re.DOTALL)
_SECRET = re.compile(r"(?<=://)[^/@\s]+@")
# FFmpeg's names of what reads a camera, a screen or a generated picture
DEVICES = ("v4l2", "video4linux2", "avfoundation", "dshow", "gdigrab", "x11grab", "fbdev", "lavfi")


@dataclass(frozen=True)
class Source:
    """Where frames come from.

    Attributes:
        kind: ``file``, ``frames`` (a folder of JPEG frames), ``network``, ``device`` or ``stdin``.
        name: Path, address or name of the device.
        format: FFmpeg's name of the device's kind; None: FFmpeg finds out.
    """

    kind: Kind
    name: str
    format: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether it sends frames at its own pace and cannot be read twice."""
        return self.kind in LIVE

    @property
    def waits(self) -> bool:
        """Whether it sends the next frame when there is room: a file, a pipe, a download, a generated picture."""
        return self.kind not in ("network", "device") or self.format == "lavfi" or bool(_DOWNLOAD.match(self.name))

    @property
    def label(self) -> str:
        """For people and results: its name on one line, without a password."""
        text = {"stdin": "standard input", "device": f"{self.format}:{self.name}"}.get(self.kind, self.name)
        return printable(_SECRET.sub("", text))


def find_sources(words: Sequence[str]) -> list[Source]:
    """The sources that ``words`` mean, in order; a folder of videos and a pattern stand for several.

    Raises:
        ConfigError: a folder or a pattern holds no video.
    """
    return [source for word in words for source in _find(word)]


def find_source(word: str) -> Source:
    """The one source that ``word`` means.

    Raises:
        ConfigError: it means none, or several.
    """
    found = find_sources([word])
    if len(found) > 1:
        raise ConfigError(f"{word}: {len(found)} videos; name one of them")
    return found[0]


def _find(word: str) -> Iterator[Source]:
    path = Path(word)
    if word == STDIN:
        yield Source("stdin", STDIN)
    elif os.path.lexists(word):
        yield from _find_path(path)
    elif address := _ADDRESS.match(word):
        if address[1].lower() == "file":
            yield from _find_path(Path(word[address.end() :]))
        else:
            yield Source("network", word)
    elif (device := _DEVICE.fullmatch(word)) and device[1] in DEVICES:
        yield Source("device", device[2], device[1])
    elif has_magic(word):
        paths = [Path(found) for found in sorted(glob(word, recursive=True))]  # noqa: PTH207 - any pattern
        videos = [*_choose(paths)]
        if not videos:
            raise ConfigError(f"{word}: no video fits this pattern")
        yield from videos
    else:
        yield Source("file", word)  # what is wrong with it is said when it is opened


def _find_path(path: Path) -> Iterator[Source]:
    if path.is_dir():
        if is_frame_folder(path):
            yield Source("frames", str(path))
            return
        videos = [*_choose(sorted(path.rglob("*")))]
        if not videos:
            raise ConfigError(f"{path}: holds neither videos nor frames (frame000001.jpg, frame000002.jpg, ...)")
        yield from videos
    elif path.exists() and stat.S_ISCHR(path.stat().st_mode):
        yield Source("device", str(path), "v4l2")
    else:
        yield Source("file", str(path))


def _choose(paths: Sequence[Path]) -> Iterator[Source]:
    """The videos among files, and the folders of frames."""
    folders = {path for path in paths if path.is_dir() and is_frame_folder(path)}
    videos = {*choose_videos([path for path in paths if path.is_file() and path.parent not in folders])}
    for path in paths:
        if path in folders:
            yield Source("frames", str(path))
        elif path in videos:
            yield Source("file", str(path))
