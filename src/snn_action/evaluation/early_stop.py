"""Fewer frames: a clip is looked at until one class is probable enough.

    p_t = mean over s <= t of softmax_s          (of a model that averages time itself: softmax_t)
    stop at the first step t with max_k p_t[k] >= confidence, else at the last real step

What is never computed costs nothing, in the backbone and in the temporal model. The confidence is chosen on held-out
training videos: the lowest one that loses none of them, and above which none is lost either.
"""

from dataclasses import replace

import numpy as np

from snn_action.evaluation.accuracy import average_clips
from snn_action.evaluation.predictions import ClipPredictions, Floats, Indices

GRID = 200  # confidences that are tried


def running_mean(predictions: ClipPredictions) -> Floats:
    """Probabilities after each step (C, T, K), of all steps seen so far; after the last real one they stay."""
    steps = predictions.mask.cumsum(1)
    if predictions.averaged:
        last = (steps - 1).clip(min=0)[:, :, None]
        return np.asarray(np.take_along_axis(predictions.probabilities, last, axis=1), np.float64)
    total = (predictions.probabilities.astype(np.float64) * predictions.mask[:, :, None]).cumsum(1)
    return np.asarray(total / np.maximum(steps, 1)[:, :, None])


def find_stops(predictions: ClipPredictions, confidence: float) -> Indices:
    """How many steps of each clip are looked at (C,), at least one."""
    reached = (running_mean(predictions).max(2) >= confidence) & predictions.mask
    length = predictions.mask.sum(1)
    return np.asarray(np.where(reached.any(1), reached.argmax(1) + 1, length), np.int64)


def stop_early(predictions: ClipPredictions, confidence: float) -> ClipPredictions:
    """The predictions as if each clip ended where it is no longer looked at."""
    stops = find_stops(predictions, confidence)
    seen = predictions.mask & (np.arange(predictions.mask.shape[1]) < stops[:, None])
    return replace(predictions, mask=seen)


def choose_confidence(predictions: ClipPredictions) -> float:
    """The lowest confidence that loses no accuracy on these held-out clips, at it and above.

    1.0, at which nothing is left out but what changes nothing, where every lower one loses some.
    """
    confidences = np.unique(np.quantile(running_mean(predictions).max(2)[predictions.mask], np.linspace(0, 1, GRID)))
    chosen, full = 1.0, average_clips(predictions).correct.mean()
    for confidence in confidences[::-1]:
        if average_clips(stop_early(predictions, float(confidence))).correct.mean() < full:
            break
        chosen = float(confidence)
    return chosen
