"""Batches of clips, in an order that depends on the seed and the epoch alone."""

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from snn_action.core import distributed
from snn_action.features.feature_set import FeatureSet


class Batch(NamedTuple):
    """Clips: features ``(B, T, D)``, mask ``(B, T)`` true on real steps, labels ``(B,)``.

    ``weight`` is that of this process' mean loss in the mean over processes: its clips over an even share of them.
    """

    features: Tensor
    mask: Tensor
    label: Tensor
    weight: float = 1.0


class ClipDataset(Dataset[Batch]):
    """Some clips of a feature set; read a batch at a time, so that they are padded to the longest of the batch.

    Of ``processes`` that train together the one of number ``rank`` reads every ``processes``-th clip of each batch. One
    that a short last batch leaves without any reads the first, at weight 0: a step needs all of them.
    """

    def __init__(self, features: FeatureSet, clips: Sequence[int], rank: int = 0, processes: int = 1) -> None:
        self.features = features
        self.clips = np.asarray(clips, np.int64)
        self.rank = rank
        self.processes = processes

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        own = indices[self.rank :: self.processes]
        chosen = self.clips[own or indices[:1]]
        weight = len(own) * self.processes / len(indices)
        return Batch(*self.features.read(chosen), torch.from_numpy(self.features.label[chosen]), weight)


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
) -> DataLoader[Batch]:
    """Batches of ``clips`` for training, in the order of ``sampler``.

    ``batch_size`` is that of all processes together; the order is the same in each, which reads its share.
    """
    workers = 0 if multiprocessing.current_process().daemon else workers  # which may start no others
    return DataLoader(
        ClipDataset(features, clips, distributed.rank(), distributed.world_size()),
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory and torch.cuda.is_available(),
        collate_fn=_keep,
        persistent_workers=workers > 0,
    )


def _keep(batch: Any) -> Any:
    return batch
