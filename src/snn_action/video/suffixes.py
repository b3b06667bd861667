"""Which files of a folder are videos: by their suffix, as FFmpeg knows it, or else by a look inside.

A file with the suffix of a video is one, though it may be broken: it is named when it cannot be read. A file with the
suffix of an image, of sound, of text or of a playlist is none. Of all others FFmpeg is asked.
"""

import mimetypes
import os
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

_SECONDS = 20.0  # for a look into one file

# what many formats share, so that only a look tells: sound or video
_EITHER = frozenset(["isma", "m4a", "m4b", "mka", "mks", "mod", "mpa", "ogg", "ra", "wma"])
# suffixes under which videos go that FFmpeg tells by their content, and so has in no list
_CUSTOMARY = frozenset(
    [
        "3gp2",
        "3gpp",
        "bik",
        "divx",
        "dvr-ms",
        "evo",
        "flc",
        "fli",
        "ivr",
        "k3g",
        "m2p",
        "movie",
        "mp2v",
        "mpe",
        "mpeg1",
        "mpeg2",
        "mpeg4",
        "mpv",
        "mpv2",
        "nsv",
        "ogm",
        "qt",
        "rmvb",
        "rv",
        "smk",
        "tod",
        "tp",
        "trp",
        "vro",
        "webm",
        "wm",
        "xvid",
    ]
)
_STILL = frozenset(["heic", "heif", "avif", "webp", "ico", "fits", "jxl"])
_NO_CONTAINER = (
    "rawvideo",
    "image2",
    "dash",
    "hls",
    "webm_dash_manifest",
    "ico",
    "webp",
    "avif",
    "fits",
    "null",
    "a64",
)


def stem(name: str) -> str:
    """The last part of a path without its video suffix; other dots stay, as some names hold them."""
    name = name.replace("\\", "/").rpartition("/")[2]
    head, _, tail = name.rpartition(".")
    return head if head and (tail.lower() in video_suffixes() or tail.lower() in _EITHER) else name


@cache
def video_suffixes() -> frozenset[str]:
    """Suffixes, without the dot, of files that are videos."""
    return _ask()[0]


def choose_videos(paths: Sequence[Path]) -> list[Path]:
    """Those of the files that are videos, in order."""
    videos, others = _ask()
    doubtful = []
    chosen = set()
    for path in paths:
        suffix = os.path.splitext(path.name)[1][1:].lower()  # noqa: PTH122 - 13,000 entries
        if suffix in videos:
            chosen.add(path)
        elif suffix not in others:
            doubtful.append(path)
    if doubtful:
        chosen |= _look_into(doubtful)
    return [path for path in paths if path in chosen]


def _look_into(paths: Sequence[Path]) -> set[Path]:
    """Those that hold a video, by a process of its own, which a broken file may crash."""
    from snn_action.video.workers import Failure, map_apart

    found = map_apart(_holds_video, paths, 1, _SECONDS)
    # what crashes FFmpeg is not passed over in silence
    return {path for path, holds in zip(paths, found, strict=True) if isinstance(holds, Failure) or holds}


def _holds_video(path: Path) -> bool:
    from av.stream import Disposition

    from snn_action.core.errors import VideoError
    from snn_action.video.opening import naming_video, open_file

    try:
        with naming_video(path), open_file(path) as container:
            name = container.format.name
            if name == "tty" or name.startswith("image2") or name.endswith("_pipe"):
                return False
            covers = Disposition.attached_pic
            return any(not stream.disposition & covers for stream in container.streams.video)
    except VideoError:
        return False


@cache
def _ask() -> tuple[frozenset[str], frozenset[str]]:
    """Suffixes of videos, and of what is no video, as FFmpeg and the registered types of media have them."""
    import av

    videos, others = set(_CUSTOMARY), set(_STILL)
    for name in av.formats_available:
        format = av.ContainerFormat(name)
        suffixes = {suffix.strip().lower() for suffix in format.extensions}
        if name in _NO_CONTAINER or name == "tty":
            others |= suffixes
        elif suffixes and format.is_output:
            with av.open(BytesIO(), "w", format=name) as output:
                picture = output.default_video_codec
            # a format of sound may take one picture, its cover
            (others if picture in ("none", "png") else videos).update(suffixes)
    types = mimetypes.MimeTypes(filenames=()).types_map[True]
    known = {suffix[1:]: kind.partition("/")[0] for suffix, kind in types.items()}
    videos |= {suffix for suffix, kind in known.items() if kind == "video"}
    others |= {suffix for suffix, kind in known.items() if kind != "video"} - videos
    others |= {"csv", "json", "md", "yaml", "yml", "toml", "log", "mat", "npy", "npz", "pkl", "gz", "db"}
    still = {suffix for suffix, kind in known.items() if kind == "image"} - {"gif"}
    videos -= others & (still | _STILL)
    videos -= _EITHER | set(av.ContainerFormat("image2", "w").extensions)
    return frozenset(videos), frozenset(others - videos - _EITHER)
