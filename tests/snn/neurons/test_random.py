import itertools
import math

import pytest
import torch
from torch import Tensor

from snn_action.snn.neurons.random import draw_bits, draw_uniform

COUNTERS = ("clip", "neuron", "step")
SIDES = (40, 64, 96)
SEEDS = [0, 1, 2**32 - 1]


def draw(seed: int, shift: int = 0) -> Tensor:
    """Words over a block of counters (clip, neuron, step), which start at ``shift``."""
    counters = [
        (shift + torch.arange(side)).view([-1 if i == axis else 1 for i in range(3)]) for axis, side in enumerate(SIDES)
    ]
    return draw_bits(seed, *counters)


def mix(x: int) -> int:
    x ^= x >> 16
    x = x * 0x21F0AAAD % 2**32
    x ^= x >> 15
    x = x * 0x735A2D97 % 2**32
    return x ^ (x >> 15)


def reference(*counters: int) -> int:
    x, y = 0x243F6A88, 0x85A308D3
    for counter in counters:
        x = mix(x ^ (counter % 2**32))
        y = mix((y + x) % 2**32)
    return y


def deviation(found: Tensor) -> float:
    """How many standard deviations the chi-square of ``found`` counts is from that of a uniform distribution."""
    expected = found.sum().item() / found.numel()
    freedom = found.numel() - 1
    return ((found - expected).square().sum().item() / expected - freedom) / math.sqrt(2 * freedom)


def test_words_equal_those_of_integers_without_a_limit():
    generator = torch.Generator().manual_seed(0)
    counters = torch.randint(-(2**62), 2**62, (200, 3), generator=generator)
    counters[:3] = torch.tensor([[0, 0, 0], [-1, -1, -1], [2**32, 2**31, 2**32 - 1]])
    for seed in SEEDS:
        expected = [reference(seed, *row) for row in counters.tolist()]
        assert draw_bits(seed, *counters.unbind(1)).tolist() == expected


def test_any_part_can_be_drawn_on_its_own():
    whole = draw(5)
    clip, neuron, step = (torch.arange(side) for side in SIDES)
    part = draw_bits(5, clip[7:9, None, None], neuron[None, 20:50, None], step[80:])
    assert torch.equal(part, whole[7:9, 20:50, 80:])
    full = torch.meshgrid(clip, neuron, step, indexing="ij")
    assert torch.equal(draw_bits(5, *full), whole)
    assert clip.equal(torch.arange(SIDES[0]))  # counters are not written to


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shift", [0, 2**31 - 20])
def test_words_are_uniform_in_their_high_and_low_bits(seed, shift):
    words = draw(seed, shift)
    assert words.min() >= 0
    assert words.max() < 2**32
    for bits in (words >> 22, words & 1023, (words >> 11) & 1023):
        assert abs(deviation(torch.bincount(bits.flatten(), minlength=1024))) < 4.5
    for line in (words.flatten(1), words.transpose(0, 1).flatten(1), words.flatten(0, 1).T):
        means = ((line.double() / 2**32).mean(1) - 0.5) * math.sqrt(12 * line.shape[1])
        assert means.abs().max() < 4.5
        assert means.std() == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("axis", range(3), ids=COUNTERS)
@pytest.mark.parametrize("lag", [1, 2, 16, 32])
def test_neighbors_in_a_counter_are_independent(seed, axis, lag):
    words = draw(seed)
    length = SIDES[axis] - lag
    first, second = words.narrow(axis, 0, length).flatten(), words.narrow(axis, lag, length).flatten()
    for low in (0, 27):  # the lowest and the highest five bits
        pairs = ((first >> low) & 31) * 32 + ((second >> low) & 31)
        assert abs(deviation(torch.bincount(pairs, minlength=1024))) < 4.5
    correlation = torch.corrcoef(torch.stack([first, second]).double())[0, 1].item()
    assert abs(correlation) * math.sqrt(len(first)) < 4.5


def test_seeds_are_independent():
    for one, other in itertools.pairwise([0, 1, 2, 3, 2**31, 2**32 - 1]):
        pair = torch.stack([draw(one).flatten(), draw(other).flatten()])
        assert abs(torch.corrcoef(pair.double())[0, 1].item()) * math.sqrt(pair.shape[1]) < 4.5
        assert abs(deviation(torch.bincount((pair[0] >> 27) * 32 + (pair[1] >> 27), minlength=1024))) < 4.5


@pytest.mark.parametrize("axis", range(3), ids=COUNTERS)
def test_each_bit_of_a_counter_changes_each_bit_of_the_word_half_of_the_time(axis):
    generator = torch.Generator().manual_seed(1)
    counters = list(torch.randint(2**32, (3, 20_000), generator=generator))
    words = draw_bits(0, *counters)
    for bit in range(32):
        changed = [counter ^ (2**bit if i == axis else 0) for i, counter in enumerate(counters)]
        flipped = (words ^ draw_bits(0, *changed)).unsqueeze(1) >> torch.arange(32) & 1
        assert (flipped.double().mean(0) - 0.5).abs().max() * 2 * math.sqrt(20_000) < 4.5


def test_streams_of_clips_and_neurons_are_all_their_own():
    """Two words for each of a million streams, 64 bits together: none is there twice."""
    clip, neuron, step = torch.arange(1000)[:, None, None], torch.arange(1000)[None, :, None], torch.arange(2)
    words = draw_bits(0, clip, neuron, step)
    streams = (words[..., 0] << 31) ^ words[..., 1]
    assert len(streams.unique()) == 10**6
    # 32 bits alone meet as often as chance has it
    twice = 10**6 - len(words[..., 0].unique())
    expected = 10**12 / 2 / 2**32
    assert abs(twice - expected) < 4.5 * math.sqrt(expected)


def test_uniform_numbers_are_multiples_of_their_unit_below_one():
    uniform = draw_uniform(3, torch.arange(500).unsqueeze(1), torch.arange(700))
    assert uniform.dtype == torch.float32
    assert uniform.min() >= 0
    assert uniform.max() < 1
    scaled = uniform.double() * 2**24
    assert torch.equal(scaled, scaled.round())
    assert bool((scaled.long() & 1).any())
    assert uniform.double().var().item() == pytest.approx(1 / 12, rel=0.01)
