"""Where actions begin and end in a stream: the most likely course of classes, found as it goes.

    S_k(t) = log p_k(t) + max(S_k(t-1), max_j S_j(t-1) - cost)

``p`` is the evidence at a step and ``cost`` what a change of the class costs (Viterbi's algorithm for a chain of
classes each of which stays with one probability and changes to any other with another). A single frame that looks like
another class does not pay for two changes; a stretch of them does. Steps that lie close say nearly the same, so the
cost goes with the number of steps of a training clip (``choose_cost``). A segment is told as soon as all classes' best
courses agree on it, and after ``patience`` seconds in any case: so the memory does not grow.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

COST = 0.5  # nats for each step of a training clip: chosen on training material by benchmarks/accuracy/segments.py
PATIENCE = 60.0  # seconds
LEAST = 1e-4  # evidence below it counts as this much: one step never decides alone


def choose_cost(frames: int) -> float:
    """What a change of the class costs by default, for a model that learned from clips of ``frames`` steps."""
    return COST * frames


@dataclass(frozen=True)
class Segment:
    """An action of a stream.

    Attributes:
        name: Its class.
        start: Seconds from the first frame.
        end: Seconds from the first frame.
        confidence: Mean evidence of the class over the segment.
    """

    name: str
    start: float
    end: float
    confidence: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


@dataclass
class _Link:
    """A segment of a course, and the one before it."""

    segment: Segment
    before: "_Link | None"
    depth: int


@dataclass
class _Course:
    """The best course that ends with a class: since when it has had this class, and what was before."""

    since: float
    sum: float  # of the evidence of this class before that
    step: int
    before: _Link | None


class Segmenter:
    """Finds segments step by step.

    Args:
        class_names: Names of the K classes.
        cost: Of a change of the class, in nats.
        patience: Seconds after which the best course is settled where courses do not agree.
    """

    def __init__(self, class_names: Sequence[str], cost: float, patience: float = PATIENCE) -> None:
        self.class_names = tuple(class_names)
        self.cost = cost
        self.patience = patience
        self._score: npt.NDArray[np.float64] | None = None
        self._sum: npt.NDArray[np.float64] = np.zeros(0)
        self._courses: list[_Course] = []
        self._step, self._time, self._gap = 0, 0.0, 0.0
        self._settled = 0.0  # until when segments were told

    def add(self, time: float, evidence: npt.NDArray[Any]) -> list[Segment]:
        """Segments that are certain now that ``evidence`` (K,), which sums to 1, has come at ``time`` (seconds)."""
        evidence = np.asarray(evidence, np.float64)
        if self._score is None:
            self._score, self._sum = np.zeros(len(evidence)), np.zeros(len(evidence))
            self._courses = [_Course(time, 0.0, 0, None) for _ in evidence]
            self._settled = time
        else:
            self._gap = time - self._time
            self._change(time, force=time - self._settled > self.patience)
        self._time = time
        self._step += 1
        self._score += np.log(np.maximum(evidence, LEAST))
        self._score -= self._score.max()
        self._sum += evidence
        return self._tell()

    def end(self) -> list[Segment]:
        """What is left when the stream has ended."""
        if self._score is None:
            return []
        best = int(self._score.argmax())
        last = self._close(best, self._time + self._gap)
        self._score = None
        return _unroll(last)

    def _change(self, time: float, force: bool) -> None:
        """Let courses go on from the best one where that is better; where forced, all of them."""
        assert self._score is not None
        best = int(self._score.argmax())
        changed = self._score < self._score[best] - self.cost
        if force:
            changed[:] = True
            changed[best] = False
            self._settled = time
        if changed.any():
            link = self._close(best, time)
            for k in np.flatnonzero(changed):
                self._courses[k] = _Course(time, float(self._sum[k]), self._step, link)
            self._score[changed] = self._score[best] - self.cost

    def _close(self, label: int, time: float) -> _Link:
        course = self._courses[label]
        steps = max(1, self._step - course.step)
        confidence = float((self._sum[label] - course.sum) / steps)
        segment = Segment(self.class_names[label], course.since, time, min(1.0, confidence))
        return _Link(segment, course.before, 1 if course.before is None else course.before.depth + 1)

    def _tell(self) -> list[Segment]:
        """Segments on which all courses agree; they are forgotten here."""
        common = self._courses[0].before
        for course in self._courses[1:]:
            common = _join(common, course.before)
            if common is None:
                return []
        assert common is not None
        told = _unroll(common)
        if told:
            self._settled = self._time
            common.before, common.segment = None, _TOLD
        return told


_TOLD = Segment("", 0.0, 0.0, 0.0)


def _join(a: _Link | None, b: _Link | None) -> _Link | None:
    """The last link that both courses have."""
    while a is not b:
        if a is None or b is None:
            return None
        if a.depth >= b.depth:
            a = a.before
        else:
            b = b.before
    return a


def _unroll(link: _Link | None) -> list[Segment]:
    found = []
    while link is not None and link.segment is not _TOLD:
        found.append(link.segment)
        link = link.before
    return found[::-1]


def find_segments(
    class_names: Sequence[str],
    times: Sequence[float],
    evidence: Iterable[npt.NDArray[Any]],
    cost: float,
) -> list[Segment]:
    """All segments of a stream that is known to its end: ``evidence`` (T, K) at ``times`` (T,), in seconds."""
    segmenter = Segmenter(class_names, cost)
    found = [segment for time, now in zip(times, evidence, strict=True) for segment in segmenter.add(time, now)]
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
