import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_action.training.clips import BatchSampler, EpochSampler, make_loader, mix_seed


def orders(seed: int, epochs: list[int]) -> list[list[int]]:
    sampler = EpochSampler(50, seed, shuffle=True)
    found = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    return found


def test_the_order_depends_on_seed_and_epoch_and_not_on_what_was_drawn_before():
    first = orders(3, [0, 1, 2])
    torch.rand(7)
    assert orders(3, [2, 0]) == [first[2], first[0]]
    assert first[0] != first[1]
    assert orders(4, [0])[0] != first[0]
    assert all(sorted(order) == list(range(50)) for order in first)


def test_without_shuffling_the_order_is_the_given_one():
    assert list(EpochSampler(4, 0, shuffle=False)) == [0, 1, 2, 3]


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4).map(tuple), min_size=2, unique=True))
def test_other_numbers_give_another_seed(parts):
    assert len({mix_seed(*part) for part in parts}) == len(parts)
    assert all(0 <= mix_seed(*part) < 2**63 for part in parts)


def test_a_batch_holds_the_clips_of_the_set_padded_to_its_longest(features):
    chosen = [5, 9, 30, 2, 17]
    loader = make_loader(features, chosen, EpochSampler(5, seed=0, shuffle=False), batch_size=2)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    for clips, batch in zip(([5, 9], [30, 2], [17]), batches, strict=True):
        wanted, mask = features.read(clips)
        assert torch.equal(batch.features, wanted)
        assert torch.equal(batch.mask, mask)
        assert batch.label.tolist() == features.label[clips].tolist()


def test_seeds_of_one_number_and_of_more_differ():
    assert len({mix_seed(1), mix_seed(1, 0), mix_seed(1, 0, 0), mix_seed(0, 1)}) == 4


lengths_of_clips = st.lists(st.integers(1, 30), min_size=1, max_size=60)


def batches_of(lengths, batch_size, together, epoch=0, shuffle=True, seed=0):
    sampler = EpochSampler(len(lengths), seed, shuffle)
    sampler.set_epoch(epoch)
    return list(BatchSampler(sampler, batch_size, np.array(lengths), together))


@given(lengths_of_clips, st.integers(1, 9), st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_each_clip_is_in_one_batch_of_its_epoch(lengths, batch_size, together, epoch, shuffle):
    batches = batches_of(lengths, batch_size, together, epoch, shuffle)
    size = len(lengths)
    assert sorted(item for batch in batches for item in batch) == list(range(epoch * size, (epoch + 1) * size))
    assert len(batches) == -(-size // batch_size)
    assert sorted(map(len, batches)) == sorted(
        [batch_size] * (size // batch_size) + [size % batch_size] * (size % batch_size > 0)
    )
    assert batches == batches_of(lengths, batch_size, together, epoch, shuffle)


@given(lengths_of_clips, st.integers(1, 9), st.integers(2, 9))
def test_sorted_batches_are_padded_no_more(lengths, batch_size, together):
    def padded(batches):
        return sum(len(batch) * max(whole[item] for item in batch) for batch in batches)

    whole = lengths * batch_size  # so that all batches are full
    assert padded(batches_of(whole, batch_size, 10**6)) <= padded(batches_of(whole, batch_size, 1))
    within = batches_of(lengths, batch_size, together, shuffle=False)
    for k in range(0, len(within), together):
        found = [lengths[item] for batch in within[k : k + together] for item in batch]
        assert found == sorted(found)


def test_batches_that_are_not_sorted_follow_the_order_of_clips():
    order = EpochSampler(11, 3, shuffle=True)
    order.set_epoch(2)
    wanted = list(order)
    found = batches_of([1] * 11, 4, 1, epoch=2, seed=3)
    assert [[item - 22 for item in batch] for batch in found] == [wanted[:4], wanted[4:8], wanted[8:]]


def test_sorted_batches_come_in_another_order_each_epoch():
    lengths = list(range(40))
    orders = [[batch[0] % 40 for batch in batches_of(lengths, 4, 10, epoch)] for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[1])
