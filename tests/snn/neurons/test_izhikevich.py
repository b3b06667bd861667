import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.snn.neurons import izhikevich

KINDS = [{}, {"tau_recovery": 0.1}, {"reset_voltage": -50.0, "reset_recovery": 2.0}]


def make(**options) -> izhikevich.Izhikevich:
    return izhikevich.IzhikevichSettings(**options).build()


def currents(batch: int, steps: int, neurons: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 10 + 15 * torch.randn(batch, steps, neurons, generator=generator, dtype=torch.float64)


def simulate(drive, dt=0.001, tau=0.02, coupling=0.2, reset=-65.0, jump=8.0):
    """Output, voltage before the reset, voltage and recovery of each step of one neuron."""
    v, u = reset, coupling * reset
    rows = []
    for j in drive:
        before = v
        high = v + (0.04 * v**2 + 5 * v + 140 - u + max(j, -30)) * 1000 * dt
        spike = high >= 30
        v = reset if spike else high
        u = u + tau * (coupling * v - u) * 1000 * dt + jump * spike
        rows.append((spike / dt, before, high, v, u))
    return np.array(rows).T


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("dt", [0.001, 0.0005])
def test_steps_equal_a_plain_loop(options, dt):
    names = {"tau_recovery": "tau", "reset_voltage": "reset", "reset_recovery": "jump"}
    current = currents(1, 200, 3, 0) * 2
    spikes, final = make(dt=dt, **options)(current)
    for n in range(3):
        drive = current[0, :, n].tolist()
        out, _, _, voltage, recovery = simulate(drive, dt, **{names[k]: v for k, v in options.items()})
        assert out.sum() > 0
        np.testing.assert_allclose(spikes[0, :, n].numpy(), out, rtol=1e-9)
        np.testing.assert_allclose(final.voltage[0, n], voltage[-1], rtol=1e-7)
        np.testing.assert_allclose(final.recovery[0, n], recovery[-1], rtol=1e-7)


def test_a_very_low_current_acts_as_minus_30():
    low, high = make()(torch.full((1, 50, 1), -1e6))[1], make()(torch.full((1, 50, 1), -30.0))[1]
    assert torch.equal(low.voltage, high.voltage)


def test_smooth_part_has_the_exact_derivative():
    voltage = torch.tensor([[-85.0, -75.0, -65.0]], dtype=torch.float64, requires_grad=True)
    recovery = torch.tensor([[-12.0, 3.0, 1.0]], dtype=torch.float64, requires_grad=True)
    current = torch.tensor([[4.0, -3.0, 10.0]], dtype=torch.float64, requires_grad=True)

    def state_after(j, v, u):
        return tuple(make().dynamics(j, izhikevich.IzhikevichState(v, u))[1])

    assert torch.autograd.gradcheck(state_after, (current, voltage, recovery))


def test_surrogate_gradient_equals_a_hand_written_pass_through_time():
    current = currents(1, 60, 1, 2).requires_grad_()
    spikes, _ = make()(current)
    assert spikes.sum() > 0
    weights = torch.rand_like(spikes)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), current)
    out, before, high, _, _ = simulate(current.detach()[0, :, 0].tolist())
    expected, by_voltage, by_recovery = np.zeros(60), 0.0, 0.0
    for t in reversed(range(60)):
        x = (high[t] - 30) / 95
        kept = 0.0 if out[t] else by_voltage + by_recovery * 0.02 * 0.2
        by_high = weights[0, t, 0].item() / 0.001 / (1 + (np.pi * x) ** 2) / 95 + kept
        by_recovery = by_recovery * 0.98 - by_high
        by_voltage = by_high * np.clip(1 + 0.08 * before[t] + 5, -1, 1)
        expected[t] = by_high * (current[0, t, 0].item() > -30)
    np.testing.assert_allclose(gradient[0, :, 0].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("surrogate", ["arctan", "super_spike", "multi_gaussian"])
def test_gradients_stay_finite_over_200_steps(options, surrogate):
    current = (currents(2, 200, 20, 3) * 3).float().requires_grad_()
    spikes, _ = make(surrogate=surrogate, **options)(current)
    (gradient,) = torch.autograd.grad(spikes.sum(), current)
    assert bool(gradient.isfinite().all())
    assert 0 < gradient.abs().max() < 1e6


@pytest.mark.parametrize("options", KINDS)
def test_gain_and_bias_meet_rates_and_intercepts(options):
    neuron = make(**options)
    max_rates = torch.tensor([20.0, 40.0, 60.0], dtype=torch.float64)
    intercepts = torch.tensor([-1.0, 0.0, 0.9], dtype=torch.float64)
    gain, bias = neuron.gain_bias(max_rates, intercepts)
    spikes, _ = neuron((gain + bias).expand(1, 1200, 3))
    torch.testing.assert_close(neuron.count(spikes[:, 200:]).sum(1)[0], max_rates, rtol=0.05, atol=2)
    below, _ = neuron((gain * intercepts + bias - 0.1).expand(1, 1200, 3))
    assert below[:, 200:].sum() == 0
    above, _ = neuron((gain * intercepts + bias + 0.1).expand(1, 1200, 3))
    assert bool((above[:, 200:].sum(1) > 0).all())


def test_gain_and_bias_refuse_a_rate_that_cannot_be_reached():
    with pytest.raises(ValueError, match="max_rates: 5000 cannot be reached"):
        make().gain_bias(torch.tensor([20.0, 5000.0]), torch.zeros(2))
    with pytest.raises(ValueError, match="intercepts"):
        make().gain_bias(torch.tensor([20.0]), torch.ones(1))


def test_gain_and_bias_of_single_numbers_are_those_of_a_row():
    alone = make().gain_bias(torch.tensor(100.0), torch.tensor(0.0))
    row = make().gain_bias(torch.tensor([100.0]), torch.tensor([0.0]))
    assert [float(part) for part in alone] == [float(part) for part in row]


def test_there_is_no_rate():
    with pytest.raises(ConfigError, match="no closed form of its rate"):
        make().rate(torch.zeros(3))
    with pytest.raises(ConfigError, match="no gradient mode 'rate'; it has surrogate"):
        izhikevich.IzhikevichSettings().build("rate")


@pytest.mark.parametrize(("name", "value"), [("tau_recovery", 0.0), ("reset_voltage", 30.0), ("dt", 0.0)])
def test_bad_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        make(**{name: value})
