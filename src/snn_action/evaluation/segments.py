"""Where actions begin and end in a stream: stretches of the most likely course of classes (``stretches``), as told.

The course is one of classes, whatever is unknown. A judge (``segment_calibration``) says of each stretch, once it is
certain, whether it is an unknown action; neighbors that are unknown are told as one segment.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from snn_action.evaluation.stretches import PATIENCE, Stretch, StretchFinder


@dataclass(frozen=True)
class Segment:
    """An action of a stream.

    Attributes:
        name: Its class; of an unknown action the nearest one.
        start: Seconds from the first frame.
        end: Seconds from the first frame.
        confidence: Mean evidence of the class over the segment, calibrated where the run is.
        is_unknown: Whether this is none of the known actions; None where the run has no calibration of streams.
        score: How strange it is (``rejection``); None likewise.
        threshold: From where on it is unknown; None likewise.
    """

    name: str
    start: float
    end: float
    confidence: float
    is_unknown: bool | None = None
    score: float | None = None
    threshold: float | None = None

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start

    @property
    def words(self) -> str:
        """For people: its class, or that it is unknown, and the nearest one."""
        return f"unknown, nearest: {self.name}" if self.is_unknown else self.name


Judge = Callable[[Stretch], Segment]


class Segmenter:
    """Finds segments step by step.

    Args:
        class_names: Names of the K classes.
        cost: Of a change of the class, in nats.
        patience: Seconds after which the best course is settled where courses do not agree.
        judge: Says what is told of a stretch. None: its class.
    """

    def __init__(
        self, class_names: Sequence[str], cost: float, patience: float = PATIENCE, judge: Judge | None = None
    ) -> None:
        self.class_names = tuple(class_names)
        self._judge = judge or self._name
        self._finder = StretchFinder(cost, patience)
        self._unknown: Stretch | None = None  # certain, and perhaps the next one belongs to it

    def add(self, time: float, evidence: npt.NDArray[Any], energy: float = 0.0) -> list[Segment]:
        """Segments that are certain now that ``evidence`` (K,), which sums to 1, has come at ``time`` (seconds).

        ``energy`` is for the judge alone. An unknown segment is certain when the next known one is.
        """
        return self._tell(self._finder.add(time, evidence, energy))

    def end(self) -> list[Segment]:
        """What is left when the stream has ended."""
        told = self._tell(self._finder.end())
        last, self._unknown = self._unknown, None
        return told if last is None else [*told, self._tell_unknown(last)]

    def look(self) -> Segment | None:
        """The last segment so far, which is not certain; None before the first step."""
        stretch = self._finder.look()
        return None if stretch is None else self._judge(stretch)

    def _name(self, stretch: Stretch) -> Segment:
        return Segment(self.class_names[stretch.label], stretch.start, stretch.end, stretch.confidence)

    def _tell(self, stretches: Iterable[Stretch]) -> list[Segment]:
        told = []
        for stretch in stretches:
            segment = self._judge(stretch)
            if segment.is_unknown:
                self._unknown = stretch if self._unknown is None else self._unknown.join(stretch)
                continue
            if self._unknown is not None:
                told.append(self._tell_unknown(self._unknown))
                self._unknown = None
            told.append(segment)
        return told

    def _tell_unknown(self, stretch: Stretch) -> Segment:
        return replace(self._judge(stretch), is_unknown=True)


def find_segments(
    class_names: Sequence[str],
    times: Sequence[float],
    evidence: Iterable[npt.NDArray[Any]],
    cost: float,
    energies: Iterable[float] | None = None,
    judge: Judge | None = None,
) -> list[Segment]:
    """All segments of a stream that is known to its end: ``evidence`` (T, K) at ``times`` (T,), in seconds.

    ``energies`` (T,) are for the ``judge``; None: they are 0.
    """
    segmenter, found = Segmenter(class_names, cost, judge=judge), []
    energies = [0.0] * len(times) if energies is None else energies
    for time, now, energy in zip(times, evidence, energies, strict=True):
        found += segmenter.add(time, now, energy)
    return found + segmenter.end()


@dataclass(frozen=True)
class SegmentMatch:
    """How many segments were found: ``right`` of ``found`` ones fit one of ``true`` ones."""

    right: int
    found: int
    true: int

    @property
    def f1(self) -> float:
        """Harmonic mean of the shares of found ones that are right and of true ones that were found."""
        return 2 * self.right / max(1, self.found + self.true)

    def __add__(self, other: "SegmentMatch") -> "SegmentMatch":
        return SegmentMatch(self.right + other.right, self.found + other.found, self.true + other.true)


def match_segments(found: Sequence[Segment], true: Sequence[Segment], overlap: float = 0.5) -> SegmentMatch:
    """Segment F1 at an overlap (intersection over union), as Lea and others count it (CVPR 2017).

    A found segment is right where the true segment of its class that it overlaps most does so by ``overlap`` or more,
    and no earlier one was matched with that.
    """
    matched: set[int] = set()
    for segment in found:
        same = [(_overlap(segment, other), -place) for place, other in enumerate(true) if other.name == segment.name]
        share, place = max(same, default=(0.0, 0))
        if share >= overlap and -place not in matched:
            matched.add(-place)
    return SegmentMatch(len(matched), len(found), len(true))


def _overlap(a: Segment, b: Segment) -> float:
    shared = min(a.end, b.end) - max(a.start, b.start)
    union = max(a.end, b.end) - min(a.start, b.start)
    return max(0.0, shared) / union if union > 0 else 0.0
