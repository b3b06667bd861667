"""What ``predict`` says of streams: a table or JSON lines, a line of progress, and the video with an overlay."""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from snn_action.cli.options import is_terminal
from snn_action.core.errors import WorkError, printable

if TYPE_CHECKING:
    from snn_action.evaluation.segments import Segment
    from snn_action.report.overlay import Overlay
    from snn_action.runs.prediction import LoadedRun
    from snn_action.runs.streaming import Moment, RunStream

_REFRESH = 0.2  # seconds between two changes of the line of progress


class Drawing:
    """An overlay whose failure ends it, and nothing else."""

    def __init__(self, overlay: "Overlay", teller: "Teller") -> None:
        self._overlay: Overlay | None = overlay
        self._teller = teller

    def add_frame(self, frame: Any) -> None:
        """The next frame of the source."""
        if self._overlay is not None:
            self._overlay.add_frame(frame)

    def add_step(self, stream: "RunStream", moment: "Moment") -> None:
        """What is said from a frame on."""
        if self._overlay is not None:
            self._overlay.rate = stream.rate
            step = moment.frame, moment.time, moment.evidence, moment.spikes, moment.is_unknown
            self._try(stream, self._overlay.add_step, *step)

    def finish(self, stream: "RunStream") -> None:
        """Put the video in its place."""
        if self._overlay is not None:
            self._try(stream, self._overlay.finish)

    def _try(self, stream: "RunStream", do: Callable[..., None], *arguments: Any) -> None:
        try:
            do(*arguments)
        except WorkError as error:
            self._overlay = None
            self._teller.tell_error(stream, error)


def make_drawing(path: Path, recognizer: "LoadedRun", teller: "Teller") -> Drawing:
    """The overlay that is written to ``path``."""
    from snn_action.report.overlay import Overlay

    return Drawing(Overlay(path, recognizer.class_names), teller)


class Teller:
    """Says what streams say: a table or a JSON object a line and, on a terminal, a line of progress."""

    def __init__(self, as_json: bool, top: int, several: bool) -> None:
        self.as_json, self.top, self.several = as_json, top, several
        self.failed = False
        self._lock = threading.Lock()
        self._shows = is_terminal()
        self._shown = 0.0

    def begin(self, stream: "RunStream") -> None:
        """Before the first frame: the head of the table."""
        if not self.as_json:
            self._say(f"{stream.label}\n{'start':>10}{'end':>10}  confidence  class")

    def tell_moment(self, stream: "RunStream", moment: "Moment") -> None:
        """A step: a JSON line, and the line of progress."""
        if self.as_json:
            order = moment.evidence.argsort()[::-1][: self.top]
            top = [{"class": stream.class_names[k], "evidence": round(float(moment.evidence[k]), 4)} for k in order]
            times = {"frame": moment.frame, "time": round(moment.time, 3), "latency": round(moment.latency, 4)}
            unknown = {} if moment.is_unknown is None else {"unknown": moment.is_unknown}
            self._say_json(stream, "moment", {**times, "top": top, **unknown})
        now = time.monotonic()
        if self._shows and now - self._shown > _REFRESH:
            self._shown = now
            best = int(moment.evidence.argmax())
            summary, name = stream.summary, stream.class_names[best]
            words = f"unknown, nearest: {name}" if moment.is_unknown else name
            text = (
                f"{stream.label}  {moment.time:.1f} s  {words} {100 * moment.evidence[best]:.0f} %  "
                f"{summary.frames_per_second:.1f} frames/s  {1000 * moment.latency:.0f} ms"
            )
            with self._lock:
                typer.echo(f"\r\x1b[2K{printable(text)[:110]}", nl=False, err=True)

    def tell_segment(self, stream: "RunStream", segment: "Segment") -> None:
        """A segment: a JSON line or a row."""
        from snn_action.report.segment_files import describe_segment

        if self.as_json:
            self._say_json(stream, "segment", describe_segment(segment))
            return
        row = f"{segment.start:10.2f}{segment.end:10.2f}  {100 * segment.confidence:8.1f} %  {printable(segment.words)}"
        self._say(f"{row}  ({stream.label})" if self.several else row)

    def tell_error(self, stream: "RunStream", error: WorkError) -> None:
        """What went wrong with this stream."""
        self.failed = True
        if self.as_json:
            self._say_json(stream, "error", {"error": str(error)})
        self._say(f"error: {error}", err=True)

    def end(self, stream: "RunStream") -> None:
        """The summary."""
        if self.as_json:
            self._say_json(stream, "summary", stream.summary.to_dict())
            return
        self._say(f"{stream.label}: {stream.summary.to_text()}" if self.several else f"  {stream.summary.to_text()}")

    def _say_json(self, stream: "RunStream", kind: str, content: dict[str, Any]) -> None:
        self._say(json.dumps({"source": stream.label, "type": kind, **content}))

    def _say(self, text: str, *, err: bool = False) -> None:
        with self._lock:
            if self._shows:
                typer.echo("\r\x1b[2K", nl=False, err=True)
            typer.echo(text, err=err)
            sys.stdout.flush()
