"""Which class a stream shows when: the most likely course of classes, found as it goes.

    S_k(t) = log p_k(t) + max(S_k(t-1), max_j S_j(t-1) - cost)

``p`` is the evidence at a step and ``cost`` what a change of the class costs (Viterbi's algorithm for a chain of
classes each of which stays with one probability and changes to any other with another). A single frame that looks like
another class does not pay for two changes; a stretch of them does. Steps that lie close say nearly the same, so the
cost goes with the number of steps of a training clip (``choose_cost``). A stretch is certain as soon as all classes'
best courses agree on it, and after ``patience`` seconds in any case: so the memory does not grow.
"""

from collections.abc import Iterable
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


@dataclass(frozen=True, eq=False)
class Stretch:
    """What was said over a part of a stream.

    Attributes:
        label: The class of the course there.
        start: Seconds from the first frame.
        end: Seconds from the first frame.
        steps: How many.
        evidence: Sum over the steps, of each class (K,).
        energy: Sum over the steps.
    """

    label: int
    start: float
    end: float
    steps: int
    evidence: npt.NDArray[np.float64]
    energy: float = 0.0

    @property
    def confidence(self) -> float:
        """Mean evidence of its class."""
        return min(1.0, float(self.evidence[self.label] / self.steps))

    def join(self, later: "Stretch") -> "Stretch":
        """Both as one; its class is the one with the most evidence."""
        evidence = self.evidence + later.evidence
        steps, energy = self.steps + later.steps, self.energy + later.energy
        return Stretch(int(evidence.argmax()), self.start, later.end, steps, evidence, energy)


@dataclass
class _Link:
    """A segment of a course, and the one before it; None where it was told."""

    stretch: Stretch | None
    before: "_Link | None"
    depth: int


@dataclass
class _Course:
    """The best course that ends with a class: since when it has had this class, and what was before."""

    since: float
    evidence: npt.NDArray[np.float64]  # sum of all steps before that, of each class
    energy: float  # likewise
    step: int
    before: _Link | None


class StretchFinder:
    """Finds stretches step by step.

    Args:
        cost: Of a change of the class, in nats.
        patience: Seconds after which the best course is settled where courses do not agree.
    """

    def __init__(self, cost: float, patience: float = PATIENCE) -> None:
        self.cost = cost
        self.patience = patience
        self._score: npt.NDArray[np.float64] | None = None
        self._sum: npt.NDArray[np.float64] = np.zeros(0)
        self._energy = 0.0
        self._courses: list[_Course] = []
        self._step, self._time, self._gap = 0, 0.0, 0.0
        self._settled = 0.0  # until when stretches were certain

    def add(self, time: float, evidence: npt.NDArray[Any], energy: float = 0.0) -> list[Stretch]:
        """Stretches that are certain now that ``evidence`` (K,), which sums to 1, has come at ``time`` (seconds)."""
        evidence = np.asarray(evidence, np.float64)
        if self._score is None:
            self._score, self._sum = np.zeros(len(evidence)), np.zeros(len(evidence))
            self._courses = [_Course(time, self._sum, 0.0, 0, None) for _ in evidence]
            self._settled = time
        else:
            self._gap = time - self._time
            self._change(time, force=time - self._settled > self.patience)
        self._time = time
        self._step += 1
        self._score += np.log(np.maximum(evidence, LEAST))
        self._score -= self._score.max()
        self._sum = self._sum + evidence  # courses keep the sums of earlier steps
        self._energy += energy
        return self._settle()

    def look(self) -> Stretch | None:
        """The last stretch of the best course so far, which is not certain; None before the first step."""
        if self._score is None:
            return None
        return self._close(int(self._score.argmax()), self._time + self._gap).stretch

    def end(self) -> list[Stretch]:
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
                self._courses[k] = _Course(time, self._sum, self._energy, self._step, link)
            self._score[changed] = self._score[best] - self.cost

    def _close(self, label: int, time: float) -> _Link:
        course = self._courses[label]
        steps = max(1, self._step - course.step)
        evidence, energy = self._sum - course.evidence, self._energy - course.energy
        stretch = Stretch(label, course.since, time, steps, evidence, energy)
        return _Link(stretch, course.before, 1 if course.before is None else course.before.depth + 1)

    def _settle(self) -> list[Stretch]:
        """Stretches on which all courses agree; they are forgotten here."""
        common = self._courses[0].before
        for course in self._courses[1:]:
            common = _join(common, course.before)
            if common is None:
                return []
        assert common is not None
        told = _unroll(common)
        if told:
            self._settled = self._time
            common.before, common.stretch = None, None
        return told


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


def _unroll(link: _Link | None) -> list[Stretch]:
    found = []
    while link is not None and link.stretch is not None:
        found.append(link.stretch)
        link = link.before
    return found[::-1]


def find_stretches(evidence: Iterable[npt.NDArray[Any]], cost: float) -> list[Stretch]:
    """All stretches of a stream that is known to its end: ``evidence`` (T, K). Times are steps."""
    finder, found = StretchFinder(cost, patience=float("inf")), list[Stretch]()
    for step, now in enumerate(evidence):
        found += finder.add(step, now)
    return found + finder.end()
