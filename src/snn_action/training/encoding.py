"""What the temporal model inside an ``end_to_end`` model is given; other models see features as they are."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.models import TemporalModel
from snn_action.models.end_to_end import EndToEnd


@torch.no_grad()
def encode_clips(
    model: TemporalModel,
    features: FeatureSet,
    clips: Sequence[int],
    batch_size: int,
    device: torch.device | str = "cpu",
) -> tuple[TemporalModel, FeatureSet]:
    """The model that learns from features, and those of at least ``clips``, in evaluation mode.

    These are the model's own and ``features``, but for an ``end_to_end`` model: its temporal model, and what its layers
    before that make of ``clips`` alone, in their order, in memory.
    """
    if not isinstance(model, EndToEnd):
        return model, features
    training, place = model.training, model.standardizer.mean.device
    model.eval().to(device)
    rows = []
    for begin in range(0, len(clips), batch_size):
        inputs, mask = features.read(clips[begin : begin + batch_size])
        found = see(model, inputs.to(device), mask.to(device)).cpu()
        rows += [clip[real] for clip, real in zip(found, mask, strict=True)]
    model.train(training).to(place)
    chosen = np.asarray(clips, np.int64)
    lengths = features.length[chosen]
    offset = np.cumsum([0, *lengths[:-1]]).astype(np.int64)
    stream = StreamRows((torch.cat(rows),), np.zeros(len(chosen), np.int64), offset)
    return model.model, FeatureSet(features.video[chosen], features.label[chosen], lengths, (stream,))


def see(model: EndToEnd, inputs: Tensor, mask: Tensor | None) -> Tensor:
    """What the temporal model gets of ``inputs`` (B, T, D)."""
    x, own, mask = model.receive(inputs, None, mask)
    return model.encode(x, mask, own.encoder)[0]


@torch.no_grad()
def see_clip(model: TemporalModel, clip: Tensor) -> Tensor:
    """What the temporal model gets of a ``clip`` (1, T, D), in evaluation mode."""
    if not isinstance(model, EndToEnd):
        return clip
    training = model.training
    found = see(model.eval(), clip.to(model.standardizer.mean.device), None)
    model.train(training)
    return found
