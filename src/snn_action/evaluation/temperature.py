"""One number that makes probabilities honest: the temperature (Guo, Pleiss, Sun and Weinberger, ICML 2017).

    q = softmax(log(p) / T),  where p are a video's class probabilities, as ``video`` accuracy has them

A T above 1 makes probabilities less extreme, one below 1 makes them more so; the order of the classes, and so every
accuracy, stays the same. T minimizes the negative log-likelihood of videos that the model did not learn. With few
videos, all of them recognized, that would be T = 0 and certainty ever after; so, as Platt (1999) does, each target
keeps ``1 / (V + 2)`` for the other classes, V being the number of videos.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

LEAST, MOST = 0.01, 100.0  # temperatures
_TINY = 1e-45  # the smallest number above 0 of single precision, which probabilities are computed in


def take_log(probabilities: npt.NDArray[np.floating]) -> Floats:
    """``log(p)``, finite where p is 0."""
    return np.asarray(np.log(np.maximum(probabilities.astype(np.float64), _TINY)))


def apply_temperature(probabilities: npt.NDArray[np.floating], temperature: float) -> Floats:
    """``softmax(log(p) / T)`` of probabilities (..., K)."""
    scaled = take_log(probabilities) / temperature
    raised = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def fit_temperature(probabilities: Floats, labels: Labels) -> float:
    """The T from 0.01 to 100 of the least negative log-likelihood, targets smoothed as the module says.

    The likelihood has one valley in 1 / T, so the sign of its slope is enough to find it.

    Args:
        probabilities: Of V videos (V, K), none of which the model has learned from.
        labels: Their classes (V,).

    Raises:
        ValueError: there is no video.
    """
    count, classes = probabilities.shape
    if not count:
        raise ValueError("no videos to fit a temperature to")
    logs = take_log(probabilities)
    spared = 1 / (count + 2)
    targets = np.full_like(logs, spared / (classes - 1))
    targets[np.arange(count), labels] = 1 - spared
    wanted = (targets * logs).sum(1).mean()

    def slope(inverse: float) -> float:
        return float((apply_temperature(probabilities, 1 / inverse) * logs).sum(1).mean() - wanted)

    low, high = np.log(1 / MOST), np.log(1 / LEAST)  # of 1 / T
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(float(np.exp(middle))) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))
