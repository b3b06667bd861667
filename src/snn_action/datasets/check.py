"""Whether videos can be used, found out by decoding each of them to its end.

A problem makes a video unusable; a warning is something to know of one that can be used.

===================  =======================================================================================
problem              meaning
===================  =======================================================================================
``unreadable``       no video, no access, or a decoder that crashed or hung
``no video stream``  sound only, or text
``no frames``        a video stream without frames, or a folder without any
``truncated``        fewer frames are there, or decode, than are declared
``damaged``          a frame cannot be decoded, or the size of frames changes
``absurd size``      beyond ``features.limits`` (a decompression bomb)
``gap``              a number is missing, or there twice, in a folder of frames
===================  =======================================================================================

===================  =======================================================================================
warning              meaning
===================  =======================================================================================
``concealed``        the decoder met damage and painted over it
``frame count``      the header declares another number of frames than are there, of a file that is whole
``frame rate``       it is variable, or frames were dropped in recording: steps of time are not equal
``rotation``         by an angle that is no quarter turn, which is not done
``duplicate``        the content of another video, byte by byte
===================  =======================================================================================
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

from snn_action.core.errors import ConfigError, VideoError
from snn_action.datasets.lists import class_folders, find_videos
from snn_action.video.content import digest_content
from snn_action.video.decode import FrameSource, MiscountError, VideoFile, open_video, use_video
from snn_action.video.frame_folder import is_frame_folder
from snn_action.video.limits import check_size
from snn_action.video.opening import check_file, naming_video
from snn_action.video.orientation import UPRIGHT, read_orientation
from snn_action.video.settings import LimitSettings
from snn_action.video.timeline import decode_packets, open_stream
from snn_action.video.workers import Failure, map_apart


@dataclass(frozen=True)
class Finding:
    """A problem or a warning: its kind (see the module) and what was found."""

    kind: str
    text: str


@dataclass(frozen=True)
class VideoCheck:
    """What is known of one video; what could not be found out is None.

    Attributes:
        path: As it was given or found.
        frames: Number of frames, all of which decode where there are no problems.
        declared: Number of frames in the header; None where it has none.
        seconds: From the first frame to the end of the last.
        width, height: Of the frames as they are read, turned where the file asks for it.
        codec, pixel_format, rotation: As in the file.
        digest: SHA-256 of the content.
        problems, warnings: Of the kinds in the module's tables.
    """

    path: str
    frames: int | None = None
    declared: int | None = None
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    pixel_format: str | None = None
    rotation: float | None = None
    digest: str | None = None
    problems: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


def find_all_videos(path: Path) -> list[Path]:
    """The video itself, or every video file and folder of frames at any depth in a folder, links followed, sorted.

    Raises:
        ConfigError: there is none.
    """
    if path.is_file() or (path.is_dir() and is_frame_folder(path)):
        return [path]
    found = _find_below(path, frozenset()) if path.is_dir() else []
    if not found:
        raise ConfigError(f"{path}: no video {'in this folder' if path.is_dir() else 'or folder there'}")
    return sorted(found)


def _find_below(folder: Path, above: frozenset[tuple[int, int]]) -> list[Path]:
    """As the datasets do, through links to folders, but for one that leads back up: that is named as it stands."""
    status = folder.stat()
    above |= {(status.st_dev, status.st_ino)}
    found = find_videos(folder)
    for inner in class_folders(folder):
        try:
            status, holds_frames = inner.stat(), is_frame_folder(inner)
        except OSError:  # no permission: ``find_videos`` names it
            continue
        if (status.st_dev, status.st_ino) in above:
            found.append(inner)
        elif not holds_frames:
            found += _find_below(inner, above)
    return found


def _leads_up(path: Path) -> bool:
    """Whether a path is a link to a folder that it lies in."""
    return path.is_symlink() and path.is_dir() and any(path.samefile(parent) for parent in path.absolute().parents)


def check_videos(paths: Sequence[Path], limits: LimitSettings, workers: int) -> Iterator[VideoCheck]:
    """What is found of each video, in order, by ``workers`` processes; duplicates are yet to be marked."""
    for path, found in zip(paths, map_apart(partial(check_video, limits=limits), paths, workers, limits.timeout)):  # noqa: B905 - as long
        if isinstance(found, Failure):
            found = VideoCheck(str(path), problems=(Finding("unreadable", f"{path}: {found.reason}"),))
        yield found


def check_video(path: Path, limits: LimitSettings) -> VideoCheck:
    """Decode one video to its end and say what is found."""
    check = VideoCheck(str(path))
    try:
        if _leads_up(path):
            raise VideoError(f"{path}: a link to a folder that it lies in", "unreadable")
        with naming_video(path):
            if not path.is_dir():
                check_file(path)
            check = replace(check, digest=digest_content(path))
            return use_video(open_video(path, limits), lambda source: _look(check, source))
    except VideoError as error:
        return replace(check, problems=(Finding(error.kind, str(error)),))


def _look(check: VideoCheck, source: FrameSource) -> VideoCheck:
    check = replace(check, frames=source.n_frames)
    if isinstance(source, VideoFile):
        check = replace(check, declared=source.timeline.declared)
        next(source.read([0]))  # its pixels can be converted
        return _decode_file(check, source)
    size: tuple[int, ...] = ()
    for frame in source.read(range(source.n_frames)):
        size = frame.shape
    return replace(check, width=size[1], height=size[0], codec="jpeg")


def mark_duplicates(checks: Iterable[VideoCheck]) -> list[VideoCheck]:
    """The same, with a warning where an earlier video has the same content."""
    first: dict[str, str] = {}
    marked = []
    for check in checks:
        if check.digest is not None and (other := first.setdefault(check.digest, check.path)) != check.path:
            warning = Finding("duplicate", f"{check.path}: has the content of {other}")
            check = replace(check, warnings=(*check.warnings, warning))
        marked.append(check)
    return marked


def make_report(path: Path, checks: Sequence[VideoCheck]) -> dict[str, Any]:
    """For JSON: how many videos there are of each kind, and all that is known of each."""
    kinds = {
        what: [finding.kind for check in checks for finding in getattr(check, what)]
        for what in ("problems", "warnings")
    }
    return {
        "path": str(path),
        "videos": len(checks),
        "usable": sum(not check.problems for check in checks),
        **{what: {kind: found.count(kind) for kind in sorted(set(found))} for what, found in kinds.items()},
        "checks": [asdict(check) for check in checks],
    }


def _decode_file(check: VideoCheck, source: VideoFile) -> VideoCheck:
    """Every frame of a video file, once."""
    path = source.path
    decoded = concealed = 0
    sizes: set[tuple[int, int]] = set()
    orientation = UPRIGHT
    with open_stream(path, source.limits) as (container, stream):
        unit = float(stream.time_base or 0)
        rate = float(stream.average_rate or 0)
        check = replace(check, codec=stream.codec_context.name)
        try:
            for _, frames in decode_packets(container, stream):
                for frame in frames:
                    decoded += 1
                    concealed += bool(frame.is_corrupt)
                    sizes.add((frame.width, frame.height))
                    check_size(path, frame.width, frame.height, source.limits)
                    orientation = read_orientation(frame)
                    check = replace(check, pixel_format=frame.format.name) if decoded == 1 else check
        except av.FFmpegError as error:
            raise VideoError(f"{path}: frame {decoded} cannot be decoded: {error.strerror}", "damaged") from None
    if decoded != source.n_frames:
        raise MiscountError(f"{path}: {decoded} of {source.n_frames} frames decode", "truncated")
    if len(sizes) > 1:
        raise VideoError(f"{path}: the size of its frames changes: {sorted(sizes)}", "damaged")
    ((width, height),) = sizes
    if orientation.transposed:
        width, height = height, width
    times = [time * unit for time in source.timeline.times or ()]
    warnings = []
    if concealed:
        warnings.append(Finding("concealed", f"{path}: {concealed} of {decoded} frames were damaged and painted over"))
    if check.declared not in (None, decoded):
        warnings.append(Finding("frame count", f"{path}: {check.declared} frames are declared, {decoded} are there"))
    if text := _describe_rate(times, unit):
        warnings.append(Finding("frame rate", f"{path}: {text}"))
    if not orientation.is_done:
        what = f"turned by {orientation.degrees:g} degrees"
        warnings.append(Finding("rotation", f"{path}: asks to be shown {what}; only quarter turns are done"))
    length = source.timeline.seconds if times else 0.0
    seconds = length * decoded / (decoded - 1) if length and decoded > 1 else decoded / rate if rate else None
    known = {
        "seconds": seconds,
        "width": width,
        "height": height,
        "rotation": orientation.degrees,
        "warnings": tuple(warnings),
    }
    return replace(check, **known)  # type: ignore[arg-type]


def _describe_rate(times: Sequence[float], unit: float) -> str:
    """Where steps of time differ by more than rounding and a tenth, how they do; else nothing."""
    steps = np.diff(times)
    if len(steps) < 2:
        return ""
    usual = median(steps.tolist())
    differ = int((abs(steps - usual) > max(1.5 * unit, 0.1 * usual)).sum())
    if not differ:
        return ""
    span = f"{steps.min():.3f} to {steps.max():.3f} s"
    return f"variable frame rate: {differ} of {len(steps)} steps of time, {span}, are not the usual {usual:.3f} s"
