import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_action.training.clips import EpochSampler, make_loader, mix_seed


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
