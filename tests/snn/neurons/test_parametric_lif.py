import math

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.core.registry import parse
from snn_action.core.settings import SettingsError
from snn_action.snn.neurons import parametric_lif as plif

RESETS = ["hard", "soft"]


def make(**options) -> plif.ParametricLIF:
    return plif.ParametricLIFSettings(**options).build().double()


def currents(steps: int, neurons: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 + 4 * torch.randn(1, steps, neurons, generator=generator, dtype=torch.float64)


def simulate(drive: np.ndarray, reset: str, k: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spikes, voltage before and after each step's reset, of one neuron that starts at zero."""
    v, rows = 0.0, []
    for j in drive:
        high = v + k * (j - v)
        fired = high >= 1
        v = (high - 1 if reset == "soft" else 0.0) if fired else high
        rows.append((fired, high, v))
    return tuple(np.array(rows, float).T)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize(("tau", "dt"), [(0.02, 0.001), (0.003, 0.002)])
def test_steps_equal_a_plain_loop(reset, tau, dt):
    neuron = make(reset=reset, tau=tau, dt=dt, amplitude=0.5)
    current = currents(150, 4, 0)
    spikes, final = neuron(current)
    for n in range(4):
        k = 1 / (1 + math.exp(-neuron.w.item()))
        assert k == pytest.approx(dt / tau, rel=1e-6)
        fired, _, voltage = simulate(current[0, :, n].numpy(), reset, k)
        assert fired.sum() > 3
        np.testing.assert_allclose(spikes[0, :, n].detach().numpy(), fired * 0.5 / dt, atol=1e-9)
        assert final.voltage[0, n].item() == pytest.approx(voltage[-1], abs=1e-9)


@pytest.mark.parametrize("current", [0.97, 1.004, 1.3, 2.9, 30.0])
def test_a_hard_reset_fires_when_the_exponential_reaches_the_threshold(current):
    spikes, _ = make(tau=0.01)(torch.full((1, 400, 1), current, dtype=torch.float64))
    steps = (spikes[0, :, 0].nonzero()[:, 0] + 1).tolist()
    period = math.ceil(math.log(1 - 1 / current) / math.log(1 - 0.1)) if current > 1 else math.inf
    assert steps == [t for t in range(1, 401) if t % period == 0]


@pytest.mark.parametrize("reset", RESETS)
def test_surrogate_gradient_equals_a_hand_written_pass_through_time(reset):
    neuron = make(reset=reset, tau=0.005, amplitude=0.5)
    current = currents(60, 3, 1).requires_grad_()
    spikes, _ = neuron.train()(current)
    weights = torch.rand(60, 3, dtype=torch.float64)
    by_current, by_w = torch.autograd.grad((spikes[0] * weights).sum(), (current, neuron.w))
    k = 1 / (1 + math.exp(-neuron.w.item()))
    total = 0.0
    for n in range(3):
        drive = current.detach()[0, :, n].numpy()
        fired, high, after = simulate(drive, reset, k)
        assert fired.sum() > 10
        before = np.concatenate([[0.0], after[:-1]])
        carried, expected = 0.0, np.zeros(60)
        for t in reversed(range(60)):
            g = 1 / (1 + (np.pi * (high[t] - 1)) ** 2)
            through = 1 - g if reset == "soft" else 1 - fired[t] - high[t] * g
            by_high = g * weights[t, n].item() * 0.5 / 0.001 + carried * through
            expected[t] = by_high * k
            total += by_high * (drive[t] - before[t]) * k * (1 - k)
            carried = by_high * (1 - k)
        np.testing.assert_allclose(by_current[0, :, n].numpy(), expected, rtol=1e-9, atol=1e-12)
    assert by_w.item() == pytest.approx(total, rel=1e-9)


def test_the_time_constant_stays_above_a_step_whatever_is_learned():
    neuron = make(tau=0.004)
    assert neuron.tau.item() == pytest.approx(0.004)
    for w in (-12.0, 0.0, 12.0):
        torch.nn.init.constant_(neuron.w, w)
        assert 0.001 < neuron.tau.item() < math.inf


def test_learning_lowers_a_loss_by_the_time_constant_alone():
    current = currents(200, 20, 3)
    target = make(tau=0.005)(current)[0].detach().mean((0, 1))
    neuron = make(tau=0.02)
    optimizer = torch.optim.Adam(neuron.parameters(), lr=0.1)
    losses = []
    for _ in range(40):
        loss = (neuron(current)[0].mean((0, 1)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert 0.0035 < neuron.tau.item() < 0.0075


def test_a_fixed_time_constant_is_kept_with_the_weights_and_does_not_learn():
    neuron = make(learnable=False, tau=0.007)
    assert not [parameter for parameter in neuron.parameters() if parameter.requires_grad]
    other = make(learnable=False)
    other.load_state_dict(neuron.state_dict())
    assert other.tau.item() == pytest.approx(0.007)


def test_a_fixed_time_constant_that_was_loaded_is_that_of_the_kernel_too():
    fast, loaded = make(learnable=False, tau=0.0011).float(), make(learnable=False, tau=0.05).float()
    current = torch.full((2, 40, 3), 1.4)
    slow = loaded(current)[0]
    loaded.load_state_dict(fast.state_dict())
    assert torch.equal(loaded(current)[0], fast(current)[0])
    assert torch.equal(loaded(current)[0], loaded.double()(current.double())[0].float())
    assert not torch.equal(slow, fast(current)[0])


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("tau", [0.02, 0.0021])
def test_gain_and_bias_meet_rates_and_intercepts(reset, tau):
    neuron = make(reset=reset, tau=tau, amplitude=0.5)
    max_rates = torch.tensor([100.0, 200.0, 500.0, 1000.0], dtype=torch.float64)
    intercepts = torch.tensor([-1.0, 0.0, 0.9, 0.2], dtype=torch.float64)
    gain, bias = neuron.gain_bias(max_rates, intercepts)
    torch.testing.assert_close(gain * intercepts + bias, torch.ones_like(gain))
    with torch.no_grad():
        spikes, _ = neuron((gain + bias + 1e-9).expand(1, 1000, 4))
        below, _ = neuron((gain * (intercepts - 0.01) + bias).expand(1, 1000, 4))
    torch.testing.assert_close(neuron.count(spikes).sum(1)[0], max_rates, rtol=0.03, atol=1)
    assert not below.any()


def test_gain_and_bias_follow_the_learned_time_constant():
    learned, made = make(tau=0.02), make(tau=0.005)
    torch.nn.init.constant_(learned.w, made.w.item())
    arguments = torch.tensor([100.0, 300.0]), torch.tensor([0.0, 0.5])
    for mine, its in zip(learned.gain_bias(*arguments), made.gain_bias(*arguments), strict=True):
        assert torch.equal(mine, its)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="max_rates: 1001 cannot be reached, the neuron's highest is 1000"):
        make().gain_bias(torch.tensor([20.0, 1001.0]), torch.zeros(2))
    with pytest.raises(ConfigError, match="no closed form of its rate"):
        make().rate(torch.zeros(3))
    for tau in (0.001, -1.0):
        with pytest.raises(SettingsError, match=rf"^tau: must be above dt = 0.001, not {tau:g}$"):
            parse("neuron", {"type": "plif", "tau": tau})
