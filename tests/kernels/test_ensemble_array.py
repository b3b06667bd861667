import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snn_action.kernels import ensemble_array as fused
from snn_action.models import build_model, ensemble_array
from snn_action.neurons.surrogate import arctan, attach, pass_gradient

MODES = ("rate", "spike_aware", "surrogate")


def make(batch: int, steps: int, ensembles: int, neurons: int, seed: int = 0, dtype=torch.float32) -> list[Tensor]:
    """Values, gains, biases, decoders, voltages: dyadic, so that float32 rounds nothing before a threshold."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int, span: int, unit: int) -> Tensor:
        return torch.from_numpy(generator.integers(-span, span + 1, shape) / unit).to(dtype)

    values = draw(batch, steps, ensembles, span=64, unit=32)
    gain, bias = draw(ensembles, neurons, span=64, unit=64), draw(ensembles, neurons, span=32, unit=64)
    voltage = draw(batch, ensembles, neurons, span=31, unit=64).abs()
    return [values, gain, bias, draw(ensembles, neurons, span=64, unit=32), voltage]


def reference(values, gain, bias, decoders, voltage, mask=None, mode="spike_aware"):
    """Step by step in float64 with PyTorch's own gradients."""
    real = torch.ones(values.shape[:2], dtype=torch.bool) if mask is None else mask
    decoded, spikes = [], torch.zeros(len(values), dtype=values.dtype)
    for t in range(values.shape[1]):
        drive = (gain * values[:, t].unsqueeze(-1) + bias).relu() * real[:, t].view(-1, 1, 1)
        if mode == "rate":
            counts = drive
        elif mode == "spike_aware":
            full = voltage + drive.detach()
            counts = pass_gradient(full.floor(), drive)
            voltage = full - full.floor()
        else:
            full = voltage + drive
            distance = full - full.detach().round().clamp(min=1)
            counts = attach(full.detach().floor(), torch.where(real[:, t].view(-1, 1, 1), distance, 1e9), arctan)
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
def test_it_equals_a_step_by_step_reference_in_float64(mode, batch, steps, ensembles, neurons, masked):
    mask = torch.arange(steps) < torch.arange(batch).remainder(steps).add(1).unsqueeze(1) if masked else None
    results = []
    for function, dtype in ((fused.run, torch.float32), (reference, torch.float64)):
        *inputs, voltage = make(batch, steps, ensembles, neurons, dtype=dtype)
        leaves = [tensor.requires_grad_() for tensor in inputs]
        decoded, spikes, after = function(*leaves, voltage, mask=mask, mode=mode)
        weights = torch.linspace(-1, 1, decoded.numel(), dtype=dtype).view(decoded.shape)
        loss = (decoded * weights).sum() + (spikes * torch.linspace(0, 0.1, batch, dtype=dtype)).sum()
        results.append([decoded, spikes, after, *torch.autograd.grad(loss, leaves)])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-4)
    if mode != "rate":
        assert torch.equal(results[0][1].double(), results[1][1])  # not one spike more or less
        assert torch.equal(results[0][2].double(), results[1][2])


@given(batch=st.integers(8, 35), steps=st.integers(2, 9), cut=st.integers(1, 8), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_sequence_in_two_parts_is_the_whole(batch, steps, cut, seed):
    values, *weights, voltage = make(batch, steps, 3, 12, seed)
    cut = min(cut, steps - 1)
    whole = fused.run(values, *weights, voltage)
    first = fused.run(values[:, :cut], *weights, voltage)
    second = fused.run(values[:, cut:], *weights, first.voltage)
    assert torch.equal(torch.cat([first.decoded, second.decoded], 1), whole.decoded)
    assert torch.equal(second.voltage, whole.voltage)


@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_threads_or_on_how_memory_lies(threads):
    import numba

    values, *weights, voltage = make(20, 6, 7, 30)
    expected = fused.run(values, *weights, voltage)
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        result = fused.run(values.permute(2, 1, 0).contiguous().permute(2, 1, 0), *weights, voltage)
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))


def test_a_voltage_that_is_shared_by_all_clips_is_read_as_it_lies():
    values, *weights, voltage = make(20, 6, 7, 30)
    shared = voltage[:1].expand(20, 7, 30)
    result, expected = fused.run(values, *weights, shared), fused.run(values, *weights, shared.contiguous())
    assert torch.equal(result.decoded, expected.decoded)


def test_what_is_not_a_number_stays_so():
    values, *weights, voltage = make(8, 4, 2, 5)
    values[3, 1, 0] = torch.nan
    result = fused.run(values, *weights, voltage)
    assert result.decoded[3, 1:, 0].isnan().all()
    assert not result.decoded[[0, 1, 2, 4]].isnan().any()
    assert result.spikes.isnan().tolist() == [clip == 3 for clip in range(8)]


def test_what_does_not_fit_is_refused():
    values, gain, bias, decoders, voltage = make(8, 4, 2, 5)
    with pytest.raises(ValueError, match="float32"):
        fused.run(values.double(), gain, bias, decoders, voltage)
    with pytest.raises(ValueError, match="8 clips"):
        fused.run(values[:3], gain, bias, decoders, voltage[:3])
    with pytest.raises(ValueError, match="gain, bias and decoders"):
        fused.run(values, gain, bias, decoders[:, :3], voltage)
    with pytest.raises(ValueError, match="voltage"):
        fused.run(values, gain, bias, decoders, voltage[:4])


@pytest.mark.parametrize("gradient", MODES)
@pytest.mark.parametrize("train", [True, False])
def test_the_model_gives_with_it_what_it_gives_without(gradient, train, monkeypatch):
    x = torch.randn(9, 7, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(7) < torch.tensor([7, 2, 5, 7, 7, 1, 3, 4, 6]).unsqueeze(1)
    results = []
    for available in (True, False):
        monkeypatch.setattr(ensemble_array.fused, "is_available", lambda _, available=available: available)
        settings = {"type": "ensemble_array", "n_ensembles": 6, "n_neurons": 20, "gradient": gradient}
        model = build_model(settings, in_features=4, num_classes=3, seed=0).train(train)
        logits, state = model(x, mask=mask)
        (logits[mask].square().sum() + 0.01 * state.spikes.sum()).backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results.append((logits[mask], state.spikes, state.neurons.voltage, gradients))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-3)
