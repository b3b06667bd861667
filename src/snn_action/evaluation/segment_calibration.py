"""What was found on streams of videos that a model did not learn: how sure a segment is, and where "unknown" begins.

A segment is to a stream what a video is to a set: its probabilities are the mean evidence of its steps, its energy the
mean over steps and rows. But its scores are spread otherwise than those of videos. Rows carry what they saw before the
segment began, borders are not exact, and a segment may be shorter than a clip. So clips of held-out videos are laid one
after another, read as a stream is, and its segments set a temperature and a threshold as videos do (``calibration``).
The score is that of the videos.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snn_action.evaluation.rejection import Score, find_threshold, measure_energy
from snn_action.evaluation.segments import Segment
from snn_action.evaluation.staggered import Said, StaggeredRows
from snn_action.evaluation.stretches import Stretch, choose_cost, find_stretches
from snn_action.evaluation.temperature import Floats, apply_temperature, fit_temperature
from snn_action.features.feature_set import FeatureSet
from snn_action.models import TemporalModel

FEWEST, LARGEST = 100, 400  # clips that are joined: few are taken several times, of many some are left out
JOINED = 16  # clips of a stream
CUT = 4  # a clip begins up to one of so many parts later: actions begin anywhere between two beginnings of rows


@dataclass(frozen=True)
class SegmentCalibration:
    """How segments' evidence is made honest, and how unknown ones are told.

    Attributes:
        temperature: See ``temperature.py``.
        known_scores: The score of segments of known classes, in order.
    """

    temperature: float
    known_scores: tuple[float, ...]

    def find_threshold(self, share: float) -> float:
        """The highest score of a known segment, where that share of them is kept."""
        return find_threshold(np.array(self.known_scores), share)

    def to_content(self, share: float) -> dict[str, Any]:
        """Plain values, for JSON; ``threshold`` is for readers, it follows from the rest."""
        threshold = self.find_threshold(share)
        return {"temperature": self.temperature, "threshold": threshold, "known_scores": list(self.known_scores)}


class SegmentJudge:
    """Says of a stretch of a stream what it is.

    Args:
        class_names: Names of the K classes.
        fitted: What was found on held-out streams.
        score: That tells unknown actions.
        share: Of known segments that is kept.
        background: A class that itself counts as unknown.
    """

    def __init__(
        self, class_names: Sequence[str], fitted: SegmentCalibration, score: Score, share: float, background: str | None
    ) -> None:
        self.class_names = tuple(class_names)
        self.temperature, self.score, self.background = fitted.temperature, score, background
        self.threshold = fitted.find_threshold(share)

    def measure(self, said: Said) -> Floats:
        """The energy of each step (T,), the mean over rows; 0 where the score is another."""
        return measure_steps(said, self.score, self.temperature)

    def __call__(self, stretch: Stretch) -> Segment:
        """The segment: its nearest class, calibrated confidence, and whether it is unknown."""
        name = self.class_names[stretch.label]
        confidence = float(apply_temperature(stretch.evidence / stretch.steps, self.temperature)[stretch.label])
        score = rate_stretch(stretch, self.score, self.temperature)
        is_unknown = score > self.threshold or name == self.background
        return Segment(name, stretch.start, stretch.end, confidence, is_unknown, score, self.threshold)


def measure_steps(said: Said, score: Score, temperature: float) -> Floats:
    """The energy of each step (T,), the mean over rows; 0 where the score is another."""
    if score != "energy":
        return np.zeros(len(said.shares))
    return np.asarray(measure_energy(said.shares, said.totals, temperature).mean(1))


def rate_stretch(stretch: Stretch, score: Score, temperature: float) -> float:
    """The score of a stretch, the higher the stranger."""
    if score == "energy":
        return stretch.energy / stretch.steps
    return float(1 - apply_temperature(stretch.evidence / stretch.steps, temperature).max())


def join_clips(features: FeatureSet, clips: Sequence[int], seed: int) -> Iterator[tuple[Tensor, npt.NDArray[Any]]]:
    """Streams of clips, one after another in random order: features (T, D) and the class of each step (T,).

    Raises:
        ValueError: there are no clips.
    """
    if not clips:
        raise ValueError("no clips to join")
    draw, order = random.Random(seed), list[int]()
    while len(order) < FEWEST:
        order += draw.sample(clips, min(len(clips), LARGEST))
    for start in range(0, len(order), JOINED):
        parts, labels = [], []
        for clip in order[start : start + JOINED]:
            length = int(features.length[clip])
            rows = features.read([clip])[0][0, draw.randint(0, length // CUT) :]
            parts.append(rows)
            labels += [int(features.label[clip])] * len(rows)
        yield torch.cat(parts), np.array(labels)


def calibrate_segments(
    model: TemporalModel,
    streams: Iterator[tuple[Tensor, npt.NDArray[Any]]],
    frames: int,
    rows: int,
    score: Score,
    background: int | None = None,
) -> SegmentCalibration:
    """Fit to the segments that are found in streams of known actions.

    Args:
        model: That did not learn them.
        streams: See ``join_clips``.
        frames: Steps of a training clip.
        rows: Copies of the model's state that read a stream.
        score: That tells unknown actions.
        background: Label of a class that itself counts as unknown: its segments set no threshold.

    Raises:
        ValueError: there is no stream.
        WorkError: the model's output is not finite.
    """
    model.eval()
    device = model.standardizer.mean.device
    found: list[tuple[Stretch, Said, int]] = []
    for features, labels in streams:
        said = StaggeredRows(model, frames, rows).advance(features.to(device))
        for stretch in find_stretches(said.mean, choose_cost(frames)):
            steps = slice(round(stretch.start), round(stretch.start) + stretch.steps)
            part = Said(said.shares[steps], said.ages[steps], said.totals[steps])
            found.append((stretch, part, int(np.bincount(labels[steps]).argmax())))
    if not found:
        raise ValueError("no stream to calibrate segments on")
    shares = np.array([stretch.evidence / stretch.steps for stretch, *_ in found])
    truth = np.array([label for *_, label in found])
    temperature = fit_temperature(shares, truth)
    energies = (float(measure_steps(part, score, temperature).sum()) for _, part, _ in found)
    scores = np.array(
        [
            rate_stretch(replace(stretch, energy=energy), score, temperature)
            for (stretch, *_), energy in zip(found, energies, strict=True)
        ]
    )
    known = truth != background
    chosen = np.sort(scores[known] if known.any() else scores)
    return SegmentCalibration(temperature, tuple(chosen.tolist()))
