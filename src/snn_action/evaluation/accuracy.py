"""Accuracy in its four kinds, and what else is counted of predictions. Pure functions.

========  =====================================================================================
timestep  every real time step of every clip is a prediction (what the original project reported)
last      the last real step of every clip is
clip      the softmax averaged over a clip's real steps is; of a model that averages the features of all steps
          seen itself (the baseline), the last step's
video     that, averaged over all clips of a video, is (the headline)
========  =====================================================================================

A tie goes to the class that comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.evaluation.predictions import ClipPredictions, Floats, Indices
from snn_action.models import Population


@dataclass(frozen=True)
class VideoPredictions:
    """Class probabilities ``(V, K)`` of V videos, with their index in the catalog and their label."""

    probabilities: Floats
    video: Indices
    label: Indices

    @property
    def predicted(self) -> Indices:
        """The most probable class of each video."""
        return np.asarray(self.probabilities.argmax(1), np.int64)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether that is its label."""
        return np.asarray(self.predicted == self.label)


def average_steps(predictions: ClipPredictions, steps: int | None = None) -> Floats:
    """Mean probabilities ``(C, K)`` over each clip's real steps, or over the first ``steps`` of them.

    Where each step's prediction is already one of the mean of all steps seen, it is the last of these steps'.
    """
    seen = predictions.mask if steps is None else predictions.mask[:, :steps]
    if predictions.averaged:
        last = predictions.probabilities[np.arange(len(seen)), seen.sum(1) - 1]
        return np.asarray(last, np.float64)
    total = (predictions.probabilities[:, : seen.shape[1]].astype(np.float64) * seen[:, :, None]).sum(1)
    return np.asarray(total / seen.sum(1)[:, None])


def average_clips(predictions: ClipPredictions, steps: int | None = None) -> VideoPredictions:
    """Mean over the clips of each video, in the order in which videos first appear."""
    videos, first, place = np.unique(predictions.video, return_index=True, return_inverse=True)
    order = np.argsort(first)
    clips = average_steps(predictions, steps)
    total = np.zeros((len(videos), clips.shape[1]))
    np.add.at(total, place, clips)
    mean = total / np.bincount(place)[:, None]
    return VideoPredictions(mean[order], videos[order], predictions.label[first[order]])


def measure_accuracy(predictions: ClipPredictions) -> dict[str, float]:
    """The four accuracies, shares from 0 to 1."""
    probabilities, mask, label = predictions.probabilities, predictions.mask, predictions.label
    right = (probabilities.argmax(2) == label[:, None]) & mask
    last = mask.sum(1) - 1
    return {
        "timestep": float(right.sum() / mask.sum()),
        "last": float(right[np.arange(len(right)), last].mean()),
        "clip": float((average_steps(predictions).argmax(1) == label).mean()),
        "video": float(average_clips(predictions).correct.mean()),
    }


def measure_loss(predictions: ClipPredictions) -> dict[str, float]:
    """The four accuracies, and the cross-entropy averaged over real steps, then clips, as ``loss``."""
    own = np.take_along_axis(predictions.probabilities, predictions.label[:, None, None], axis=2)[:, :, 0]
    nats = -np.log(np.maximum(own, 1e-12, dtype=np.float64)) * predictions.mask
    loss = (nats.sum(1) / predictions.mask.sum(1)).mean()
    return {"loss": float(loss), **measure_accuracy(predictions)}


def measure_top(predictions: ClipPredictions, k: int = 5) -> float:
    """Share of videos whose class is among the ``k`` most probable."""
    videos = average_clips(predictions)
    order = np.argsort(-videos.probabilities, axis=1, kind="stable")[:, :k]
    return float((order == videos.label[:, None]).any(1).mean())


def measure_anytime(predictions: ClipPredictions) -> list[float]:
    """Video accuracy when only the first 1, 2, ... T steps are seen (of a shorter clip: all it has)."""
    return [float(average_clips(predictions, t).correct.mean()) for t in range(1, predictions.mask.shape[1] + 1)]


def count_confusion(videos: VideoPredictions) -> Indices:
    """Videos by class (row) and predicted class (column), ``(K, K)``."""
    classes = videos.probabilities.shape[1]
    counts = np.bincount(videos.label * classes + videos.predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def measure_classes(confusion: Indices, class_names: tuple[str, ...]) -> dict[str, dict[str, float | int | None]]:
    """Correct videos, videos and accuracy (null where there are none) of each class."""
    return {
        name: {
            "correct": int(row[k]),
            "videos": int(row.sum()),
            "accuracy": float(row[k] / row.sum()) if row.sum() else None,
        }
        for k, (name, row) in enumerate(zip(class_names, confusion, strict=True))
    }


def measure_pair(videos: VideoPredictions, labels: tuple[int, int]) -> float | None:
    """Accuracy on the videos of two classes; None where there are none."""
    chosen = np.isin(videos.label, labels)
    return float(videos.correct[chosen].mean()) if chosen.any() else None


def measure_spikes(predictions: ClipPredictions, populations: Sequence[Population]) -> dict[str, Any] | None:
    """Spikes by neuron and real step, and by clip, of all neurons and by population; None where none spikes."""
    if predictions.spikes is None or not populations:
        return None
    steps, totals = float(predictions.mask.sum()), predictions.spikes.sum(0)
    neurons = sum(population.neurons for population in populations)
    return {
        "per_neuron_per_step": float(totals.sum() / (neurons * steps)),
        "per_clip": float(totals.sum() / len(predictions.spikes)),
        "neurons": neurons,
        "populations": {
            population.name: {
                "per_neuron_per_step": float(total / (population.neurons * steps)),
                "per_clip": float(total / len(predictions.spikes)),
                "neurons": population.neurons,
                "fan_out": population.fan_out,
            }
            for population, total in zip(populations, totals, strict=True)
        },
    }
