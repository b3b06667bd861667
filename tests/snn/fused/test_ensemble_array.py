import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snn_action.core import registry
from snn_action.models import build_model, ensemble_array
from snn_action.snn.fused import ensemble_array as fused
from snn_action.snn.neurons.base import Neuron
from snn_action.snn.neurons.surrogate import arctan, attach, pass_gradient

SEED = 1  # with which no voltage meets its threshold so nearly that float32 decides otherwise
MODES = ("rate", "spike_aware", "surrogate")
NEURONS = {  # with and without states, parameters and a rate; a long program, and one with each mathematical function
    "spiking_rectified_linear": {},
    "lif": {"surrogate": "sigmoid"},
    "adaptive_lif": {"surrogate": "multi_gaussian", "tau_n": 0.02},
    "izhikevich": {},
    "regular_spiking": {"rate_function": "tanh", "surrogate": "triangle", "tau_ref": 0.00237},
    "if": {"surrogate": "super_spike", "reset": "hard"},
    "plif": {"reset": "soft"},
    "soft_lif_rate": {},
}


def build(name: str, mode: str | None = None) -> Neuron:
    parsed = registry.parse("neuron", {"type": name, **NEURONS[name]})
    neuron: Neuron = parsed.build(mode)
    return neuron


CASES = [(name, mode) for name in NEURONS for mode in build(name).gradients]


def make(neuron: Neuron, batch: int, steps: int, ensembles: int, neurons: int, seed: int = 0) -> list[Tensor]:
    """Values, gains, biases, decoders; neurons near and above their threshold."""
    generator = torch.Generator().manual_seed(seed)
    gain, bias = neuron.gain_bias(
        200 + 150 * torch.rand(ensembles, neurons, generator=generator),
        1.8 * torch.rand(ensembles, neurons, generator=generator) - 0.9,
    )
    values = torch.randn(batch, steps, ensembles, generator=generator)
    return [values, gain, bias.float(), torch.randn(ensembles, neurons, generator=generator)]


def run_fused(neuron: Neuron, inputs: list[Tensor], mask: Tensor | None, mode: str):
    values, *weights = inputs
    state = neuron.initial_state(len(values), weights[0].shape, values.device, values.dtype)
    rates = neuron.equations("rate_count") if mode in type(neuron).gradients and mode != "surrogate" else None
    own = tuple(neuron.parameters())
    counts = neuron.equations("count")
    result = fused.run(values, *weights, tuple(state), counts, rates, own, mask, mode)
    return result.decoded, result.spikes, *result.states


def run_reference(neuron: Neuron, inputs: list[Tensor], mask: Tensor | None):
    """The neuron's own steps in float64, with PyTorch's own gradients."""
    values, gain, bias, decoders = inputs
    spikes, state = neuron.train()(gain * values.unsqueeze(-1) + bias, mask=mask)
    counts = neuron.count(spikes)
    return (counts * decoders).sum(-1), counts.sum((1, 2, 3)), *state


@pytest.mark.parametrize(("name", "mode"), CASES)
@pytest.mark.parametrize(
    ("batch", "steps", "ensembles", "neurons", "masked"),
    [(8, 1, 1, 1, False), (17, 6, 2, 7, True), (40, 9, 3, 23, False), (32, 12, 4, 10, True)],
)
def test_it_equals_a_step_by_step_reference_in_float64(name, mode, batch, steps, ensembles, neurons, masked):
    mask = torch.arange(steps) < torch.arange(batch).remainder(steps).add(1).unsqueeze(1) if masked else None
    kind = mode if build(name).spiking else "surrogate"
    results = []
    for dtype in (torch.float32, torch.float64):
        neuron = build(name, mode).to(dtype)
        inputs = [tensor.to(dtype).requires_grad_() for tensor in make(neuron, batch, steps, ensembles, neurons, SEED)]
        made = run_fused(neuron, inputs, mask, kind) if dtype == torch.float32 else run_reference(neuron, inputs, mask)
        weights = torch.linspace(-1, 1, made[0].numel(), dtype=dtype).view(made[0].shape)
        loss = (made[0] * weights).sum() + (made[1] * torch.linspace(0, 0.1, batch, dtype=dtype)).sum()
        found = torch.autograd.grad(loss, [*inputs, *neuron.parameters()])
        results.append([tensor.detach() for tensor in (*made, *found)])
    for got, expected in zip(*results, strict=True):
        error = (got.double() - expected).norm() / expected.norm().clamp(min=1e-6)
        assert error < 1e-4, (error, got, expected)
    if kind != "rate":
        assert torch.equal(results[0][1].round().double(), results[1][1].round())  # not one spike more or less


DT = 2.0**-10


def make_dyadic(batch: int, steps: int, ensembles: int, neurons: int, dtype: torch.dtype) -> list[Tensor]:
    """Values, gains and biases in units of 1 / DT, decoders, voltages: float32 holds all that comes of them exactly."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, span: int, unit: int) -> Tensor:
        return (torch.randint(-span, span + 1, shape, generator=generator) / unit).to(dtype)

    values = draw(batch, steps, ensembles, span=64, unit=32)
    gain, bias = draw(ensembles, neurons, span=64, unit=64), draw(ensembles, neurons, span=32, unit=64)
    voltage = draw(batch, ensembles, neurons, span=31, unit=64).abs()
    return [values, gain, bias, draw(ensembles, neurons, span=64, unit=32), voltage]


def follow_rectified_linear(values, gain, bias, decoders, voltage, mask, mode):
    """By hand, step by step, with PyTorch's own gradients."""
    mask = torch.ones(values.shape[:2], dtype=torch.bool) if mask is None else mask
    decoded, spikes = [], torch.zeros(len(values), dtype=values.dtype)
    for t in range(values.shape[1]):
        awake = mask[:, t].view(-1, 1, 1)
        drive = (gain * values[:, t].unsqueeze(-1) + bias).relu() * awake
        full = voltage + drive
        if mode == "rate":
            counts = drive
        elif mode == "spike_aware":
            counts = pass_gradient(full.detach().floor(), drive)
            voltage = full.detach() - counts.detach()
        else:
            distance = full - full.detach().round().clamp(min=1)
            counts = attach(full.detach().floor(), torch.where(awake, distance, 1e9), arctan)
            voltage = full - counts
        decoded.append((counts * decoders).sum(-1))
        spikes = spikes + counts.sum((1, 2))
    return torch.stack(decoded, 1), spikes, voltage.detach()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("batch", "steps", "ensembles", "neurons"),
    [(8, 1, 1, 1), (16, 5, 3, 10), (17, 6, 2, 7), (40, 3, 5, 23), (9, 12, 4, 50)],
)
@pytest.mark.parametrize("masked", [False, True])
def test_spikes_and_voltages_are_exact_where_float32_is(mode, batch, steps, ensembles, neurons, masked):
    mask = torch.arange(steps) < torch.arange(batch).remainder(steps).add(1).unsqueeze(1) if masked else None
    neuron = registry.parse("neuron", {"type": "spiking_rectified_linear", "dt": DT}).build()
    rates = None if mode == "surrogate" else neuron.equations("rate_count")
    results = []
    for dtype in (torch.float32, torch.float64):
        *inputs, voltage = make_dyadic(batch, steps, ensembles, neurons, dtype)
        values, gain, bias, decoders = leaves = [tensor.requires_grad_() for tensor in inputs]
        if dtype == torch.float32:
            given = values, gain / DT, bias / DT, decoders, (voltage,), neuron.equations("count"), rates, (), mask, mode
            decoded, spikes, (after,) = fused.run(*given)
        else:
            decoded, spikes, after = follow_rectified_linear(*leaves, voltage, mask, mode)
        weights = torch.linspace(-1, 1, decoded.numel(), dtype=dtype).view(decoded.shape)
        loss = (decoded * weights).sum() + (spikes * torch.linspace(0, 0.1, batch, dtype=dtype)).sum()
        results.append([decoded, spikes, after, *torch.autograd.grad(loss, leaves)])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-4)
    for got, expected in list(zip(*results, strict=True))[:3]:  # not one spike more or less
        assert torch.equal(got.double(), expected)


@given(batch=st.integers(8, 35), steps=st.integers(2, 9), cut=st.integers(1, 8), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_sequence_in_two_parts_is_the_whole(batch, steps, cut, seed):
    neuron = build("lif")
    values, *weights = make(neuron, batch, steps, 3, 12, seed)
    counts, cut = neuron.equations("count"), min(cut, steps - 1)
    start = tuple(neuron.initial_state(batch, (3, 12), values.device, values.dtype))
    whole = fused.run(values, *weights, start, counts, mode="surrogate")
    first = fused.run(values[:, :cut], *weights, start, counts, mode="surrogate")
    second = fused.run(values[:, cut:], *weights, first.states, counts, mode="surrogate")
    assert torch.equal(torch.cat([first.decoded, second.decoded], 1), whole.decoded)
    for ended, expected in zip(second.states, whole.states, strict=True):
        assert torch.equal(ended, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_threads_or_on_how_memory_lies(threads):
    import numba

    neuron = build("spiking_rectified_linear")
    values, *weights = make(neuron, 20, 6, 7, 33)
    expected = run_fused(neuron, [values, *weights], None, "spike_aware")
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        laid = values.permute(2, 1, 0).contiguous().permute(2, 1, 0)
        result = run_fused(neuron, [laid, *weights], None, "spike_aware")
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))


def test_a_voltage_that_is_shared_by_all_clips_is_read_as_it_lies():
    neuron = build("spiking_rectified_linear")
    values, *weights = make(neuron, 20, 6, 7, 30)
    shared = torch.rand(1, 7, 30).expand(20, 7, 30)
    counts = neuron.equations("count")
    result, expected = (
        fused.run(values, *weights, (state,), counts, mode="surrogate") for state in (shared, shared.contiguous())
    )
    assert torch.equal(result.decoded, expected.decoded)


def test_the_backward_pass_does_not_keep_the_states():
    """Of many ensembles they are as large as all that it needs."""
    neuron = build("spiking_rectified_linear", "surrogate")
    values, *weights = make(neuron, 8, 5, 2, 3)[:4]
    (start,) = neuron.initial_state(8, (2, 3), values.device, torch.float32)
    out = torch.empty(1, 2, 3, 8)
    kept = weakref.ref(out.untyped_storage())
    decoded = fused.run(
        *(values.float().requires_grad_(), *(weight.float() for weight in weights), (start,)),
        neuron.equations("count"),
        mode="surrogate",
        out=out,
    ).decoded
    del out
    gc.collect()
    assert decoded.requires_grad
    assert kept() is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("batch", "shared"), [(16, True), (37, False), (32, False), (9, True)])
def test_all_is_the_same_where_states_are_not_kept(mode, batch, shared):
    neuron = build("lif", mode)
    inputs = [tensor.float().requires_grad_() for tensor in make(neuron, batch, 6, 3, 5)]
    drawn = 0.9 * torch.rand(1 if shared else batch, 3, 5, generator=torch.Generator().manual_seed(4))
    before = neuron.initial_state(batch, (3, 5), drawn.device, drawn.dtype)
    before = before._replace(**{before._fields[0]: drawn.expand(batch, 3, 5)})
    mask = torch.arange(6) < torch.arange(batch).remainder(6).add(1).unsqueeze(1)
    rates = None if mode == "surrogate" else neuron.equations("rate_count")

    def run(keep_states: bool):
        result = fused.run(
            *inputs, tuple(before), neuron.equations("count"), rates, (), mask, mode, keep_states=keep_states
        )
        return result, torch.autograd.grad((result.decoded * result.decoded.detach().cos()).sum(), inputs)

    (kept, of_kept), (left, of_left) = run(True), run(False)
    assert len(kept.states) == len(before)
    assert left.states == ()
    assert kept.decoded.any()
    for a, b in zip((kept.decoded, kept.spikes, *of_kept), (left.decoded, left.spikes, *of_left), strict=True):
        assert torch.equal(a, b)


def test_what_is_not_a_number_stays_so():
    neuron = build("spiking_rectified_linear")
    values, *weights = make(neuron, 8, 4, 2, 5)
    values[3, 1, 0] = torch.nan
    decoded, spikes, _ = run_fused(neuron, [values, *weights], None, "spike_aware")
    assert decoded[3, 1:, 0].isnan().all()
    assert not decoded[[0, 1, 2, 4]].isnan().any()
    assert spikes.isnan().tolist() == [clip == 3 for clip in range(8)]


def test_what_does_not_fit_is_refused():
    neuron = build("spiking_rectified_linear")
    values, gain, bias, decoders = make(neuron, 8, 4, 2, 5)
    counts, voltage = neuron.equations("count"), torch.zeros(8, 2, 5)
    with pytest.raises(ValueError, match="float32"):
        fused.run(values.double(), gain, bias, decoders, (voltage,), counts)
    with pytest.raises(ValueError, match="8 clips"):
        fused.run(values[:3], gain, bias, decoders, (voltage[:3],), counts)
    with pytest.raises(ValueError, match="gain, bias and decoders"):
        fused.run(values, gain, bias, decoders[:, :3], (voltage,), counts)
    with pytest.raises(ValueError, match="state"):
        fused.run(values, gain, bias, decoders, (voltage[:4],), counts)
    with pytest.raises(ValueError, match="1 states and 0 parameters"):
        fused.run(values, gain, bias, decoders, (voltage, voltage), counts)
    with pytest.raises(ValueError, match="1 states and 0 parameters"):
        fused.run(values, gain, bias, decoders, (voltage,), counts, parameters=(torch.ones(()),))
    with pytest.raises(ValueError, match="a state must be float32"):
        fused.run(values, gain, bias, decoders, (voltage.double(),), counts)
    with pytest.raises(ValueError, match="mask must have shape"):
        fused.run(values, gain, bias, decoders, (voltage,), counts, mask=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="needs the neuron's rate"):
        fused.run(values, gain, bias, decoders, (voltage,), counts, mode="rate")


@pytest.mark.parametrize("gradient", MODES)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", ["spiking_rectified_linear", "adaptive_lif"])
def test_the_model_gives_with_it_what_it_gives_without(name, gradient, train, monkeypatch):
    x = torch.randn(9, 7, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(7) < torch.tensor([7, 2, 5, 7, 7, 1, 3, 4, 6]).unsqueeze(1)
    results = []
    for available in (True, False):
        monkeypatch.setattr(ensemble_array.fused, "is_available", lambda _, available=available: available)
        settings = {"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 20, "gradient": gradient}
        settings["neuron"] = {"type": name, **NEURONS[name]}
        model = build_model(settings, in_features=4, num_classes=3, seed=0).train(train)
        logits, state = model(x, mask=mask)
        (logits[mask].square().sum() + 0.01 * state.spikes.sum()).backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results.append((logits[mask], state.spikes, tuple(state.neurons), gradients))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-3)


def test_a_state_that_was_not_kept_cannot_be_gone_on_from():
    model = build_model({"type": "ensemble_array", "n_ensembles": 3, "n_neurons": 4}, in_features=2, num_classes=2)
    _, state = model(torch.zeros(8, 3, 2), keep_state=False)
    assert state.neurons is None
    with pytest.raises(ValueError, match="keep_state=False"):
        model(torch.zeros(8, 3, 2), state)
