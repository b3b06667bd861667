"""Segments of streams as files: WebVTT subtitles, CSV and JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snn_action.core.errors import ConfigError, printable
from snn_action.core.files import write_atomic
from snn_action.core.tables import write_table
from snn_action.evaluation.segments import Segment

SUFFIXES = (".vtt", ".csv", ".json")

Found = Mapping[str, Sequence[Segment]]


def check_segment_file(path: Path, sources: int) -> None:
    """Nothing, where segments of so many sources can be written into a file of that name.

    Raises:
        ConfigError: its suffix is none of ours, or subtitles would be of several videos.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--segments {path}: name a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() == ".vtt" and sources > 1:
        raise ConfigError(f"--segments {path}: subtitles are of one video, here are {sources}; take .csv or .json")


def write_segments(path: Path, found: Found) -> None:
    """Write the segments of each source, in the form that the suffix names.

    Raises:
        OSError: it cannot be written.
    """
    form = {".vtt": to_vtt, ".csv": to_csv, ".json": to_json}[path.suffix.lower()]
    write_atomic(path, form(found))


def describe_segment(segment: Segment) -> dict[str, Any]:
    """For JSON, times in seconds; ``unknown``, ``score`` and ``threshold`` where the run is calibrated for streams."""
    described: dict[str, Any] = {
        "class": segment.name,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "confidence": round(segment.confidence, 4),
    }
    if segment.is_unknown is not None:
        described |= {"unknown": segment.is_unknown, "score": segment.score, "threshold": segment.threshold}
    return described


def to_json(found: Found) -> str:
    """A list of segments, each with its source."""
    rows = [{"source": name, **describe_segment(one)} for name, segments in found.items() for one in segments]
    return json.dumps(rows, indent=2) + "\n"


def to_csv(found: Found) -> str:
    """A line a segment; texts are no formulas (``core.tables``). Where the run is calibrated, ``unknown`` is 1 or 0."""
    judged = any(one.is_unknown is not None for segments in found.values() for one in segments)
    rows = [("source", "class", "start", "end", "confidence", *(("unknown",) if judged else ()))]
    for name, segments in found.items():
        for one in segments:
            values = name, one.name, f"{one.start:.3f}", f"{one.end:.3f}", f"{one.confidence:.4f}"
            rows.append((*values, str(int(bool(one.is_unknown)))) if judged else values)
    return write_table(rows)


def to_vtt(found: Found) -> str:
    """Subtitles: the class, or that it is unknown, and the confidence while it lasts."""
    cues = [
        f"{_clock(one.start)} --> {_clock(one.end)}\n{_escape(one.words)} ({100 * one.confidence:.0f} %)\n"
        for segments in found.values()
        for one in segments
        if round(1000 * one.end) > round(1000 * one.start)  # a cue that lasts no time is an error
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _clock(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _escape(text: str) -> str:
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
