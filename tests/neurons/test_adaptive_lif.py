import numpy as np
import pytest
import torch

from snn_action.neurons import adaptive_lif as al
from snn_action.neurons import lif
from snn_action.neurons.lif_rate import lif_rate
from snn_action.neurons.soft_lif_rate import soft_lif_slope

SETTINGS = {"tau_n": 0.05, "inc_n": 0.2, "amplitude": 0.5}


def test_steps_equal_a_loop_over_single_neurons():
    neuron = al.build(al.Settings(**SETTINGS))
    current = 4 + 4 * torch.randn(1, 200, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spikes, final = neuron(current)
    assert spikes.count_nonzero() > 20
    for i in range(5):
        v = w = n = 0.0
        for t, j in enumerate(current[0, :, i].tolist()):
            drive = j - n
            w -= 0.001
            v += (drive - v) * (1 - np.exp(-min(max(0.001 - w, 0), 0.001) / 0.02))
            fired = v > 1
            if fired:
                w = 0.002 + 0.001 + 0.02 * np.log(1 - (v - 1) / (drive - 1))
                v = 0.0
            v = max(v, 0.0)
            n += 0.001 / 0.05 * (0.2 * 500.0 * fired - n)
            assert spikes[0, t, i] == 500.0 * fired
        for value, expected in zip(final, (v, w, n), strict=True):
            assert value[0, i].item() == pytest.approx(expected, abs=1e-12)


def test_without_increment_it_is_a_lif_neuron():
    current = 3 * torch.randn(2, 50, 3, 4, dtype=torch.float64)
    spikes, _ = al.build(al.Settings(inc_n=0.0))(current)
    assert torch.equal(spikes, lif.build(lif.Settings())(current)[0])


@pytest.mark.parametrize("current", [1.5, 4.0, 12.0])
def test_spikes_come_at_the_settled_rate(current):
    neuron = al.build(al.Settings(tau_n=0.2, inc_n=0.02))
    spikes, _ = neuron(torch.full((1, 4000, 1), current, dtype=torch.float64))
    rate = neuron.rate(torch.tensor(current, dtype=torch.float64)).item()
    assert spikes[0, 1500:].mean().item() == pytest.approx(rate, rel=0.03)
    assert rate < 0.95 * lif_rate(torch.tensor(current), 0.02, 0.002, 1.0).item()


def test_spike_aware_gradient_is_the_implicit_one_of_the_soft_rate():
    neuron = al.build(al.Settings(**SETTINGS)).train()
    current = torch.tensor([[[-1.0, 0.95, 1.5, 8.0]]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(neuron(current)[0].sum(), current)
    adapted = (current - 0.2 * neuron.rate(current)).detach()
    slope = soft_lif_slope(adapted, 0.02, 0.02, 0.002, 0.5)
    torch.testing.assert_close(gradient, slope / (1 + 0.2 * slope))


def surrogate_pass(current: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """dL/dJ of L = sum(weights * output) by hand, with the arctan surrogate, for the neuron of SETTINGS."""
    dt, tau, ref, height, share, inc = 0.001, 0.02, 0.002, 500.0, 0.001 / 0.05, 0.2
    (v, w, n), tape = np.zeros((3, current.shape[1])), []
    for drive in current:
        j = drive - n
        wait = w - dt
        left, is_open = np.clip(dt - wait, 0, dt), (dt - wait >= 0) & (dt - wait <= dt)
        keep = np.exp(-left / tau)
        u = j + (v - j) * keep
        s = (u > 1).astype(float)
        over = np.where(s > 0, j - 1, 1.0)
        late = np.where(s > 0, (u - 1) / over, 0)
        time = dt + tau * np.log(1 - late)
        time_u = -s * tau / (1 - late) / np.maximum(over, 0.1)
        time_j = s * tau / (1 - late) * np.where(over > 0.1, (u - 1) / over**2, 0)
        g = 1 / (1 + (np.pi * (u - 1)) ** 2)
        v_u = (u >= 0) * (1 - s) - np.maximum(u, 0) * g
        w_u = g * (ref + time - wait) + time_u
        tape.append((keep, -(j - v) * keep / tau * is_open, s, g, v_u, w_u, time_j))
        v, w = np.maximum(u, 0) * (1 - s), np.where(s > 0, ref + time, wait)
        n = n + share * (inc * height * s - n)
    grad, (grad_v, grad_w, grad_n) = np.zeros_like(current), np.zeros((3, current.shape[1]))
    for t in reversed(range(len(tape))):
        keep, u_w, s, g, v_u, w_u, time_j = tape[t]
        grad_u = (weights[t] + share * inc * grad_n) * g * height + grad_v * v_u + grad_w * w_u
        grad[t] = grad_u * (1 - keep) + grad_w * time_j
        grad_v, grad_w = grad_u * keep, grad_u * u_w + grad_w * (1 - s)
        grad_n = grad_n * (1 - share) - grad[t]
    return grad


def test_surrogate_gradient_equals_a_hand_written_pass_through_time():
    neuron = al.build(al.Settings(**SETTINGS), "surrogate").train()
    current = 15 + 6 * torch.randn(1, 60, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    current.requires_grad_()
    spikes, state = neuron(current)
    assert spikes.detach().count_nonzero() > 20
    assert state.adaptation.requires_grad
    weights = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), current)
    expected = surrogate_pass(current.detach()[0].numpy(), weights[0].numpy())
    torch.testing.assert_close(gradient[0].numpy(), expected, rtol=1e-8, atol=1e-8)


def test_bad_settings_are_refused():
    for name, value in (("tau_n", 0.0), ("inc_n", -1.0), ("tau_ref", -1.0)):
        with pytest.raises(ValueError, match=name):
            al.Settings(**{name: value})
    with pytest.raises(ValueError, match="max_rates"):
        al.build(al.Settings()).gain_bias(torch.tensor([500.0]), torch.tensor([0.0]))
