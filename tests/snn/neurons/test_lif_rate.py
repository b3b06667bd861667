import math

import pytest
import torch

from snn_action.snn.neurons import lif_rate as lr

SETTINGS = {"tau_rc": 0.03, "tau_ref": 0.004, "amplitude": 0.5}


def test_output_is_the_closed_form_of_every_current():
    neuron = lr.LIFRateSettings(**SETTINGS).build()
    current = torch.tensor([-3.0, 0.0, 1.0, 1.0001, 1.5, 4.0, 1e6], dtype=torch.float64)
    expected = [0.0 if j <= 1 else 0.5 / (0.004 + 0.03 * math.log(j / (j - 1))) for j in current.tolist()]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(neuron.rate(current), expected)
    output, _ = neuron(current.expand(2, 3, 7))
    torch.testing.assert_close(output, expected.expand(2, 3, 7))


def test_derivative_is_right_above_the_threshold_and_finite_everywhere():
    neuron = lr.LIFRateSettings(**SETTINGS).build()
    above = (1.01 + torch.rand(3, 4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(neuron.rate, above, eps=1e-7)
    (gradient,) = torch.autograd.grad(neuron.rate(above).sum(), above)
    torch.testing.assert_close(gradient, lr.lif_slope(above.detach(), **SETTINGS))
    for dtype in (torch.float32, torch.float64):
        edge = torch.tensor([-math.inf, -1.0, 0.0, 1.0, 1 + torch.finfo(dtype).eps, 1e9], dtype=dtype)
        edge.requires_grad_()
        (gradient,) = torch.autograd.grad(neuron.rate(edge).sum(), edge)
        assert bool(gradient.isfinite().all())
        assert torch.equal(gradient[:4], torch.zeros(4, dtype=dtype))


@pytest.mark.parametrize("tau_ref", [0.0, 0.004])
def test_gain_and_bias_meet_rates_and_intercepts(tau_ref):
    neuron = lr.LIFRateSettings(tau_ref=tau_ref).build()
    max_rates = torch.tensor([2.0, 20.0, 150.0, 249.0], dtype=torch.float64)
    intercepts = torch.tensor([-1.0, 0.0, 0.5, 0.9], dtype=torch.float64)
    gain, bias = neuron.gain_bias(max_rates, intercepts)
    torch.testing.assert_close(neuron.rate(gain + bias), max_rates, rtol=1e-6, atol=0)
    torch.testing.assert_close(gain * intercepts + bias, torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("rate", "intercept", "says"),
    [(250.0, 0.0, "max_rates must be below 1 / tau_ref = 250"),
     (3.0, 0.0, r"max_rates must be at least 3\.1"), (1000.0, 0.0, "max_rates"), (0.0, 0.0, "max_rates"),
     (100.0, 1.0, "intercepts")],
)  # fmt: skip
def test_gain_and_bias_refuse_what_is_out_of_range(rate, intercept, says):
    with pytest.raises(ValueError, match=says):
        lr.LIFRateSettings(tau_ref=0.004).build().gain_bias(torch.tensor([100.0, rate]), torch.tensor([0.0, intercept]))


@pytest.mark.parametrize(("name", "value"), [("tau_rc", 0.0), ("tau_ref", -0.001), ("amplitude", 0.0), ("dt", 0.0)])
def test_bad_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        lr.LIFRateSettings(**{name: value})
