"""Fewer frames: a clip is looked at until one class is probable enough.

    p_t = mean over s <= t of softmax_s          (of a model that averages time itself: softmax_t)
    stop at the first step t >= earliest with max_k p_t[k] >= confidence, else at the last real step

What is never computed costs nothing, in the backbone and in the temporal model. Both numbers are chosen on held-out
training videos. The confidence is the lowest one that loses none of them, and above which none is lost either. It may
come from another model than the one that is tested, and how sure a model is at its first steps, where it has seen
nothing that moves, differs from one to the next. So no clip ends before ``earliest``, the step from which on nearly all
held-out clips are named as well as in the end, however sure the model is.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from snn_action.evaluation.accuracy import average_clips
from snn_action.evaluation.predictions import ClipPredictions, Floats, Indices

GRID = 200  # confidences that are tried
NEARLY = 0.9  # of what is right in the end: what a confidence that means nothing could lose is the rest


class Stop(NamedTuple):
    """When a clip is no longer looked at: from which step on, and how sure the model must be."""

    confidence: float
    earliest: int = 1


def running_mean(predictions: ClipPredictions) -> Floats:
    """Probabilities after each step (C, T, K), of all steps seen so far; after the last real one they stay."""
    steps = predictions.mask.cumsum(1)
    if predictions.averaged:
        last = (steps - 1).clip(min=0)[:, :, None]
        return np.asarray(np.take_along_axis(predictions.probabilities, last, axis=1), np.float64)
    total = (predictions.probabilities.astype(np.float64) * predictions.mask[:, :, None]).cumsum(1)
    return np.asarray(total / np.maximum(steps, 1)[:, :, None])


def find_stops(predictions: ClipPredictions, stop: Stop) -> Indices:
    """How many steps of each clip are looked at (C,), at least one."""
    reached = _find_reached(predictions, stop)
    length = predictions.mask.sum(1)
    return np.asarray(np.where(reached.any(1), reached.argmax(1) + 1, length), np.int64)


def find_stop(probabilities: npt.NDArray[np.float32], averaged: bool, stop: Stop) -> int | None:
    """How many of the first steps of one clip, softmax (T, K) so far, are enough; None: it has to be looked at further.

    ``averaged`` is that of ``ClipPredictions``.
    """
    one = np.zeros(1, np.int64)
    seen = ClipPredictions(probabilities[None], np.ones((1, len(probabilities)), bool), one, one, None, averaged)
    reached = _find_reached(seen, stop)[0]
    return int(reached.argmax()) + 1 if reached.any() else None


def _find_reached(predictions: ClipPredictions, stop: Stop) -> npt.NDArray[np.bool_]:
    """Steps at which a clip may end (C, T)."""
    reached = (running_mean(predictions).max(2) >= stop.confidence) & predictions.mask
    reached[:, : stop.earliest - 1] = False
    return np.asarray(reached)


def stop_early(predictions: ClipPredictions, stop: Stop) -> ClipPredictions:
    """The predictions as if each clip ended where it is no longer looked at."""
    stops = find_stops(predictions, stop)
    seen = predictions.mask & (np.arange(predictions.mask.shape[1]) < stops[:, None])
    return replace(predictions, mask=seen)


def choose_stop(predictions: ClipPredictions) -> Stop:
    """What saves most steps and loses no accuracy on these held-out clips, see the module.

    A confidence of 1.0, at which nothing is left out but what changes nothing, where every lower one loses some.
    """
    mean = running_mean(predictions)
    right = (mean.argmax(2) == predictions.label[:, None]).mean(0)
    poor = np.flatnonzero(right < NEARLY * right[-1])
    earliest = int(poor[-1]) + 2 if len(poor) else 1
    confidences = np.unique(np.quantile(mean.max(2)[predictions.mask], np.linspace(0, 1, GRID)))
    chosen, full = Stop(1.0, earliest), average_clips(predictions).correct.mean()
    for confidence in confidences[::-1]:
        stop = Stop(float(confidence), earliest)
        if average_clips(stop_early(predictions, stop)).correct.mean() < full:
            break
        chosen = stop
    return chosen
