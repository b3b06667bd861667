import math

import pytest
import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.models import build_model, ensemble_array
from snn_action.models.ensemble_array import EnsembleArray
from snn_action.snn import ensembles
from snn_action.snn.decoders import solve_decoders
from snn_action.snn.neurons import spiking_rectified_linear as srl

GRADIENTS = ("rate", "spike_aware", "surrogate")


def make(in_features: int = 4, classes: int = 3, seed: int = 0, **options) -> EnsembleArray:
    settings = {"type": "ensemble_array", "n_ensembles": 7, "n_neurons": 20, **options}
    model = build_model(settings, in_features=in_features, num_classes=classes, seed=seed)
    assert isinstance(model, EnsembleArray)
    return model.double().eval()


def features(batch: int = 3, steps: int = 9, size: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(batch, steps, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def reference(model: EnsembleArray, x: Tensor) -> tuple[Tensor, float]:
    """One clip, one ensemble at a time, by the equations of the module docstring; logits and number of spikes."""
    steps = len(x)
    filtered, value = [], torch.zeros_like(x[0])
    for now in x:
        value = value * 2.718281828459045 ** (-0.001 / 0.005) + now * (1 - 2.718281828459045 ** (-0.001 / 0.005))
        filtered.append(value)
    values = torch.stack(filtered) @ model.input_kernel.weight.T
    decoded, count = [], 0.0
    for e in range(values.shape[1]):
        gain, bias = model.gain[e] * 300, model.bias[e] * 300
        current = gain * model.encoders[e] * values[:, e : e + 1] + bias
        voltage = (current.relu() * 0.001).cumsum(0)
        spikes = torch.diff(voltage.floor(), dim=0, prepend=torch.zeros(1, current.shape[1], dtype=torch.float64))
        count += float(spikes.sum())
        decoded.append(spikes / 0.001 @ model.decoders[e] / 300)
    assert len(decoded[0]) == steps
    return torch.stack(decoded, 1) @ model.readout.weight.T + model.readout.bias, count


def test_logits_and_spikes_follow_the_equations():
    model = make()
    x = features()
    with torch.no_grad():
        logits, state = model(x)
        for clip in range(3):
            expected, count = reference(model, x[clip])
            torch.testing.assert_close(logits[clip], expected)
            assert float(state.spikes[clip]) == pytest.approx(count)
    assert model.n_neurons == 140


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("train", [True, False])
def test_chunks_change_nothing(gradient, train, monkeypatch):
    x = features()
    mask = torch.arange(9) < torch.tensor([9, 2, 5]).unsqueeze(1)
    results = []
    for limit in (2**22, 3 * 9 * 20 * 2, 1):  # all ensembles at once, two, one
        monkeypatch.setattr(ensembles, "CHUNK_VALUES", limit)
        model = make(gradient=gradient).train(train)
        logits, state = model(x, mask=mask)
        (logits[mask].square().sum() + state.spikes.sum()).backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results.append((logits[mask], state.spikes, state.neurons.voltage, gradients))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_the_decoders_represent_a_value():
    model = make(n_ensembles=30, n_neurons=50, seed=1)
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    gain = model.gain * 300 * model.encoders
    rates = model.neuron.rate(gain.unsqueeze(1) * x[:, None] + model.bias.unsqueeze(1) * 300)
    decoded = (rates * model.decoders.unsqueeze(1) / 300).sum(-1)
    assert (decoded - x).square().mean().sqrt() < 0.05


def test_decoders_solve_the_normal_equations_for_any_function():
    neuron = srl.SpikingRectifiedLinearSettings().build()
    generator = torch.Generator().manual_seed(0)
    gain = torch.empty(300, 6, dtype=torch.float64).uniform_(-400, 400, generator=generator)
    bias = torch.empty(300, 6, dtype=torch.float64).uniform_(-100, 100, generator=generator)
    decoders = solve_decoders(neuron.rate, gain, bias, torch.square)
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    for e in (0, 255, 256, 299):
        activity = (gain[e] * x[:, None] + bias[e]).relu()
        ridge = len(x) * (0.1 * activity.max()) ** 2
        left = (activity.T @ activity + ridge * torch.eye(6, dtype=torch.float64)) @ decoders[e]
        torch.testing.assert_close(left, activity.T @ x.square(), rtol=1e-8, atol=1e-6)


def test_an_ensemble_whose_neurons_are_all_silent_decodes_nothing():
    decoders = solve_decoders(torch.relu, torch.zeros(2, 3), torch.full((2, 3), -1.0))
    assert not decoders.any()


def test_zero_input_weights_learn():
    model = make(input_weights="zero", gradient="rate").train()
    assert not model.input_kernel.weight.any()
    model(features())[0].square().sum().backward()
    assert model.input_kernel.weight.grad.any()


def test_rate_mode_trains_on_rates_and_tests_on_spikes():
    model = make(gradient="rate")
    x = features()
    trained, state = model.train()(x)
    current = torch.addcmul(
        model.bias * 300, model.input_kernel(model.synapse(x)[0]).unsqueeze(-1), model.gain * 300 * model.encoders
    )
    decoded = (current.relu() * model.decoders / 300).sum(-1)
    torch.testing.assert_close(trained, model.readout(decoded))
    assert not state.neurons.voltage.any()
    torch.testing.assert_close(model.eval()(x)[0], make(gradient="spike_aware")(x)[0])


def test_long_constant_input_is_decoded_by_spikes_as_by_rates():
    model = make(tau_input=None)
    x = torch.tensor([[0.5, -0.3, 0.8, 0.1]], dtype=torch.float64).expand(1, 4000, 4)
    spiking = model(x)[0].mean(1)
    rate = make(tau_input=None, gradient="rate").train()(x)[0].mean(1)
    torch.testing.assert_close(spiking, rate, rtol=0, atol=2e-3)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_ensembles_of_several_dimensions_follow_the_equations(gradient):
    """The first clip, in evaluation; and chunks give what all at once give."""
    model = make(dimensions=3, function="square", gradient=gradient)
    x = features()
    logits, state = model(x)
    values = model.input_kernel(model.synapse(x)[0]).unflatten(2, (7, 3))
    assert model.encoders.shape == (7, 20, 3)
    torch.testing.assert_close(model.encoders.norm(dim=-1), torch.ones(7, 20, dtype=torch.float64), rtol=1e-6, atol=0)
    drive = (values.unsqueeze(3) * model.encoders).sum(-1) * model.gain * 300 + model.bias * 300
    counts = torch.diff((drive.relu() * 0.001).cumsum(1).floor(), dim=1, prepend=torch.zeros(3, 1, 7, 20).double())
    decoded = torch.einsum("bten,enf->btef", counts / 0.001, model.decoders / 300).flatten(2)
    torch.testing.assert_close(logits, model.readout(decoded))
    torch.testing.assert_close(state.spikes, counts.sum((1, 2, 3)))


@pytest.mark.parametrize(("function", "wanted"), [("square", torch.square), ("product", lambda x: x.prod(-1, True))])
def test_decoders_of_several_dimensions_stand_for_a_function(function, wanted):
    model = make(n_ensembles=5, n_neurons=200, dimensions=2, function=function, intercepts=(-1.0, 0.5))
    generator = torch.Generator().manual_seed(7)
    points = torch.rand(300, 2, dtype=torch.float64, generator=generator) - 0.5
    encoders = model.gain.unsqueeze(-1) * 300 * model.encoders
    rates = model.neuron.rate(points @ encoders.mT + model.bias.unsqueeze(1) * 300)
    error = rates @ model.decoders / 300 - wanted(points)
    assert error.square().mean().sqrt() < 0.05


@pytest.mark.parametrize("trained", [(), ("encoders",), ("decoders", "bias"), ("encoders", "gain", "bias", "decoders")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_what_is_trained_is_a_parameter(trained, dtype):
    model = make(trained=trained, dimensions=1).to(dtype).train()
    assert {name for name, _ in model.named_parameters() if "." not in name} == set(trained)
    x = torch.cat([features(), features(seed=1), features(seed=2)]).to(dtype)
    model(x)[0].square().sum().backward()
    for name in trained:
        assert getattr(model, name).grad.any()
    assert set(model.state_dict()) >= {"encoders", "gain", "bias", "decoders"}


@pytest.mark.parametrize("neuron", ["izhikevich", "plif", "lif", "if", "poisson_spiking"])
def test_any_neuron_that_can_be_tuned_stands_for_a_value(neuron):
    """Decoded over a long time; rates of 100 to 150, which each of them reaches."""
    gradient = "surrogate" if neuron in ("izhikevich", "plif") else "spike_aware"
    options = {"max_rates": (100.0, 150.0), "n_neurons": 60, "tau_input": None, "gradient": gradient}
    model = make(neuron={"type": neuron}, **options)
    model.input_kernel.weight.data.zero_()[:, 0] = torch.linspace(-0.8, 0.8, 7)
    model.readout = torch.nn.Identity()
    x = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).expand(1, 3000, 4)
    with torch.no_grad():
        decoded = model(x)[0][0, 500:].mean(0)
    torch.testing.assert_close(decoded, torch.linspace(-0.8, 0.8, 7).double(), rtol=0, atol=0.12)


def test_a_value_or_a_weight_that_is_no_number_is_named():
    model = make().float()
    x = features(batch=9).float()
    x[2, 5] = torch.nan
    with pytest.raises(ValueError, match="value of ensemble 0 is nan at step 5 of clip 2"):
        model(x)
    for name in ("decoders", "bias"):
        getattr(model, name).data[3, 4] = torch.inf
        with pytest.raises(ValueError, match=rf"the {name} of neuron \(3, 4\) is inf"):
            model(features(batch=9).float())


@pytest.mark.parametrize("batch", [3, 9])
def test_a_current_that_overflows_is_named(batch):
    model, x = make().float(), features(batch=batch).float()
    x[1, 4] = 1e37
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match=r"current of neuron \(\d+, \d+\) is -?inf at step 4 of clip 1"),
    ):
        model(x)


def test_an_ensemble_is_named_by_its_own_number_where_they_go_through_in_parts(monkeypatch):
    model = make().float()
    model.input_kernel.weight.data[5] = torch.nan
    monkeypatch.setattr(ensemble_array, "FUSED_VALUES", 2 * 9 * 9)
    for batch in (9, 3):
        with pytest.raises(ValueError, match="value of ensemble 5 is nan"):
            model(features(batch=batch).float())


@pytest.mark.parametrize("batch", [3, 9])
def test_a_state_that_does_not_fit_is_refused_before_a_kernel_sees_it(batch):
    model, other = make().float(), make(neuron={"type": "lif"}).float()
    x = features(batch=batch).float()
    _, state = model(x)
    voltage = state.neurons.voltage
    for wrong, says in (
        (other(x)[1], "state.neurons is not one that this model returned"),
        (tuple(state), "state is not one that this model returned"),
        (state._replace(neurons=(voltage,)), "state.neurons is not one"),
        (state._replace(neurons=type(state.neurons)(voltage[:, :5])), "state.neurons.voltage must have shape"),
        (state._replace(neurons=type(state.neurons)(voltage.double())), "state.voltage must be torch.float32"),
        (state._replace(neurons=type(state.neurons)(voltage * torch.nan)), "state.voltage of neuron .* is nan"),
        (state._replace(spikes=state.spikes.unsqueeze(1)), "state.spikes must have shape"),
        (state._replace(filtered=None), "state.filtered"),
    ):
        with pytest.raises(ValueError, match=says):
            model(x, wrong)


def test_decoders_stand_for_any_function_that_is_given():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EnsembleArray(
            1, 2, n_ensembles=1, n_neurons=200, tau_input=None, max_rates=(800.0, 1000.0), function=torch.sin
        )
    model.input_kernel.weight.data.fill_(1.0)
    model.readout = torch.nn.Identity()
    with torch.no_grad():
        for value in (-0.7, 0.2, 0.9):
            decoded = model.eval()(torch.full((1, 2000, 1), value))[0][0].mean()
            assert float(decoded) == pytest.approx(math.sin(value), abs=0.02)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_rates": (400.0, 200.0)}, "max_rates"),
        ({"max_rates": (-1.0, 200.0)}, "max_rates"),
        ({"max_rates": (200.0, 1e39)}, "max_rates"),
        ({"neuron": {"type": "adaptive_lif", "tau_n": 0.0004}}, "tau_n: must be above dt"),
        ({"neuron": {"type": "adaptive_lif_rate", "tau_n": 0.0004}, "gradient": "rate"}, "tau_n: must be above dt"),
        (
            {"neuron": {"type": "izhikevich", "tau_recovery": 3.0}, "gradient": "surrogate"},
            "tau_recovery: must be below 2",
        ),
        ({"intercepts": (-1.0, 1.0)}, "intercepts"),
        ({"intercepts": (-2.0, 0.0)}, "intercepts"),
        ({"tau_input": 0.0}, "tau_input"),
        ({"n_neurons": 0}, "n_neurons"),
        ({"dimensions": 0}, "dimensions"),
        ({"function": "product"}, "dimensions of 2 or more"),
        ({"function": "cube"}, "function"),
        ({"trained": ("gains",)}, "trained"),
        ({"gradient": "exact"}, "gradient"),
        ({"neuron": {"type": "lif_"}}, "spiking_rectified_linear"),
        ({"neuron": {"type": "lif"}, "max_rates": (100.0, 1e5)}, "max_rates must be below 1 / tau_ref = 500"),
        ({"neuron": {"type": "lif"}, "max_rates": (0.1, 0.2)}, "max_rates must be at least 3"),
        ({"neuron": {"type": "if"}, "max_rates": (100.0, 1e5)}, "max_rates must be at most 1000"),
        ({"neuron": {"type": "izhikevich"}, "gradient": "rate"}, "izhikevich has no gradient mode 'rate'"),
        ({"neuron": {"type": "spiking_rectified_linear", "amplitude": 0.0}}, "amplitude"),
    ],
)
def test_settings_out_of_range_are_named(options, says):
    with pytest.raises(ConfigError, match=says):
        make(**options)


def test_solved_output_weights_are_the_regression_on_what_ensembles_stand_for():
    """At the minimum of the penalized likelihood its gradient is zero, here written out."""
    model = make(readout="logistic", readout_strength=2.0, n_ensembles=5)
    x, labels = features(12, 9, seed=3), torch.arange(12) % 3
    mask = torch.arange(9) < torch.tensor([9, 4] * 6).unsqueeze(1)
    model.prepare(torch.where(mask.unsqueeze(-1), x, float("nan")), mask, labels)
    means = []
    for clip, length in zip(x, mask.sum(1).tolist(), strict=True):
        value, total = torch.zeros(4, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
        for now in (clip[:length] - model.standardizer.mean) * model.standardizer.scale:
            value = value * 2.718281828459045**-0.2 + now * (1 - 2.718281828459045**-0.2)
            total = total + model.input_kernel.weight @ value
        means.append(total / length)
    seen = torch.stack(means).detach()
    logits = seen @ model.readout.weight.T + model.readout.bias
    error = logits.softmax(1) - torch.nn.functional.one_hot(labels, 3)
    slope = error.T @ seen + 2.0 * seen.var(0, correction=0).sum() * model.readout.weight
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-3)
    torch.testing.assert_close(error.sum(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-3)
    assert float(model.readout.weight.detach().abs().max()) > 0.01


def test_no_clips_give_no_logits():
    assert make()(features(batch=0))[0].shape == (0, 9, 3)


def test_spikes_of_either_sign_are_counted():
    options = {"neuron": {"type": "regular_spiking", "rate_function": "tanh"}, "max_rates": [100.0, 200.0]}
    model = make(**options).float()
    x = features(batch=8).float()  # so many as the fused kernel would take
    with torch.inference_mode():
        _, state = model(x)
        spikes, _ = model.neuron(drive_of(model, x))
    counts = spikes * model.neuron.dt
    assert bool((counts < 0).any())
    torch.testing.assert_close(state.spikes, counts.abs().sum((1, 2, 3)))


def drive_of(model: EnsembleArray, x: Tensor) -> Tensor:
    """Currents (B, T, E, N) of all neurons."""
    filtered, _ = model.synapse(x)
    return ensembles.drive(model.input_kernel(filtered), *model._scale())
