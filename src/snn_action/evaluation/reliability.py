"""Do videos that are called with 80 % confidence belong to the class named in 80 % of all cases?

A video's confidence is the probability of the class that is named. The expected calibration error (Naeini, Cooper and
Hauskrecht, AAAI 2015) sorts videos into bins of equal width by confidence and averages, weighted by videos, the
distance between a bin's mean confidence and its share of right answers. With few videos the bins are noisy: even where
confidence is exactly right the error is not 0. ``estimate_noise`` says what it then is.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.evaluation.temperature import Floats, Labels, take_log

BINS = 15
_DRAWS = 1000


@dataclass(frozen=True)
class Bin:
    """Videos of nearly the same confidence: how many, their mean confidence, and their share of right answers."""

    videos: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """How honest probabilities are.

    Attributes:
        error: Expected calibration error.
        noise: What it would be on average with as many videos, were each confidence exactly right.
        loss: Mean negative log-likelihood, in nats.
        bins: Those with videos, from the least confident up.
    """

    error: float
    noise: float
    loss: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        return {**asdict(self), "bins": [asdict(part) for part in self.bins]}


def measure_reliability(probabilities: Floats, labels: Labels, bins: int = BINS) -> Reliability:
    """Of probabilities (V, K) and labels (V,) of V videos, at least one."""
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    loss = -take_log(probabilities)[np.arange(len(labels)), labels].mean()
    place = _sort_into_bins(confidence, bins)
    found = tuple(
        Bin(int(chosen.sum()), float(confidence[chosen].mean()), float(correct[chosen].mean()))
        for chosen in (place == number for number in range(bins))
        if chosen.any()
    )
    error = sum(part.videos * abs(part.confidence - part.accuracy) for part in found) / len(labels)
    return Reliability(error, estimate_noise(confidence, bins), float(loss), found)


def estimate_noise(confidence: Floats, bins: int = BINS) -> float:
    """Mean calibration error of draws in which a video is right as often as its confidence (V,) says; seeded."""
    rng = np.random.default_rng(0)
    place = _sort_into_bins(confidence, bins)
    total = np.zeros(_DRAWS)
    for number in np.unique(place):
        chosen = confidence[place == number]
        right = np.array([(rng.random(len(chosen)) < chosen).sum() for _ in range(_DRAWS)])
        total += np.abs(right - chosen.sum())
    return float(total.mean() / len(confidence))


def _sort_into_bins(confidence: Floats, bins: int) -> npt.NDArray[np.int64]:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)
