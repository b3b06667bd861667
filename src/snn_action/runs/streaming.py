"""A trained run on a stream: frames in, one at a time or a few; evidence and segments out, whatever the length."""

import logging
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from snn_action.core.errors import WorkError
from snn_action.core.malloc import keep_freed_memory
from snn_action.evaluation.segment_calibration import SegmentJudge
from snn_action.evaluation.segments import Segment, Segmenter
from snn_action.evaluation.staggered import LeakyEvidence, StaggeredRows
from snn_action.evaluation.stretches import choose_cost
from snn_action.features.streaming import Views, embed_stream
from snn_action.video.decode import Frame
from snn_action.video.feeds import LiveSettings
from snn_action.video.live import LiveFrame, LiveReader, number_frames
from snn_action.video.sources import Source, find_source

if TYPE_CHECKING:
    from snn_action.runs.prediction import LoadedRun

logger = logging.getLogger(__name__)

ROWS = 2  # more find no better segments (benchmarks/accuracy/segments.py), and take longer
LEAK = 0.25  # of a training clip's steps
_TOGETHER = 16  # steps of a file, at most: the model's weights are read once for all of them
_WAITING = 16  # steps of a live source that has got ahead
_REMEMBERED = 1000  # latencies


@dataclass(frozen=True)
class StreamSettings:
    """How a stream is read and told.

    Attributes:
        every: Take every n-th frame; None: as far apart as the steps of the training clips.
        cost: What a change of the class costs, in nats (``evaluation.stretches``); None: ``choose_cost``.
        spikes: Give the spikes of the hidden units with each moment.
        live: How the source is read.
    """

    every: int | None = None
    cost: float | None = None
    spikes: bool = False
    live: LiveSettings = field(default_factory=LiveSettings)


@dataclass(frozen=True)
class Moment:
    """What is said at one step of a stream.

    Attributes:
        frame: Number of the frame.
        time: Seconds since the first frame.
        evidence: Of each class (K,), with a leak over a quarter of a training clip's steps; sums to 1.
        latency: Seconds since the frame came (a file's: since it was taken from those that were decoded ahead).
        spikes: Of the hidden units at this step (N,), counted; None where they were not asked for or do not spike.
        is_unknown: Whether the segment that lasts now, as far as it goes, is none of the known actions; None where the
            run has no calibration of streams.
    """

    frame: int
    time: float
    evidence: npt.NDArray[np.float64]
    latency: float
    spikes: npt.NDArray[np.float32] | None = None
    is_unknown: bool | None = None


@dataclass
class StreamSummary:
    """What was done so far.

    Attributes:
        frames: Frames that came.
        steps: Of these, those that were looked at.
        dropped: Frames of a live source that came too fast.
        seconds: Time of the last frame.
        wall: Seconds that it took.
        segments: Segments found.
    """

    frames: int = 0
    steps: int = 0
    dropped: int = 0
    seconds: float = 0.0
    wall: float = 0.0
    segments: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def frames_per_second(self) -> float:
        """Frames that came, by the seconds that it took."""
        return self.frames / self.wall if self.wall else 0.0

    def latency(self, share: float = 0.5) -> float:
        """Seconds from a frame to its evidence, over the last 1,000 steps: the median, or another share."""
        if len(self.latencies) < 2:
            return self.latencies[0] if self.latencies else 0.0
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[min(98, round(100 * share) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, times in seconds."""
        return {
            "frames": self.frames,
            "steps": self.steps,
            "dropped": self.dropped,
            "seconds": round(self.seconds, 3),
            "wall_seconds": round(self.wall, 3),
            "frames_per_second": round(self.frames_per_second, 2),
            "latency_median": round(self.latency(), 4),
            "latency_95": round(self.latency(0.95), 4),
            "segments": self.segments,
        }

    def to_text(self) -> str:
        """For people, on one line."""
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        return (
            f"{self.seconds:.1f} s of video, {self.frames} frames{dropped}, {self.steps} looked at, "
            f"in {self.wall:.1f} s: {self.frames_per_second:.1f} frames/s, latency {1000 * self.latency():.0f} ms "
            f"(95 %: {1000 * self.latency(0.95):.0f} ms); segments: {self.segments}"
        )


def choose_batch(frames: int) -> int:
    """Steps of a file that go through the backbone together: an even part of those between two beginnings of rows."""
    hop = max(1, frames // min(ROWS, frames))
    return math.ceil(hop / math.ceil(hop / _TOGETHER))


class RunStream:
    """What a run says of a stream; iterate over it once.

    It gives a ``Moment`` for each step and a ``Segment`` as soon as one is certain, those that were open at the end
    last. Only then an error of the source is raised: nothing that was seen before it is lost.

    Attributes:
        summary: What was done so far.
        rate: Frames a second; None where nothing tells it, or the stream has not begun.
        every: Which frames are looked at: every n-th.
    """

    def __init__(
        self,
        recognizer: "LoadedRun",
        source: str | Path | Source | Iterable[Frame],
        settings: StreamSettings | None = None,
        stop: threading.Event | None = None,
        on_frame: Callable[[LiveFrame], None] | None = None,
    ) -> None:
        self.recognizer = recognizer
        self.source = find_source(str(source)) if isinstance(source, str | Path) else source
        self.settings = settings or StreamSettings()
        self.summary = StreamSummary()
        self.rate: float | None = None
        self.every = 1
        self._stop = stop or threading.Event()
        self._on_frame = on_frame
        self._problem: Exception | None = None

    @property
    def label(self) -> str:
        """What the source is called."""
        return self.source.label if isinstance(self.source, Source) else "frames"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes of the evidence."""
        return self.recognizer.class_names

    def __iter__(self) -> Iterator[Moment | Segment]:
        """See the class.

        Raises:
            WorkError: the source cannot be opened, breaks off, is damaged, or sends nothing in time.
        """
        with ExitStack() as stack:
            stack.enter_context(keep_freed_memory())
            begin, opened = time.monotonic(), self._open(stack)
            if opened is not None:
                if isinstance(self.source, Source) and self.source.is_live:
                    begin = time.monotonic()  # a camera's seconds begin with its frames
                yield from self._run(*opened, begin)
            if self._problem is not None:
                raise self._problem

    def _open(self, stack: ExitStack) -> tuple[Views, Iterator[LiveFrame | None], int] | None:
        run, settings = self.recognizer, self.settings
        reader: LiveReader | None = None
        if isinstance(self.source, Source):
            if self.source.is_live:
                self._warm_up()
            reader = stack.enter_context(LiveReader(self.source, settings.live))
            if not reader.wait_open(self._stop):
                return None
            self.rate = reader.rate
        else:
            self.rate = settings.live.fps
        self.every = settings.every or self._choose_every()
        views = Views(run.config.clip.streams, run.config.clip.difference_span, self.every)
        wanted = (lambda _: True) if self._on_frame is not None else views.wants
        if reader is None:
            assert not isinstance(self.source, Source)
            return views, self._watch(number_frames(self.source, self.rate), None), 1
        together = _WAITING if reader.source.is_live else 0
        return views, self._watch(reader.frames(wanted, self._stop), reader), together

    def _warm_up(self) -> None:
        """Look at a black image, and forget it: frames that come while kernels are loaded would be thrown away."""
        run, clip = self.recognizer, self.recognizer.config.clip
        side = clip.size or run.backbone.input_size
        black = number_frames([np.zeros((side, side, 3), np.uint8)], None)
        for part in embed_stream(
            black, Views(clip.streams, clip.difference_span, 1), run.config, run.backbone, run.device, 1
        ):
            StaggeredRows(run.model, clip.frames, ROWS).advance(part.features.to(run.device))

    def _choose_every(self) -> int:
        timing = self.recognizer.timing
        if timing is None:
            logger.warning(
                "%s: this run does not say how far apart the frames of its training clips were; every frame is looked "
                "at. --every N takes every N-th",
                self.label,
            )
            return 1
        return timing.choose_every(self.rate)

    def _make_judge(self) -> SegmentJudge | None:
        run = self.recognizer
        if run.calibration is None:
            return None
        judge = run.calibration.make_judge(run.class_names, run.config.evaluation.background)
        if judge is None:
            logger.warning(
                "%s: this run was calibrated on videos, not on streams: no segment is called unknown. `snn-action "
                "evaluate RUN` adds what is missing, also to a run that is packed afterwards",
                self.label,
            )
        return judge

    def _watch(self, frames: Iterator[LiveFrame | None], reader: LiveReader | None) -> Iterator[LiveFrame | None]:
        """The frames, counted; a problem is kept until what came before it has been told."""
        try:
            for frame in frames:
                if self._stop.is_set():
                    return
                if frame is not None:
                    self.summary.frames += 1
                    self.summary.seconds = frame.time
                    self.summary.dropped = reader.dropped if reader else 0
                    if self._on_frame is not None:
                        self._on_frame(frame)
                yield frame
        except WorkError as error:
            self._problem = error

    def _run(
        self, views: Views, frames: Iterator[LiveFrame | None], together: int, begin: float
    ) -> Iterator[Moment | Segment]:
        run, settings, summary = self.recognizer, self.settings, self.summary
        rows = StaggeredRows(run.model, run.config.clip.frames, ROWS, shows=settings.spikes)
        together = together or choose_batch(rows.frames)
        cost = choose_cost(rows.frames) if settings.cost is None else settings.cost
        judge = self._make_judge()
        segmenter = Segmenter(run.class_names, cost, judge=judge)
        leak = LeakyEvidence(max(1.0, LEAK * rows.frames))
        for part in embed_stream(frames, views, run.config, run.backbone, run.device, together):
            said = rows.advance(part.features.to(run.device))
            energies = np.zeros(len(part.frames)) if judge is None else judge.measure(said)
            now = time.monotonic()
            for place, (frame, shares) in enumerate(zip(part.frames, said.mean, strict=True)):
                found = segmenter.add(frame.time, shares, float(energies[place]))
                last = segmenter.look() if judge else None
                is_unknown = None if last is None else last.is_unknown
                spikes = None if rows.spikes is None else rows.spikes[place]
                moment = Moment(frame.index, frame.time, leak.add(shares), now - frame.arrived, spikes, is_unknown)
                summary.steps += 1
                summary.latencies.append(moment.latency)
                summary.wall = now - begin
                yield moment
                for segment in found:
                    summary.segments += 1
                    yield segment
        for segment in segmenter.end():
            summary.segments += 1
            yield segment
        summary.wall = time.monotonic() - begin
