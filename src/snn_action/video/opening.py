"""Opens a file of a data set with FFmpeg: that file, and nothing that its content or its name points to.

Anybody may have made it. Off are the formats that open other files or addresses (playlists, patterns of names,
descriptions of sessions), devices, and every protocol but that of a file.
"""

import errno
import stat
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import av
from av.format import Flags

from snn_action.core.errors import VideoError
from snn_action.core.files import NOT_REGULAR
from snn_action.core.reading import naming

# what opens others beside the formats that FFmpeg itself marks as opening no file (``no_file``)
_POINTING = frozenset(
    ["avisynth", "concat", "dash", "dvdvideo", "hls", "imf", "sdp", "vapoursynth", "vobsub", "webm_dash_manifest"]
)


def naming_video(path: Path) -> AbstractContextManager[None]:
    """Whatever a library raises inside costs this video, which is named."""
    return naming(path, error=lambda message: VideoError(message, "unreadable"))


def check_file(path: Path) -> None:
    """Nothing, where this is a file that may be opened.

    Raises:
        VideoError: it is not there or empty, or is a pipe, a socket or a device, which might keep us for ever.
    """
    try:
        found = path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise VideoError(f"{path}: cannot be read: {error.strerror}", "unreadable") from None
        what = "a link that leads nowhere, or to itself" if path.is_symlink() else "no such video"
        raise VideoError(f"{path}: {what}", "unreadable") from None
    if not stat.S_ISREG(found.st_mode):
        raise VideoError(f"{path}: {NOT_REGULAR}", "unreadable")
    if not found.st_size:
        raise VideoError(f"{path}: the file is empty (0 bytes)", "unreadable")


def open_file(path: Path) -> Any:
    """The container of a video file.

    Raises:
        VideoError: it may not be opened, or is of no format that is read.
    """
    check_file(path)
    allowed = {"protocol_whitelist": "file", "format_whitelist": ",".join(_list_formats())}
    try:
        # the protocol is named so that a colon in the name is not taken for one
        return av.open(f"file:{path}", container_options=allowed)
    except av.error.ArgumentError:
        reason = "no format that is read: one that points to other files, such as a playlist?"
    except (av.FFmpegError, ValueError) as error:
        reason = str(getattr(error, "strerror", error))
    raise VideoError(f"{path}: cannot be read as a video: {reason}", "unreadable")


@cache
def _list_formats() -> tuple[str, ...]:
    """Names of the formats that read one file alone."""
    found = []
    for name in sorted(av.formats_available):
        try:
            flags: Any = av.ContainerFormat(name, "r").flags
        except ValueError:  # it is only written
            continue
        if name not in _POINTING and not flags & Flags.no_file.value:
            found.append(name)
    return tuple(found)
