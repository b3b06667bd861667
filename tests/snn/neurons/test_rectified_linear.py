import pytest
import torch

from snn_action.core.errors import ConfigError
from snn_action.snn.neurons import rectified_linear as relu


def test_output_is_the_rectified_current_and_its_derivative_a_step():
    neuron = relu.RectifiedLinearSettings(amplitude=0.5).build()
    current = torch.randn(2, 7, 3, 4, dtype=torch.float64, requires_grad=True)
    output, state = neuron(current)
    torch.testing.assert_close(output, 0.5 * current.clamp(min=0))
    assert torch.equal(output, neuron.rate(current))
    assert state == ()
    (gradient,) = torch.autograd.grad(output.sum(), current)
    torch.testing.assert_close(gradient, 0.5 * (current > 0).double())


def test_gain_and_bias_meet_rates_and_intercepts():
    neuron = relu.RectifiedLinearSettings().build()
    max_rates, intercepts = torch.tensor([200.0, 300.0, 4000.0]), torch.tensor([-1.0, 0.0, 0.9])
    gain, bias = neuron.gain_bias(max_rates, intercepts)
    torch.testing.assert_close(neuron.rate(gain + bias), max_rates, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(gain * intercepts + bias, torch.zeros(3), rtol=0, atol=1e-2)
    with pytest.raises(ValueError, match="max_rates"):
        neuron.gain_bias(-max_rates, intercepts)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="amplitude"):
        relu.RectifiedLinearSettings(amplitude=0.0)
    with pytest.raises(ConfigError, match="no gradient mode 'surrogate'; it has rate"):
        relu.RectifiedLinearSettings().build("surrogate")
