from typing import NamedTuple

import torch

from snn_action.models import find_spikes
from snn_action.models.base import InputStandardizer, drop


class Layer(NamedTuple):
    voltage: torch.Tensor
    spikes: torch.Tensor


class Stack(NamedTuple):
    layers: tuple[Layer, ...]
    spikes: torch.Tensor
    filtered: None


def test_spikes_are_found_wherever_they_stand():
    layers = tuple(Layer(torch.zeros(2), torch.full((2,), float(k))) for k in (1, 2))
    found = find_spikes(Stack(layers, torch.full((2,), 4.0), None))
    assert sum(float(count[0]) for count in found) == 7
    assert find_spikes((torch.ones(2), None)) == []
    assert find_spikes(torch.ones(2)) == []


def test_normalized_steps_have_a_root_mean_square_of_one():
    standardizer = InputStandardizer(4, "global", normalize=True).double()
    clips = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 7 + 2
    standardizer.fit(clips, torch.ones(3, 5, dtype=torch.bool))
    plain = (clips - standardizer.mean) * standardizer.scale
    expected = plain / plain.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(standardizer(clips), expected, rtol=1e-4, atol=1e-4)
    assert bool(standardizer(standardizer.mean.expand(1, 1, 4)).isfinite().all())  # a step of nothing


def test_units_are_dropped_for_a_whole_clip_and_only_in_training():
    torch.manual_seed(0)
    x = torch.ones(4, 6, 500)
    kept = drop(x, 0.25, training=True)
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert set(kept.unique().tolist()) == {0.0, kept.max().item()}
    assert abs(float((kept == 0).float().mean()) - 0.25) < 0.05
    assert abs(float(kept.mean()) - 1) < 0.05
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(drop(x, 0.25, training=False), x)
