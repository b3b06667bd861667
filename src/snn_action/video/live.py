"""Frames as they come, from a file, an address, a camera or standard input, with memory that does not grow.

A thread reads and decodes ahead into a short queue. A file, a pipe or a download waits for whoever takes the frames. A
camera does not: where frames are taken too slowly, those in the queue are thrown away and counted, and the newest go
on. Frames have the size of the first one: later ones of another size are scaled to it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from snn_action.core.errors import ConfigError, VideoError
from snn_action.core.reading import naming
from snn_action.video.decode import Frame
from snn_action.video.feeds import Decoded, LiveSettings, open_feed, say_timeout
from snn_action.video.sources import Source

USUAL_RATE = 25.0  # where nothing tells the frames' rate
_QUEUED = 2**26  # bytes of frames in the queue, and in any case
_FEWEST, _MOST = 4, 64  # frames
_POLL = 0.05  # seconds


@dataclass(frozen=True)
class LiveFrame:
    """A frame of a stream.

    Attributes:
        index: Its number, counted from 0; frames that were thrown away count.
        time: Seconds since the first frame.
        image: ``(H, W, 3)`` uint8 RGB; None where nobody wants it.
        arrived: When it was decoded or, of a source that waits, taken (``time.monotonic``).
    """

    index: int
    time: float
    image: Frame | None
    arrived: float


@dataclass(frozen=True)
class _Opened:
    rate: float | None


@dataclass(frozen=True)
class _End:
    error: Exception | None = None


class _Belt:
    """What the reading thread hands over, a few frames at a time."""

    def __init__(self, waits: bool) -> None:
        self.room, self.dropped = _MOST, 0
        self._waits, self._closed = waits, False
        self._items: deque[Any] = deque()
        self._changed = threading.Condition()

    def put(self, item: Any) -> bool:
        """Put it at the end, once there is room or, where the source does not wait, in the place of all frames.

        False: nobody takes anything any more.
        """
        with self._changed:
            if len(self._items) >= self.room and not self._waits and not isinstance(item, _End):
                self.dropped += len(self._items)
                self._items.clear()
            self._changed.wait_for(lambda: self._closed or len(self._items) < self.room)
            self._items.append(item)
            self._changed.notify_all()
            return not self._closed

    def take(self, seconds: float) -> Any:
        """The first; None where none comes within that time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items, seconds):
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return not self._items

    def close(self) -> None:
        """Nobody takes anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class LiveReader:
    """Reads one source; ``with LiveReader(...) as reader: for frame in reader.frames(wanted): ...``.

    Attributes:
        rate: Frames a second; None where nothing tells it.
    """

    def __init__(self, source: Source, settings: LiveSettings | None = None) -> None:
        self.source = source
        self.settings = settings or LiveSettings()
        self.rate: float | None = None
        self._wanted: Callable[[int], bool] = lambda _: True
        self._go = threading.Event()
        self._belt = _Belt(source.waits)
        if source.kind == "stdin" and self.settings.frame_size is None:
            raise ConfigError("raw frames on standard input: say how large they are, by --frame-size WIDTHxHEIGHT")

    def __enter__(self) -> "LiveReader":
        """Open the source.

        Raises:
            VideoError: it cannot be opened, or not within ``timeout``.
        """
        threading.Thread(target=self._pump, name=f"read {self.source.label}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let the source go."""
        self._belt.close()
        self._go.set()

    @property
    def dropped(self) -> int:
        """Frames of a live source that were thrown away as they were taken too slowly."""
        return self._belt.dropped

    def wait_open(self, stop: threading.Event) -> bool:
        """Wait until the source is open and ``rate`` is known; false where ``stop`` came before.

        Raises:
            VideoError: it cannot be opened, or not within ``timeout``.
        """
        for message in self._receive(stop, "it did not answer"):
            if isinstance(message, _Opened):
                self.rate = message.rate
                return True
        return False

    def frames(self, wanted: Callable[[int], bool], stop: threading.Event) -> Iterator[LiveFrame | None]:
        """Every frame, with its image where ``wanted`` is true of its number; of a live source always.

        Of a live source also None, whenever no further frame waits. Ends with the source, or when ``stop`` is set.

        Raises:
            VideoError: the source breaks off, is damaged, or sends no frame within ``timeout``; earlier frames were
                given.
        """
        self._wanted = wanted if not self.source.is_live else lambda _: True
        self._go.set()
        seen = False
        for message in self._receive(stop, "no frame came"):
            seen = True
            yield message if not self.source.waits else replace(message, arrived=time.monotonic())
            if self.source.is_live and self._belt.is_empty():
                yield None
        if not seen and not stop.is_set():
            raise VideoError(f"{self.source.label}: it ended without a frame", "no frames")

    def _receive(self, stop: threading.Event, what: str) -> Iterator[Any]:
        last = time.monotonic()
        while not stop.is_set():
            message = self._belt.take(_POLL)
            if message is None:
                if time.monotonic() - last > self.settings.timeout:
                    raise VideoError(say_timeout(self.source, what, self.settings), "timeout")
                continue
            if isinstance(message, _End):
                if message.error is not None:
                    raise message.error
                return
            yield message
            last = time.monotonic()

    def _pump(self) -> None:
        """The thread: opens, waits until frames are asked for, and reads to the end."""
        error: Exception | None = None
        try:
            with (
                naming(Path(self.source.label), error=_unreadable),
                open_feed(self.source, self.settings) as (rate, decoded),
            ):
                self._belt.put(_Opened(rate))
                self._go.wait()
                for frame in self._number(decoded, rate):
                    if not self._belt.put(frame):
                        return
        except VideoError as problem:
            error = problem
        except Exception as problem:  # whatever it is, whoever waits must hear of it
            error = VideoError(f"{self.source.label}: {problem or type(problem).__name__}", "unreadable")
        self._belt.put(_End(error))

    def _number(self, decoded: Decoded, rate: float | None) -> Iterator[LiveFrame]:
        """Frames with their numbers and with times that only go forward."""
        begin, shift, last = time.monotonic(), None, -1.0
        step = 1 / (rate or USUAL_RATE)
        for index in count():
            found = next(decoded, None)
            if found is None:
                return
            told, make = found
            now = time.monotonic()
            if told is None:
                told = index * step if rate or not self.source.is_live else now - begin
            shift = told if shift is None else shift
            if told - shift <= last:  # the source's clock went back
                shift = told - last - step
            last = told - shift
            image = make() if self._wanted(index) else None
            if image is not None and index == 0:
                self._belt.room = max(_FEWEST, min(_MOST, _QUEUED // image.nbytes))
            yield LiveFrame(index, last, image, now)


def number_frames(frames: Iterable[Frame], fps: float | None) -> Iterator[LiveFrame]:
    """Frames ``(H, W, 3)`` uint8 RGB from anywhere, such as a camera that a program of yours reads.

    Raises:
        ConfigError: a frame has another shape or type.
    """
    for index, image in enumerate(frames):
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ConfigError(f"frame {index} must be (height, width, 3) uint8 RGB, not {image.shape} {image.dtype}")
        yield LiveFrame(index, index / (fps or USUAL_RATE), image, time.monotonic())


def _unreadable(message: str) -> VideoError:
    return VideoError(message, "unreadable")
