import numpy as np
import pytest
import torch

from snn_action.snn.neurons import stochastic_spiking as stochastic


def test_a_mean_is_rounded_up_as_often_as_its_fraction_says():
    uniform = ((torch.arange(1000) + 0.5) / 1000).unsqueeze(1)
    mean = torch.tensor([0.0, 0.25, 0.75, 1.0, 3.1, 40.9], dtype=torch.float64)
    counts = stochastic.count(mean, uniform)
    expected = np.floor(mean.numpy()) + (uniform.numpy() < np.mod(mean.numpy(), 1))
    np.testing.assert_array_equal(counts.numpy(), expected)
    torch.testing.assert_close(counts.mean(0), mean, rtol=0, atol=6e-4)


def test_a_whole_mean_is_kept_whatever_is_drawn():
    for uniform in (0.0, 1 - 2.0**-24):
        assert stochastic.count(torch.tensor([0.0, 2.0]), torch.full((2,), uniform)).tolist() == [0.0, 2.0]


@pytest.mark.parametrize("current", [70.0, 640.0, 2300.0])
def test_counts_have_the_variance_of_the_fraction(current):
    neuron = stochastic.StochasticSpikingSettings(seed=3).build().eval()
    counts = neuron.count(neuron(torch.full((1, 500, 400), current, dtype=torch.float64))[0])
    share = current / 1000 % 1
    assert set(counts.round().unique().tolist()) == {current // 1000, current // 1000 + 1}
    assert counts.mean().item() == pytest.approx(current / 1000, abs=4.5 * (share * (1 - share) / 200_000) ** 0.5)
    assert counts.var().item() == pytest.approx(share * (1 - share), rel=0.02)


def test_what_is_not_finite_stays():
    counts = stochastic.count(torch.tensor([torch.nan, torch.inf]), torch.tensor([0.5, 0.5]))
    assert counts[0].isnan()
    assert counts[1].isinf()
