"""What the temporal model inside an ``end_to_end`` model is given; other models see features as they are."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.models import TemporalModel
from snn_action.models.end_to_end import EndToEnd

BATCHES = 8  # by which statistics of batch normalization are measured


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


@torch.no_grad()
def measure_statistics(
    model: TemporalModel,
    features: FeatureSet,
    clips: Sequence[int],
    batch_size: int,
    device: torch.device | str = "cpu",
) -> None:
    """Set running statistics of batch normalization that is trained to the mean over some batches of ``clips``.

    A network with drawn weights has none that mean anything, and in evaluation mode it would send others' features than
    those that it learns on.
    """
    if not isinstance(model, EndToEnd) or model.freezes or model.encoder is None or not model.encoder.is_drawn:
        return
    norms = [module for module in model.encoder.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    training, place, momenta = model.training, model.standardizer.mean.device, [norm.momentum for norm in norms]
    model.train().to(device)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean
    starts = range(0, len(clips), batch_size)
    for begin in starts[:: max(1, len(starts) // BATCHES)]:
        inputs, mask = features.read(spread(clips, begin, batch_size))
        see(model, inputs.to(device), mask.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(training).to(place)


def spread(clips: Sequence[int], begin: int, batch_size: int) -> list[int]:
    """A batch of clips that lie far apart, as neighbors are often of one class."""
    step = max(1, len(clips) // batch_size)
    return [clips[(begin // batch_size + place * step) % len(clips)] for place in range(min(batch_size, len(clips)))]


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
