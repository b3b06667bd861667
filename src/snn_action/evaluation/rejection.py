"""A video of an action that was never learned: how far a video is from all that was, and where "unknown" begins.

Two scores, the higher the stranger, averaged over steps and clips as probabilities are:

====================  ===========================================================================================
``maximum_softmax``   ``1 - max(q)``, q being the video's probabilities after the temperature T (Hendrycks and Gimpel,
                      ICLR 2017)
``energy``            ``-T logsumexp(logits / T)`` (Liu, Wang, Owens and Li, NeurIPS 2020)
====================  ===========================================================================================

Which one is used is chosen on held-out videos by leaving out classes: for each class, its logit is taken away, as if
the model had never heard of it, and the share of pairs is counted in which a video of that class scores higher than one
of another class (the area under the ROC curve, AUROC). The score with the higher mean over classes is used, at a tie
``maximum_softmax``. Nothing is trained for it; the rest of the network has learned that class all the same, so the
figure itself is flattering, and stands for nothing but the choice.
"""

from dataclasses import replace
from typing import Literal, get_args

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
    powers = take_log(predictions.probabilities) / temperature
    highest = powers.max(2, keepdims=True)
    sums = highest[:, :, 0] + np.log(np.exp(powers - highest).sum(2))
    energy = -(predictions.totals + temperature * sums)
    as_class = replace(predictions, probabilities=(energy * predictions.mask)[:, :, None])
    return average_clips(as_class).probabilities[:, 0]


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


def leave_out(predictions: ClipPredictions, label: int) -> ClipPredictions:
    """The same predictions of a model without the logit of one class."""
    kept = np.delete(predictions.probabilities.astype(np.float64), label, axis=2)
    share = np.maximum(kept.sum(2), 1e-300)
    totals = None if predictions.totals is None else predictions.totals + np.log(share)
    return replace(predictions, probabilities=kept / share[:, :, None], totals=totals)


def compare_scores(predictions: ClipPredictions, temperature: float) -> dict[Score, float] | None:
    """Mean AUROC of each score over classes left out; None where there are too few videos or classes for one."""
    labels = average_clips(predictions).label
    found: dict[Score, list[float]] = {score: [] for score in SCORES}
    if predictions.probabilities.shape[2] < 3:
        return None
    for label in np.unique(labels).tolist():
        chosen = labels == label
        if chosen.all():
            return None
        without = leave_out(predictions, label)
        for score in SCORES:
            values = score_videos(without, score, temperature)
            found[score].append(measure_auroc(values[~chosen], values[chosen]))
    return {score: float(np.mean(values)) for score, values in found.items()}


def find_threshold(scores: npt.NDArray[np.float64], share: float) -> float:
    """The least score up to which at least ``share`` of these videos, all of known classes, are kept."""
    return float(np.quantile(scores, share, method="inverted_cdf"))
