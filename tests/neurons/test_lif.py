import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.neurons import lif
from snn_action.neurons.lif_rate import lif_rate, lif_slope
from snn_action.neurons.soft_lif_rate import soft_lif_slope

SETTINGS = {"tau_rc": 0.03, "tau_ref": 0.0025, "min_voltage": -0.5, "amplitude": 0.5}


def currents(steps: int, neurons: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 + 4 * torch.randn(1, steps, neurons, generator=generator, dtype=torch.float64)


def exact_spike_times(current: float, tau_rc: float, tau_ref: float, until: float) -> list[float]:
    first = tau_rc * np.log(current / (current - 1))
    return list(np.arange(first, until, first + tau_ref))


@pytest.mark.parametrize("current", [1.05, 1.7, 4.0, 9.3])
def test_spikes_at_a_constant_current_fall_in_the_steps_of_continuous_time(current):
    neuron = lif.build(lif.Settings(**SETTINGS))
    spikes, _ = neuron(torch.full((1, 2000, 1), current, dtype=torch.float64))
    steps = spikes[0, :, 0].nonzero()[:, 0].numpy()
    times = np.array(exact_spike_times(current, 0.03, 0.0025, 2.0))
    assert np.array_equal(steps, np.floor(times / 0.001 + 1e-9).astype(int))
    assert set(spikes.unique().tolist()) == {0.0, 500.0}


def test_steps_equal_a_loop_over_single_neurons():
    neuron = lif.build(lif.Settings(**SETTINGS))
    current = currents(120, 6)
    spikes, final = neuron(current)
    for i in range(6):
        v = w = 0.0
        for t, j in enumerate(current[0, :, i].tolist()):
            w -= 0.001
            v += (j - v) * (1 - np.exp(-min(max(0.001 - w, 0), 0.001) / 0.03))
            fired = v > 1
            if fired:
                w = 0.0025 + 0.001 + 0.03 * np.log(1 - (v - 1) / (j - 1))
                v = 0.0
            v = max(v, -0.5)
            assert spikes[0, t, i] == 500.0 * fired
        assert final.voltage[0, i].item() == pytest.approx(v, abs=1e-12)
        assert final.refractory_time[0, i].item() == pytest.approx(w, abs=1e-12)


def surrogate_pass(current: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """dL/dJ of L = sum(weights * output) by hand, with the arctan surrogate, for the neuron of SETTINGS."""
    dt, tau, ref, floor, amplitude = 0.001, 0.03, 0.0025, -0.5, 0.5
    v, w, tape = np.zeros(current.shape[1]), np.zeros(current.shape[1]), []
    for j in current:
        wait = w - dt
        left, open_ = np.clip(dt - wait, 0, dt), (dt - wait >= 0) & (dt - wait <= dt)
        keep = np.exp(-left / tau)
        u = j + (v - j) * keep
        s = (u > 1).astype(float)
        over = np.where(s > 0, j - 1, 1.0)
        late = np.where(s > 0, (u - 1) / over, 0)
        time = dt + tau * np.log(1 - late)
        time_u = -s * tau / (1 - late) / np.maximum(over, 0.1)
        time_j = s * tau / (1 - late) * np.where(over > 0.1, (u - 1) / over**2, 0)
        g = 1 / (1 + (np.pi * (u - 1)) ** 2)
        v_u = (u >= floor) * (1 - s) - np.maximum(u, floor) * g
        w_u = g * (ref + time - wait) + time_u
        tape.append((keep, -(j - v) * keep / tau * open_, s, g, v_u, w_u, time_j))
        v, w = np.maximum(u, floor) * (1 - s), np.where(s > 0, ref + time, wait)
    grad, grad_v, grad_w = np.zeros_like(current), np.zeros_like(v), np.zeros_like(w)
    for t in reversed(range(len(tape))):
        keep, u_w, s, g, v_u, w_u, time_j = tape[t]
        grad_u = weights[t] * g * amplitude / dt + grad_v * v_u + grad_w * w_u
        grad[t] = grad_u * (1 - keep) + grad_w * time_j
        grad_v, grad_w = grad_u * keep, grad_u * u_w + grad_w * (1 - s)
    return grad


def test_surrogate_gradient_equals_a_hand_written_pass_through_time():
    neuron = lif.build(lif.Settings(**SETTINGS), "surrogate")
    current = (20 + 2 * currents(60, 5, 1)).requires_grad_()
    spikes, _ = neuron.train()(current)
    assert spikes.detach().count_nonzero() > 20
    weights = torch.randn_like(spikes)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), current)
    expected = surrogate_pass(current.detach()[0].numpy(), weights[0].numpy())
    torch.testing.assert_close(gradient[0].numpy(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("gradient", ["rate", "spike_aware"])
@pytest.mark.parametrize("sigma", [0.0, 0.02])
def test_the_rate_is_exact_and_its_derivative_smoothed(gradient, sigma):
    neuron = lif.build(lif.Settings(rate_sigma=sigma, amplitude=0.5), gradient).train()
    current = torch.tensor([[[-1.0, 0.9, 1.0, 1.001, 3.0]]], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(neuron.rate(current), lif_rate(current, 0.02, 0.002, 0.5))
    (slope,) = torch.autograd.grad(neuron(current)[0].sum(), current)
    exact, soft = lif_slope(current, 0.02, 0.002, 0.5), soft_lif_slope(current, 0.02, 0.02, 0.002, 0.5)
    torch.testing.assert_close(slope, soft if sigma else exact)
    assert bool((soft > 0).all())
    assert soft.max() < 0.5 * exact.max()


def test_a_membrane_much_faster_than_the_step_stays_finite():
    neuron = lif.build(lif.Settings(tau_rc=1e-6), "surrogate")
    current = torch.full((1, 20, 2), 2.0, requires_grad=True)
    spikes, state = neuron(current)
    spikes.sum().backward()
    assert bool(state.refractory_time.isfinite().all())
    assert bool(current.grad.isfinite().all())


def test_bad_settings_are_refused():
    for name, value in (("tau_rc", 0.0), ("tau_ref", -1.0), ("min_voltage", 0.1), ("rate_sigma", -0.1)):
        with pytest.raises(ValueError, match=name):
            lif.Settings(**{name: value})
    with pytest.raises(ValueError, match="max_rates"):
        lif.build(lif.Settings()).gain_bias(torch.tensor([500.0]), torch.tensor([0.0]))
