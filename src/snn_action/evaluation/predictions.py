"""Runs a temporal model over clips and keeps what it said at every time step."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from snn_action.core import distributed
from snn_action.core.errors import WorkError
from snn_action.core.malloc import keep_freed_memory
from snn_action.features.feature_set import FeatureSet
from snn_action.models import TemporalModel, find_spikes

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClipPredictions:
    """What a model said of C clips of at most T steps and K classes.

    Attributes:
        probabilities: Softmax at each step (C, T, K); zero where padded.
        mask: True on real steps (C, T).
        label: Class of each clip (C,).
        video: Index of each clip's video in the catalog (C,).
        spikes: Spikes of each population of neurons over each clip (C, P); None where the model does not spike.
        averaged: Each step's prediction is one of the mean over all steps seen (``TemporalModel.averages_time``).
        seconds: Time of the model's forward passes alone; of several processes that of the slowest.
        totals: ``logsumexp`` of the logits at each step (C, T), which the softmax leaves out; zero where padded.
    """

    probabilities: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    label: Indices
    video: Indices
    spikes: Floats | None
    averaged: bool = False
    seconds: float = 0.0
    totals: npt.NDArray[np.float32] | None = None


def predict_clips(
    model: TemporalModel,
    features: FeatureSet,
    clips: Sequence[int],
    batch_size: int,
    device: torch.device | str = "cpu",
    tick: Callable[[int], None] = lambda _: None,
) -> ClipPredictions:
    """Predict ``clips`` in evaluation mode, ``batch_size`` at a time; ``tick`` is told how many were done.

    Raises:
        ValueError: there are no clips.
        WorkError: the model's output is not finite.
    """
    if not clips:
        raise ValueError("no clips to predict")
    chosen = np.asarray(clips, dtype=np.int64)
    steps = int(features.length[chosen].max())
    probabilities = np.zeros((len(chosen), steps, model.num_classes), dtype=np.float32)
    totals = np.zeros((len(chosen), steps), dtype=np.float32)
    masks = np.zeros((len(chosen), steps), dtype=np.bool_)
    spikes = np.zeros((len(chosen), len(model.populations)))
    seconds, was_training = 0.0, model.training
    model.eval().to(device)
    with torch.inference_mode(), keep_freed_memory():
        for start in range(0, len(chosen), batch_size):
            rows = slice(start, start + batch_size)
            batch, mask = features.read(chosen[rows].tolist())
            begin = time.perf_counter()
            logits, state = model(batch.to(device), mask=mask.to(device), keep_state=False)
            shares = logits.float().softmax(-1).cpu() * mask.unsqueeze(-1)
            seconds += time.perf_counter() - begin
            probabilities[rows, : shares.shape[1]] = shares.numpy()
            totals[rows, : shares.shape[1]] = logits.float().logsumexp(-1).cpu().numpy() * mask.numpy()
            masks[rows, : mask.shape[1]] = mask.numpy()
            for place, count in enumerate(find_spikes(state) if model.populations else ()):
                spikes[rows, place] = count.double().cpu().numpy()
            tick(len(mask))
    model.train(was_training)
    if not np.isfinite(probabilities).all():
        raise WorkError(
            "the model's output is not finite: its weights have diverged, or do not belong to these features; "
            "train again with a lower training.learning_rate or with training.gradient_clip"
        )
    label, video = features.label[chosen], features.video[chosen]
    counted = spikes if model.populations else None
    return ClipPredictions(probabilities, masks, label, video, counted, model.averages_time, seconds, totals)


def record_spikes(model: TemporalModel, features: FeatureSet, clip: int) -> npt.NDArray[np.int64] | None:
    """Spikes of the model's hidden units at each step of a clip (T, N), in evaluation mode; None: they do not spike."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        inputs, mask = (part.to(model.standardizer.mean.device) for part in features.read([clip]))
        spikes = model.show_spikes(inputs, mask)
    model.train(was_training)
    return None if spikes is None else spikes[0].round().long().cpu().numpy()


def predict_together(
    model: TemporalModel,
    features: FeatureSet,
    clips: Sequence[int],
    batch_size: int,
    device: torch.device | str = "cpu",
    tick: Callable[[int], None] = lambda _: None,
) -> ClipPredictions:
    """``predict_clips``, shared out to all processes: each predicts its clips, and all know what was said of every one.

    Raises:
        ValueError: there are no clips.
        WorkError: the model's output is not finite.
    """
    if not distributed.is_together() or not clips:
        return predict_clips(model, features, clips, batch_size, device, tick)
    own = clips[distributed.rank() :: distributed.world_size()]
    part = predict_clips(model, features, own, batch_size, device, tick) if own else None
    return interleave([part for part in distributed.all_gather_object(part) if part is not None])


def interleave(parts: Sequence[ClipPredictions]) -> ClipPredictions:
    """Put together what N processes said of every N-th clip: clip ``i`` is the next one of part ``i % N``."""
    total, steps = sum(len(part.label) for part in parts), max(part.mask.shape[1] for part in parts)

    def join(arrays: Sequence[npt.NDArray[Any]], steps: int | None) -> npt.NDArray[Any]:
        inner = arrays[0].shape[1:] if steps is None else (steps, *arrays[0].shape[2:])
        whole = np.zeros((total, *inner), arrays[0].dtype)
        for start, array in enumerate(arrays):
            rows = whole[start :: len(arrays)]
            (rows if steps is None else rows[:, : array.shape[1]])[...] = array
        return whole

    spikes = [part.spikes for part in parts if part.spikes is not None]
    totals = [part.totals for part in parts if part.totals is not None]
    return ClipPredictions(
        join([part.probabilities for part in parts], steps),
        join([part.mask for part in parts], steps),
        join([part.label for part in parts], None),
        join([part.video for part in parts], None),
        join(spikes, None) if spikes else None,
        parts[0].averaged,
        max(part.seconds for part in parts),
        join(totals, steps) if totals else None,
    )
