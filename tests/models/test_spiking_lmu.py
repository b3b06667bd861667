import math

import pytest
import torch

from snn_action.core.errors import ConfigError
from snn_action.models import build_model, find_spikes
from snn_action.models.spiking_lmu import SpikingLMU


def make(seed: int = 0, **options) -> SpikingLMU:
    settings = {"type": "spiking_lmu", "units": 30, "memory_d": 3, "order": 2, "theta": 12.0, **options}
    model = build_model(settings, in_features=4, num_classes=3, seed=seed)
    assert isinstance(model, SpikingLMU)
    return model.double().eval()


def clips(steps: int = 20, batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, steps, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_spikes_are_those_of_the_memory_and_logits_a_leaky_sum_of_them():
    """Step by step from the equations: IF neurons that integrate the current, a leaky integrator a class."""
    model = make(normalize=False, neuron={"type": "spiking_rectified_linear"})
    x = clips()
    logits, state = model(x)
    a, b = model.memory.matrices(x)
    memory = torch.zeros(2, 3, 2, dtype=torch.float64)
    voltage, leaky = torch.zeros(2, 30, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)
    keep, total = math.exp(-0.001 / model.settings.tau_readout), 0.0
    for t in range(20):
        memory = memory @ a.T + (x[:, t] @ model.encoder.weight.T)[:, :, None] * b
        drive = memory.flatten(1) @ model.memory_kernel.weight.T + model.memory_kernel.bias
        voltage = voltage + (drive * model.current_unit).relu() * 0.001
        spikes = voltage.floor()
        voltage = voltage - spikes
        total += spikes.sum(1)
        sent = spikes / 0.001 / model.rate_unit
        leaky = keep * leaky + (1 - keep) * sent @ model.readout.weight.T
        torch.testing.assert_close(logits[:, t], leaky + model.readout.bias)
    torch.testing.assert_close(state.hidden.spikes, total)
    assert bool((total > 0).all())


def test_hidden_units_begin_with_the_rates_that_are_asked_for():
    model = make(units=4000, max_rates=(80.0, 120.0), intercepts=(-0.5, 0.5))
    weight, bias = model.memory_kernel.weight.detach(), model.memory_kernel.bias.detach()
    gain = weight.norm(dim=1) / math.sqrt(model.settings.order)
    rates = model.neuron.rate((gain + bias) * model.current_unit)  # of a value of 1 in the preferred direction
    assert 79.9 < float(rates.min()) < 82
    assert 118 < float(rates.max()) < 120.1
    intercepts = -bias / gain
    assert -0.501 < float(intercepts.min()) < -0.48
    assert 0.48 < float(intercepts.max()) < 0.501


def test_a_spiking_memory_follows_the_exact_one():
    """With many neurons each, what its ensembles decode to averages to what the linear filter holds."""
    options = {"ensemble_neurons": 400, "memory_d": 2, "order": 3, "theta": 40.0, "normalize": False}
    exact, spiking = make(**options), make(**options, spiking_memory=True, spiking_input=True)
    spiking.load_state_dict(exact.state_dict(), strict=False)
    time = torch.arange(80, dtype=torch.float64)
    x = torch.stack([torch.sin(time * 2 * math.pi / (40 + 20 * k)) for k in range(4)], 1).unsqueeze(0)
    with torch.no_grad():
        wanted, _ = exact.memory(exact.encoder(x), exact.initial_state(1, x.device, x.dtype).memory)
        _, state = spiking(x)
    assert len(find_spikes(state)) == 3
    size = float(wanted.abs().max())
    assert float((state.memory - wanted[:, -1]).abs().max()) < 0.1 * size


def test_populations_say_what_spikes():
    plain, whole = make(), make(spiking_input=True, spiking_memory=True, ensemble_neurons=10)
    hidden = ("hidden", 30, 3, 0, 3)  # with a bias of each class
    assert [tuple(population) for population in plain.populations] == [hidden]
    assert [tuple(population) for population in whole.populations] == [
        ("input", 30, 1, 3, 0),  # ensembles of 10 neurons, each onto its own value
        ("memory", 60, 1, 6, 0),
        hidden,
    ]
    assert whole.n_neurons == 120


@pytest.mark.parametrize("gradient", ["surrogate", "spike_aware"])
def test_gradients_pass_through_spikes_to_the_first_weights(gradient):
    model = make(gradient=gradient, units=60, dropout=0.0).train()
    x = clips()
    logits, state = model(x)
    (through_logits,) = torch.autograd.grad(logits.square().sum(), model.encoder.weight, retain_graph=True)
    (through_penalty,) = torch.autograd.grad(state.hidden.spikes.sum(), model.encoder.weight)
    assert bool(through_logits.abs().max() > 0)
    assert bool(through_penalty.abs().max() > 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_rates": (0.0, 5.0)}, "max_rates"),
        ({"ensemble_rates": (5.0, 1.0)}, "ensemble_rates"),
        ({"intercepts": (-2.0, 0.5)}, "intercepts"),
        ({"neuron": {"type": "izhikevich"}, "gradient": "rate"}, "no gradient mode"),
        ({"theta": 0.0}, "theta"),
        ({"theta": 1e-320}, "theta"),
        ({"max_rates": (5.0, 1e39)}, "max_rates"),
        ({"neuron": {"type": "lif"}, "spiking_input": True, "ensemble_rates": (2e3, 4e3)}, "ensemble_rates .* below"),
        ({"order": 0}, "order"),
        ({"radius": 0.0}, "radius"),
    ],
)
def test_what_cannot_be_is_refused(options, says):
    with pytest.raises((ConfigError, ValueError), match=says):
        make(**options)


def test_ensembles_train_on_rates_where_that_is_asked_for():
    model = make(gradient="rate", spiking_input=True, spiking_memory=True).train()
    assert {part.neuron.gradient for part in (model, model.input_ensembles, model.memory_ensembles)} == {"rate"}
    make(neuron={"type": "lif_rate"}, gradient="rate", spiking_input=True)


def test_theta_learns_in_a_spiking_memory():
    model = make(spiking_memory=True, trained="theta").train()
    model(clips())[0].square().sum().backward()
    assert float(model.memory.log_theta.grad.abs()) > 0
