import math

import numpy as np
import pytest
import torch

from snn_action.snn.neurons import poisson_spiking as poisson
from snn_action.snn.neurons.random import draw_uniform

MEANS = [0.003, 0.2, 1.0, 7.3, 15.99, 16.0, 16.01, 60.0, 900.0, 40_000.0]


def distribution(mean: float) -> tuple[int, np.ndarray]:
    """The first count that matters, and P(N <= n) from it on, summed term by term."""
    half = int(9 * math.sqrt(mean) + 12)
    first = max(0, int(mean) - half)
    n = np.arange(first, int(mean) + half + 1)
    logs = n * math.log(mean) - mean - np.array([math.lgamma(k + 1) for k in n])
    return first, np.exp(logs).cumsum()


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_counts_invert_the_distribution_function(mean, dtype):
    uniform = torch.cat([torch.arange(0, 2**24, 2**24 // 3000), torch.tensor([1, 2, 2**24 - 2, 2**24 - 1])]) / 2**24
    means = torch.full_like(uniform, mean, dtype=dtype)
    counts = poisson.count(means, uniform)
    assert counts.dtype == dtype
    first, below = distribution(means[0].item())
    middle = uniform.double().numpy() + 2.0**-25
    expected = first + np.searchsorted(below, middle, side="right")
    near = np.abs(below[:, None] - middle).min(0) < 1e-9  # rounding of the reference decides
    assert near.mean() < 0.01
    np.testing.assert_array_equal(counts.numpy()[~near], expected[~near])


@pytest.mark.parametrize("mean", [0.05, 3.0, 14.0, 30.0, 2000.0])
def test_counts_have_the_poisson_distribution(mean):
    uniform = draw_uniform(11, torch.arange(300).view(-1, 1), torch.arange(1000))
    counts = poisson.count(torch.full((300, 1000), mean, dtype=torch.float64), uniform)
    total = counts.numel()
    assert counts.mean().item() == pytest.approx(mean, abs=4.5 * math.sqrt(mean / total))
    assert counts.var().item() == pytest.approx(mean, rel=4.5 * math.sqrt((2 + 1 / mean) / total))
    first, below = distribution(mean)
    expected = np.diff(below, prepend=0.0) * total
    found = np.bincount(counts.long().flatten().numpy() - first, minlength=len(expected))
    common = expected > 10
    assert found[~common].sum() <= 10 * (~common).sum()
    square = ((found[common] - expected[common]) ** 2 / expected[common]).sum()
    freedom = common.sum() - 1
    assert abs(square - freedom) < 4.5 * math.sqrt(2 * max(freedom, 1))


def test_both_methods_give_the_same_counts():
    uniform = draw_uniform(0, torch.arange(20_000)).double() + 2.0**-25
    for mean in (0.4, 5.0, 16.0, 40.0):
        means = torch.full_like(uniform, mean)
        assert torch.equal(poisson._search(means, uniform), poisson._bisect(means, uniform))


def test_a_count_does_not_depend_on_the_others():
    mean = torch.tensor([0.1, 500.0, 3.0, 0.0, 17.0, 1e6])
    uniform = draw_uniform(1, torch.arange(6))
    together = poisson.count(mean, uniform)
    alone = [poisson.count(mean[i : i + 1], uniform[i : i + 1]) for i in range(6)]
    assert torch.equal(together, torch.cat(alone))
    assert together[3] == 0


@pytest.mark.parametrize("mean", [1e6, 1e9, 1e12, 1e15])
def test_a_huge_mean_gives_the_normal_limit(mean):
    uniform = draw_uniform(2, torch.arange(20_000))
    counts = poisson.count(torch.full((20_000,), mean, dtype=torch.float64), uniform)
    normal = (counts - mean) / math.sqrt(mean)
    expected = math.sqrt(2) * torch.erfinv(2 * (uniform.double() + 2.0**-25) - 1)
    assert (normal - expected).abs().max() < 0.01
    assert torch.equal(counts, counts.round())


def test_what_is_not_finite_stays_and_what_is_beyond_all_counts_ends():
    counts = poisson.count(torch.tensor([torch.nan, torch.inf, 1e30]), torch.tensor([0.5, 0.5, 0.5]))
    assert counts[0].isnan()
    assert counts[1].isinf()
    assert counts[2].item() == pytest.approx(1e30, rel=1e-6)


def test_intervals_between_spikes_are_geometric():
    neuron = poisson.PoissonSpikingSettings(seed=5).build().eval()
    counts = neuron.count(neuron(torch.full((1, 4000, 100), 50.0))[0])[0]
    silent = math.exp(-0.05)
    gaps = torch.cat([line.nonzero()[:, 0].diff() for line in counts.T]).double()
    assert gaps.mean().item() == pytest.approx(1 / (1 - silent), rel=0.03)
    assert gaps.std().item() == pytest.approx(math.sqrt(silent) / (1 - silent), rel=0.05)
