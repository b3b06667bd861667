import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from snn_action.core.errors import ConfigError
from snn_action.snn.neurons import sliding_psn
from snn_action.snn.neurons.base import Neuron


def make(seed: int | None = None, **options) -> sliding_psn.SlidingPSN:
    """With a seed, weights and threshold are random."""
    neuron = sliding_psn.SlidingPSNSettings(**options).build().double()
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            neuron.weights.add_(torch.randn(neuron.weights.shape, generator=generator))
            neuron.threshold.fill_(0.7)
    return neuron


def currents(batch: int, steps: int, neurons: int, seed: int) -> Tensor:
    return torch.randn(
        batch, steps, neurons, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True
    )


def membrane(current: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``H`` (T,) of one neuron, term by term."""
    return np.array(
        [sum(w * current[t - i] for i, w in enumerate(weights) if t >= i) for t in range(len(current))], float
    )


def test_the_window_starts_as_the_paper_has_it():
    neuron = make(order=5)
    assert neuron.weights.tolist() == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert neuron.threshold.item() == 1.0


@pytest.mark.parametrize("order", [1, 2, 4, 40])
def test_spikes_and_gradients_equal_a_plain_loop(order):
    neuron = make(seed=0, order=order, amplitude=0.5)
    current = currents(2, 30, 3, 1)
    spikes, final = neuron(current)
    weights = torch.rand(2, 30, 3, dtype=torch.float64)
    gradients = torch.autograd.grad((spikes * weights).sum(), (current, neuron.weights, neuron.threshold))
    drive, window = current.detach().numpy(), neuron.weights.detach().numpy()
    by_current, by_weights, by_threshold = np.zeros_like(drive), np.zeros(order), 0.0
    for b in range(2):
        for n in range(3):
            distance = membrane(drive[b, :, n], window) - 0.7
            expected = (distance >= 0) * 0.5 / 0.001
            assert 0 < expected.sum() < 500 * 30
            np.testing.assert_allclose(spikes[b, :, n].detach().numpy(), expected)
            slope = weights[b, :, n].numpy() * 500 / (1 + (np.pi * distance) ** 2)
            by_threshold -= slope.sum()
            for t in range(30):
                for i in range(min(order, t + 1)):
                    by_weights[i] += slope[t] * drive[b, t - i, n]
                    by_current[b, t - i, n] += slope[t] * window[i]
    for found, wanted in zip(gradients, (by_current, by_weights, by_threshold), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-9)
    padded = np.concatenate([np.zeros((2, order, 3)), drive], 1)
    np.testing.assert_array_equal(final.past.detach().numpy(), padded[:, padded.shape[1] - order + 1 :])


def test_the_window_has_the_exact_derivative():
    generator = torch.Generator().manual_seed(0)
    window, weights = (torch.randn(*shape, generator=generator).double() for shape in ((2, 7, 3), (4,)))
    assert torch.autograd.gradcheck(sliding_psn.slide, (window.requires_grad_(), weights.requires_grad_()))


def test_gradients_run_through_the_state():
    neuron = make(seed=0, order=4)
    current = currents(1, 9, 2, 1)
    whole = torch.autograd.grad(neuron(current)[0].sum(), current)
    first, state = neuron(current[:, :5])
    second, _ = neuron(current[:, 5:], state)
    torch.testing.assert_close(torch.autograd.grad(first.sum() + second.sum(), current), whole)


@pytest.mark.parametrize("order", [1, 3, 8])
def test_any_mask_gives_what_the_loop_over_steps_gives(order):
    neuron = make(seed=0, order=order).eval()
    current = currents(4, 12, 3, 2).detach()
    before = neuron(currents(4, 5, 3, 3).detach())[1]
    runs = torch.arange(12) < torch.tensor([[0], [2], [7], [12]])
    holes = torch.rand(4, 12, generator=torch.Generator().manual_seed(0)) < 0.6
    for mask in (runs, holes):
        spikes, state = neuron(current, before, mask)
        expected, ended = Neuron._run(neuron, current, before, mask)
        assert torch.equal(spikes, expected)
        assert torch.equal(state.past, ended.past)


def test_no_spike_depends_on_a_later_current():
    neuron = make(seed=0, order=6)
    current = currents(1, 20, 4, 4).detach()
    changed = current.clone()
    changed[:, 11:] += 5
    before, after = neuron(current)[0], neuron(changed)[0]
    assert torch.equal(before[:, :11], after[:, :11])
    assert not torch.equal(before, after)


class Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_the_work_is_not_a_loop_over_time():
    calls = []
    for steps in (3, 300):
        neuron, current = make(order=4), torch.zeros(2, steps, 3).double()
        with Count() as count:
            neuron(current, mask=torch.ones(2, steps, dtype=torch.bool))
        calls.append(count.calls)
    assert calls[0] == calls[1]


def test_at_a_constant_current_it_fires_in_every_step_or_in_none():
    spikes, _ = make(order=4)(torch.tensor([0.53, 0.54]).double().expand(1, 50, 2))
    assert not spikes[..., 0].any()
    assert bool(spikes[0, 3:, 1].all())
    for method in (lambda n: n.rate(torch.zeros(1)), lambda n: n.gain_bias(torch.ones(1), torch.zeros(1))):
        with pytest.raises(ConfigError, match=r"sliding_psn has no .* in every step or in none"):
            method(make())


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="order"):
        make(order=0)
    with pytest.raises(ConfigError, match="no gradient mode 'rate'; it has surrogate"):
        sliding_psn.SlidingPSNSettings().build("rate")
