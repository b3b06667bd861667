import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.snn.neurons import spiking_rectified_linear as srl

GRADIENTS = ("rate", "spike_aware", "surrogate")


def make(gradient="spike_aware", **options) -> srl.SpikingRectifiedLinear:
    return srl.SpikingRectifiedLinearSettings(**options).build(gradient)


def currents(batch: int, steps: int, neurons: int, scale: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, steps, neurons, generator=generator, dtype=torch.float64)


@given(scale=st.floats(1.0, 5000.0), seed=st.integers(0, 1000), uniform=st.booleans())
@settings(max_examples=30, deadline=None)
def test_spike_counts_have_their_closed_form(scale, seed, uniform):
    neuron = make(initial_voltage="uniform" if uniform else "zero", amplitude=0.3)
    current = currents(2, 40, 5, scale, seed)
    start = neuron.initial_state(2, (5,), current.device, current.dtype)
    spikes, final = neuron(current)
    total = start.voltage.unsqueeze(1) + (current.relu() * 0.001).cumsum(1)
    expected = torch.diff(total.floor(), dim=1, prepend=torch.zeros(2, 1, 5, dtype=torch.float64))
    torch.testing.assert_close(neuron.count(spikes), expected)
    torch.testing.assert_close(final.voltage, total[:, -1] - total[:, -1].floor())


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_constant_current_fires_at_its_rate(gradient):
    neuron = make(gradient, amplitude=0.5).eval()
    current = torch.tensor([-50.0, 0.0, 10.0, 123.0, 2500.0], dtype=torch.float64)
    spikes, _ = neuron(current.expand(1, 4000, 5))
    torch.testing.assert_close(spikes.mean(1)[0], neuron.rate(current), rtol=0, atol=0.5 * 0.26)  # one spike in 4 s


def test_gain_and_bias_meet_rates_and_intercepts():
    neuron = make()
    max_rates = torch.tensor([200.0, 300.0, 400.0])
    intercepts = torch.tensor([-1.0, 0.0, 0.9])
    gain, bias = neuron.gain_bias(max_rates, intercepts)
    torch.testing.assert_close(neuron.rate(gain + bias), max_rates, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(gain * intercepts + bias, torch.zeros(3), rtol=0, atol=1e-3)
    assert bool((neuron.rate(gain * (intercepts + 0.01) + bias) > 0).all())


@pytest.mark.parametrize(
    ("rate", "intercept", "says"),
    [(-1.0, 0.0, "max_rates"), (0.0, 0.0, "max_rates"), (float("inf"), 0.0, "max_rates"), (float("nan"), 0.0, "max_"),
     (200.0, 1.0, "intercepts"), (200.0, -1.1, "intercepts"), (200.0, float("nan"), "intercepts")],
)  # fmt: skip
def test_gain_and_bias_refuse_what_is_out_of_range(rate, intercept, says):
    with pytest.raises(ValueError, match=says):
        make().gain_bias(torch.tensor([100.0, rate]), torch.tensor([0.0, intercept]))


def test_rate_mode_gives_rates_in_training_and_spikes_in_evaluation():
    neuron = make("rate")
    current = currents(2, 6, 3, 500, 0).requires_grad_()
    before = neuron.initial_state(2, (3,), current.device, current.dtype)
    output, state = neuron.train()(current)
    torch.testing.assert_close(output, current.relu())
    assert torch.equal(state.voltage, before.voltage)
    (gradient,) = torch.autograd.grad(output.sum(), current)
    torch.testing.assert_close(gradient, (current > 0).double())
    spikes, _ = neuron.eval()(current)
    assert set(spikes.detach().unique().tolist()) <= {0.0, 1000.0, 2000.0}


def test_spike_aware_mode_gives_spikes_forward_and_the_rates_derivative_backward():
    neuron = make("spike_aware", amplitude=0.5)
    current = currents(2, 30, 3, 500, 1).requires_grad_()
    spikes, state = neuron.train()(current)
    assert torch.equal(spikes, make("surrogate", amplitude=0.5)(current.detach())[0])
    assert not state.voltage.requires_grad
    weights = torch.rand_like(spikes)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), current)
    torch.testing.assert_close(gradient, 0.5 * (current > 0) * weights)


def test_surrogate_gradient_equals_a_hand_written_pass_through_time():
    """dL/dv'_t = g_t dL/dn_t + (1 - g_t) dL/dv'_{t+1}, with g_t the arctan surrogate at the nearest threshold."""
    neuron = make("surrogate", amplitude=0.5)
    current = currents(1, 25, 4, 800, 2).requires_grad_()
    spikes, _ = neuron.train()(current)
    weights = torch.rand_like(spikes)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), current)
    voltage = torch.zeros(4, dtype=torch.float64)
    slopes = []
    for drive in current.detach()[0]:
        voltage = voltage + drive.relu() * 0.001
        x = voltage - voltage.round().clamp(min=1)
        slopes.append(1 / (1 + (torch.pi * x).square()))
        voltage = voltage - voltage.floor()
    expected = torch.zeros(25, 4, dtype=torch.float64)
    carried = torch.zeros(4, dtype=torch.float64)
    for t in reversed(range(25)):
        carried = slopes[t] * weights[0, t] * 0.5 / 0.001 + (1 - slopes[t]) * carried
        expected[t] = carried * 0.001 * (current.detach()[0, t] > 0)
    torch.testing.assert_close(gradient[0], expected)
    assert (gradient[0, 0] - slopes[0] * weights[0, 0] * 0.5).abs().max() > 1e-3  # the past has a share


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_stepping_equals_forward_and_masked_steps_leave_the_state(gradient):
    neuron = make(gradient, initial_voltage="uniform", seed=4).eval()
    current = currents(3, 8, 5, 600, 3)
    spikes, final = neuron(current)
    state = neuron.initial_state(3, (5,), current.device, current.dtype)
    for t in range(8):
        now, state = neuron.step(current[:, t], state)
        assert torch.equal(now, spikes[:, t])
    assert torch.equal(state.voltage, final.voltage)
    mask = torch.arange(8) < torch.tensor([8, 3, 5]).unsqueeze(1)
    _, masked = neuron(current, mask=mask)
    for clip, length in enumerate((8, 3, 5)):
        _, alone = neuron(current[clip : clip + 1, :length])
        assert torch.equal(masked.voltage[clip], alone.voltage[0])


def test_uniform_voltages_differ_by_neuron_not_by_clip_and_follow_the_seed():
    draw = [make(initial_voltage="uniform", seed=s).initial_state(3, (4, 50), torch.device("cpu"), torch.float32)
            for s in (1, 1, 2)]  # fmt: skip
    assert torch.equal(draw[0].voltage, draw[1].voltage)
    assert not torch.equal(draw[0].voltage, draw[2].voltage)
    assert torch.equal(draw[0].voltage[0], draw[0].voltage[2])
    assert 0 <= draw[0].voltage.min() < 0.1 < 0.9 < draw[0].voltage.max() < 1


def test_neurons_may_lie_along_several_axes():
    current = currents(2, 9, 12, 700, 5)
    flat, _ = make()(current)
    square, state = make()(current.unflatten(2, (3, 4)))
    assert torch.equal(square.flatten(2), flat)
    assert state.voltage.shape == (2, 3, 4)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="current must be"):
        make()(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="at least one step"):
        make()(torch.zeros(3, 0, 4))
    with pytest.raises(ValueError, match="mask must have shape"):
        make()(torch.zeros(3, 5, 4), mask=torch.ones(3, 4, dtype=torch.bool))
    with pytest.raises(ConfigError, match="no gradient mode 'exact'; it has rate, spike_aware, surrogate"):
        make("exact")
    with pytest.raises(ValueError, match="dt"):
        make(dt=0.0)
    with pytest.raises(ValueError, match="amplitude"):
        make(amplitude=-1.0)
