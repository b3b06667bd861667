"""A video of an action that was never learned: how far a video is from all that was, and where "unknown" begins.

Two scores, the higher the stranger, averaged over steps and clips as probabilities are:

====================  ===========================================================================================
``maximum_softmax``   ``1 - max(q)``, q being the video's probabilities after the temperature T (Hendrycks and Gimpel,
                      ICLR 2017)
``energy``            ``-T logsumexp(logits / T)`` (Liu, Wang, Owens and Li, NeurIPS 2020)
====================  ===========================================================================================

Which one is used is chosen on held-out videos, by models that never learned some of their classes: the one with the
higher AUROC, the share of pairs of an unknown and a known video in which the unknown one scores higher. At a tie, or
where no such models were trained (``runs/calibration.py`` does), it is ``maximum_softmax``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from snn_action.evaluation.accuracy import average_clips
from snn_action.evaluation.predictions import ClipPredictions
from snn_action.evaluation.temperature import Floats, apply_temperature, take_log

Score = Literal["maximum_softmax", "energy"]
SCORES: tuple[Score, ...] = get_args(Score)


def score_videos(predictions: ClipPredictions, score: Score, temperature: float) -> Floats:
    """The score of each video (V,), in the order of ``average_clips``.

    Raises:
        ValueError: ``energy`` of predictions without ``totals``.
    """
    if score == "maximum_softmax":
        return np.asarray(1 - apply_temperature(average_clips(predictions).probabilities, temperature).max(1))
    if predictions.totals is None:
        raise ValueError("the energy needs the totals of the logits")
    energy: Any = measure_energy(predictions.probabilities, predictions.totals, temperature)
    as_class = replace(predictions, probabilities=(energy * predictions.mask)[:, :, None])
    return average_clips(as_class).probabilities[:, 0]


def measure_energy(
    probabilities: npt.NDArray[np.floating], totals: npt.NDArray[np.floating], temperature: float
) -> Floats:
    """``-T logsumexp(logits / T)`` (...) of softmax ``probabilities`` (..., K) and ``totals`` (...)."""
    powers = take_log(probabilities) / temperature
    highest = powers.max(-1, keepdims=True)
    sums = highest[..., 0] + np.log(np.exp(powers - highest).sum(-1))
    return np.asarray(-(totals + temperature * sums))


def measure_auroc(known: Floats, unknown: Floats) -> float:
    """Share of pairs in which the unknown video has the higher score; a tie counts half.

    Raises:
        ValueError: one of both is empty.
    """
    if not len(known) or not len(unknown):
        raise ValueError("the AUROC needs videos of known and of unknown classes")
    ordered = np.sort(known)
    lower = np.searchsorted(ordered, unknown, "left") + np.searchsorted(ordered, unknown, "right")
    return float(lower.sum() / (2 * len(known) * len(unknown)))


def choose_score(auroc: Mapping[Score, float] | None) -> Score:
    """The score of the highest AUROC; ``maximum_softmax`` at a tie or where nothing was measured."""
    return SCORES[0] if auroc is None else max(SCORES, key=lambda name: auroc[name])


def find_threshold(scores: npt.NDArray[np.float64], share: float) -> float:
    """The least score up to which at least ``share`` of these videos, all of known classes, are kept."""
    return float(np.quantile(scores, share, method="inverted_cdf"))
