"""Batches of clips, in an order that depends on the seed and the epoch alone."""

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from snn_action.core import distributed
from snn_action.features.feature_set import FeatureSet, Indices


class Batch(NamedTuple):
    """Clips: features ``(B, T, D)``, mask ``(B, T)`` true on real steps, labels ``(B,)``.

    ``weight`` is that of this process' mean loss in the mean over processes: its clips over an even share of them.
    ``mixed`` holds the second class (B,) of each clip and the share (B,) of the first, where clips are mixed.
    """

    features: Tensor
    mask: Tensor
    label: Tensor
    weight: float = 1.0
    mixed: "Mixed | None" = None


class Mixed(NamedTuple):
    """The second class (B,) of clips that were mixed from two, and the share (B,) of their own class."""

    label: Tensor
    share: Tensor


class Reader(Protocol):
    """Reads training clips as they are drawn for an epoch."""

    def read(self, clips: Sequence[int] | Indices, epoch: int) -> tuple[Tensor, Tensor, Mixed | None]:
        """Features ``(B, T, D)``, mask ``(B, T)``, and what the clips are mixed of."""


class ClipDataset(Dataset[Batch]):
    """Some clips of a feature set; read a batch at a time, so that they are padded to the longest of the batch.

    Item ``epoch * len(clips) + place`` is the clip at ``place``, as ``reader`` draws it for the epoch; without a reader
    it is the same in each.

    Of ``processes`` that train together the one of number ``rank`` reads every ``processes``-th clip of each batch. One
    that a short last batch leaves without any reads the first, at weight 0: a step needs all of them.
    """

    def __init__(
        self,
        features: FeatureSet,
        clips: Sequence[int],
        rank: int = 0,
        processes: int = 1,
        reader: Reader | None = None,
    ) -> None:
        self.features = features
        self.clips = np.asarray(clips, np.int64)
        self.rank = rank
        self.processes = processes
        self.reader = reader

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        own = indices[self.rank :: self.processes] or indices[:1]
        epoch, places = indices[0] // len(self.clips), np.asarray(own) % len(self.clips)
        chosen = self.clips[places]
        weight = len(indices[self.rank :: self.processes]) * self.processes / len(indices)
        label = torch.from_numpy(self.features.label[chosen])
        if self.reader is None:
            return Batch(*self.features.read(chosen), label, weight)
        features, mask, mixed = self.reader.read(chosen, epoch)
        return Batch(features, mask, label, weight, mixed)


class EpochSampler(Sampler[int]):
    """A permutation drawn from (seed, epoch), or the given order."""

    def __init__(self, size: int, seed: int, shuffle: bool) -> None:
        self.size = size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.size))
        generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch))
        return iter(torch.randperm(self.size, generator=generator).tolist())


class BatchSampler(Sampler[list[int]]):
    """Items of ``ClipDataset`` for each batch of an epoch.

    Of ``together`` batches that follow one another, the clips are sorted by length, so that a batch holds clips of
    about one length; then all batches of the epoch are drawn in a new order, like the clips.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, lengths: Indices, together: int = 1) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.lengths = lengths
        self.together = together

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order, first = list(self.sampler), self.sampler.epoch * len(self.sampler)
        if self.together > 1:
            pool = self.together * self.batch_size
            order = [place for k in range(0, len(order), pool) for place in self._sort(order[k : k + pool])]
        batches = [order[k : k + self.batch_size] for k in range(0, len(order), self.batch_size)]
        if self.together > 1 and self.sampler.shuffle:
            generator = torch.Generator().manual_seed(mix_seed(self.sampler.seed, self.sampler.epoch, 1))
            batches = [batches[k] for k in torch.randperm(len(batches), generator=generator).tolist()]
        return iter([[first + place for place in batch] for batch in batches])

    def _sort(self, places: list[int]) -> list[int]:
        return sorted(places, key=lambda place: int(self.lengths[place]))


def mix_seed(*parts: int) -> int:
    """One seed of several numbers; other numbers give another stream."""
    entropy = [len(parts), *parts]  # NumPy fills up with zeros: without the length, (1,) would equal (1, 0)
    return int(np.random.SeedSequence(entropy).generate_state(1, "uint64")[0] >> 1)


def make_loader(
    features: FeatureSet,
    clips: Sequence[int],
    sampler: EpochSampler,
    *,
    batch_size: int,
    workers: int = 0,
    pin_memory: bool = False,
    reader: Reader | None = None,
    sorted_batches: int = 1,
) -> DataLoader[Batch]:
    """Batches of ``clips`` for training, in the order of ``sampler``.

    ``batch_size`` is that of all processes together; the order is the same in each, which reads its share.
    ``reader`` reads the clips in place of ``features``; ``sorted_batches`` are sorted by length together.
    """
    workers = 0 if multiprocessing.current_process().daemon else workers  # which may start no others
    return DataLoader(
        ClipDataset(features, clips, distributed.rank(), distributed.world_size(), reader),
        batch_sampler=BatchSampler(sampler, batch_size, features.length[list(clips)], sorted_batches),
        num_workers=workers,
        pin_memory=pin_memory and torch.cuda.is_available(),
        collate_fn=_keep,
        persistent_workers=workers > 0,
    )


def _keep(batch: Any) -> Any:
    return batch
