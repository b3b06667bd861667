"""Neurons and temporal models on a GPU against themselves on the CPU."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from snn_action.core import registry
from snn_action.core.errors import ConfigError
from snn_action.models import TemporalModel, build_model, find_spikes
from snn_action.snn.neurons.base import Neuron

if not torch.cuda.is_available():
    pytest.skip("PyTorch sees no GPU", allow_module_level=True)

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif state is not None:
        for part in state:
            yield from tensors(part)


def error(found: Tensor, wanted: Tensor, floor: float = 1e-6) -> float:
    """Norm of the difference, as a share of that of ``wanted``."""
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    return float((found - wanted).norm() / wanted.norm().clamp(min=floor))


NEURONS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name, _ in registry.items("neuron")] + [
    ("lif", {"surrogate": "sigmoid", "initial_voltage": "uniform", "amplitude": 0.5}),
    ("adaptive_lif", {"surrogate": "multi_gaussian", "tau_n": 0.02}),
    ("regular_spiking", {"rate_function": "tanh", "surrogate": "triangle"}),
    ("regular_spiking", {"rate_function": "sigmoid", "surrogate": "super_spike"}),
    ("if", {"reset": "hard"}),
    ("plif", {"reset": "soft"}),
    ("stochastic_spiking", {"base": {"type": "lif_rate"}}),
    ("poisson_spiking", {"base": {"type": "adaptive_lif_rate"}}),
]
TOLERANCE = {"izhikevich": 1e-3}  # its membrane blows rounding up before a spike


def build(name: str, extra: dict[str, Any], mode: str | None = None) -> Neuron:
    neuron: Neuron = registry.parse("neuron", {"type": name, **extra}).build(mode)
    return neuron


NEURON_CASES = [(name, extra, mode) for name, extra in NEURONS for mode in build(name, extra).gradients]


def drive(neuron: Neuron, n: int, batch: int = 3, steps: int = 12) -> Tensor:
    """Currents with which about half of the neurons fire."""
    generator = torch.Generator().manual_seed(0)
    try:
        gain, bias = neuron.gain_bias(torch.full((n,), 150.0), torch.linspace(-0.9, 0.5, n))
    except ConfigError:
        gain, bias = torch.full((n,), 3.0), torch.zeros(n)
    values = 2 + torch.randn(batch, 1, n, generator=generator) + 0.3 * torch.randn(batch, steps, n, generator=generator)
    return gain * values + bias


def run_neuron(
    neuron: Neuron, current: Tensor, mask: Tensor | None, device: torch.device
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Output, states after it, and gradients of the current and of parameters."""
    neuron.to(device)
    current = current.detach().to(device).requires_grad_()
    torch.manual_seed(0)  # what random neurons draw for a clip in training
    output, state = neuron(current, mask=None if mask is None else mask.to(device))
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape).to(device)
    return (
        output.detach(),
        [tensor.detach() for tensor in tensors(state)],
        list(torch.autograd.grad((output * weights).sum(), [current, *neuron.parameters()])),
    )


@pytest.mark.parametrize(("name", "extra", "mode"), NEURON_CASES)
@pytest.mark.parametrize(("n", "kind"), [(6, "whole"), (300, "padded"), (130, "holes")])
def test_a_neuron_on_the_gpu_is_that_on_the_cpu(name, extra, mode, n, kind):
    """Where rounding moves no spike: that may happen to few neurons."""
    neuron = build(name, extra, mode).train()
    current = drive(neuron, n)
    mask = None if kind == "whole" else torch.arange(12) < torch.tensor([12, 5, 9]).unsqueeze(1)
    if kind == "holes":
        mask[:, 3] = False
    wanted, states, grads = run_neuron(neuron, current, mask, CPU)
    found, other_states, other_grads = run_neuron(neuron, current, mask, GPU)
    assert {tensor.device.type for tensor in (found, *other_states, *other_grads)} == {"cuda"}
    assert wanted.any()
    same = torch.isclose(found.cpu(), wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())).all(1)
    assert same.double().mean() > 0.99
    tolerance, own = TOLERANCE.get(name, 1e-4), same.unsqueeze(1)
    assert error(found.cpu() * own, wanted * own) < tolerance
    assert error(other_grads[0].cpu() * own, grads[0] * own) < tolerance
    for other, grad in zip(other_grads[1:], grads[1:], strict=True):
        assert error(other, grad) < (tolerance if same.all() else 0.02)
    for other, state in zip(other_states, states, strict=True):
        own = same if state.shape == same.shape else same.unsqueeze(1)
        assert error(other.cpu() * own, state * own) < tolerance


@pytest.mark.parametrize(("name", "extra", "mode"), NEURON_CASES)
def test_a_neuron_in_evaluation_and_step_by_step(name, extra, mode):
    neuron = build(name, extra, mode).eval()
    current = drive(neuron, 50)
    with torch.no_grad():
        wanted, _ = neuron(current)
        neuron.to(GPU)
        found, _ = neuron(current.to(GPU))
        state, steps = None, []
        for now in current.to(GPU).unbind(1):
            output, state = neuron.step(now, state)
            steps.append(output)
    for other in (found, torch.stack(steps, 1)):
        same = torch.isclose(other.cpu(), wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())).all(1)
        assert same.double().mean() > 0.98


@pytest.mark.parametrize("name", ["stochastic_spiking", "poisson_spiking"])
def test_random_neurons_have_their_rate(name):
    neuron = build(name, {}).eval().to(GPU)
    spikes, _ = neuron(torch.full((1, 1000, 200), 150.0, device=GPU))
    assert abs(float(neuron.count(spikes).mean()) - 0.15) < 0.005


def test_fused_kernels_are_what_runs(monkeypatch):
    from snn_action.snn.fused.triton import launch

    called = []
    for name in ("neurons_forward", "neurons_backward", "array_forward", "array_backward"):
        kernel = getattr(launch, name)
        monkeypatch.setattr(
            launch, name, lambda *given, name=name, kernel=kernel: called.append(name) or kernel(*given)
        )
    neuron = build("lif", {}, "surrogate")
    run_neuron(neuron, drive(neuron, 6), None, GPU)
    run_model(make("ensemble_array", {}, torch.float32), torch.float32, GPU)
    assert set(called) == {"neurons_forward", "neurons_backward", "array_forward", "array_backward"}


FEATURES, CLASSES, BATCH, STEPS = 6, 4, 12, 7
LENGTHS = (7, 2, 5, 6) * 3
LABELS = torch.arange(BATCH) % CLASSES
# A field of any model's settings that has one of these names is set so: small, and without chance.
SMALL = {
    "units": 24,
    "readout_units": 7,
    "layers": 2,
    "order": 3,
    "theta": 5.0,
    "memory_d": 4,
    "n_ensembles": 6,
    "n_neurons": 5,
    "ensemble_neurons": 20,
    "dropout": 0.0,
}
OFTEN = {"max_rates": (400.0, 800.0)}  # enough spikes in a few steps
MODELS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name, _ in registry.items("model")] + [
    ("lmu", {"differences": 2, "normalize": True, "activation": "relu"}),
    ("lmu", {"hidden_to_memory": True, "memory_to_memory": True, "hidden_recurrence": True, "input_to_hidden": True}),
    ("lmu", {"trained": "matrices", "hidden_to_memory": True}),
    ("lmu", {"trained": "theta", "order": 8}),
    ("lmu", {"encoders": "on_off", "readout": "logistic"}),
    ("stacked_lmu", {"order": 64, "theta": 64.0}),
    ("stacked_lmu", {"trained": "theta", "normalize": True}),
    ("spiking_lmu", {**OFTEN, "gradient": "rate"}),
    ("spiking_lmu", {**OFTEN, "gradient": "spike_aware", "differences": 1}),
    ("spiking_lmu", {**OFTEN, "spiking_input": True, "spiking_memory": True, "input_to_hidden": True}),
    ("spiking_lmu", {**OFTEN, "encoders": "on_off", "readout": "logistic", "trained": "matrices"}),
    ("spiking_lmu", {"max_rates": (300.0, 450.0), "neuron": {"type": "lif", "initial_voltage": "uniform"}}),
    ("spiking_lmu", {**OFTEN, "gradient": "spike_aware", "neuron": {"type": "poisson_spiking"}}),
    ("spiking_lmu_2020", {"gradient": "surrogate"}),
    ("spiking_lmu_2020", {"gradient": "spike_aware", "tau": 0.004}),
    ("ensemble_array", {"gradient": "rate"}),
    ("ensemble_array", {"gradient": "surrogate", "neuron": {"type": "lif"}}),
    ("ensemble_array", {"gradient": "surrogate", "neuron": {"type": "plif"}, "tau_input": None}),
    ("ensemble_array", {"dimensions": 2, "function": "product"}),
    ("ensemble_array", {"readout": "logistic", "trained": ("decoders",)}),
]


def clips(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = 3 * torch.randn(BATCH, STEPS, FEATURES, generator=generator, dtype=torch.float64) + 1
    return features.to(dtype), torch.arange(STEPS) < torch.tensor(LENGTHS).unsqueeze(1)


def make(name: str, extra: dict[str, Any], dtype: torch.dtype, device: torch.device = CPU) -> TemporalModel:
    """A model that has seen its training clips on ``device``."""
    fields = registry.find_settings("model", name).model_fields
    settings = {"type": name, **{key: value for key, value in SMALL.items() if key in fields}, **extra}
    model = build_model(settings, in_features=FEATURES, num_classes=CLASSES, seed=3).to(dtype).to(device)
    seen = [tensor.to(device) for tensor in (*clips(dtype), LABELS)]
    model.prepare(*seen)
    if not model.trained_by_gradient:
        model.fit(*seen)
    return model.train()


def run_model(model: TemporalModel, dtype: torch.dtype, device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """Logits with and without mask and all states after them, and the gradients of input and parameters."""
    model.to(device)
    features, mask = (tensor.to(device) for tensor in clips(dtype))
    features.requires_grad_()
    torch.manual_seed(0)
    padded, state = model(features, mask=mask)
    spikes = [count / 1000 for count in find_spikes(state)]
    loss = sum((count.sum() for count in spikes), F.cross_entropy(padded[:, 0], LABELS.to(device)) + padded[mask].sum())
    grads = torch.autograd.grad(loss, [features, *model.parameters()])
    with torch.no_grad():
        model.eval()
        whole, after = model(features)
        model.train()
    return [padded * mask.unsqueeze(-1), whole, *tensors(state), *tensors(after)], list(grads)


def agree(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    floor = 1e-3 * max(float(tensor.detach().double().norm()) for tensor in wanted)
    for i, (other, tensor) in enumerate(zip(found, wanted, strict=True)):
        assert other.device.type == "cuda"
        assert other.dtype == tensor.dtype
        assert error(other, tensor, floor) < tolerance, i


@pytest.fixture(autouse=True)
def exact_cudnn() -> Iterator[None]:
    """cuDNN's LSTM in single precision, not in TF32, which PyTorch allows it."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.mark.parametrize(("name", "extra"), MODELS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_model_on_the_gpu_is_that_on_the_cpu(name, extra, dtype):
    """In float64 by PyTorch's operations, in float32 by kernels, where a spike may fall one step later."""
    model = make(name, extra, dtype)
    wanted, grads = run_model(model, dtype, CPU)
    found, other_grads = run_model(model, dtype, GPU)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-3
    agree(found, wanted, tolerance)
    agree(other_grads, grads, tolerance)


@pytest.mark.parametrize(("name", "extra"), MODELS)
def test_stepping_equals_forward_and_preparing_the_cpu(name, extra):
    model = make(name, extra, torch.float64, GPU).eval()
    features = clips(torch.float64)[0].to(GPU)
    logits, final = model(features)
    state = None
    for t in range(STEPS):
        step, state = model.step(features[:, t], state)
        torch.testing.assert_close(step, logits[:, t])
    for stepped, ended in zip(tensors(state), tensors(final), strict=True):
        torch.testing.assert_close(stepped, ended)
    on_cpu = make(name, extra, torch.float64).eval()
    assert error(logits, on_cpu(features.cpu())[0]) < 1e-4  # L-BFGS stops where it has come to
    if name == "lmu":
        last, _ = model.forward_last(features, mask=clips(torch.float64)[1].to(GPU))
        torch.testing.assert_close(last[0], logits[0, -1])


def test_a_model_is_drawn_from_its_seed_and_the_gpus_generator_untouched():
    torch.manual_seed(11)
    wanted = torch.rand(3, device=GPU)
    torch.manual_seed(11)
    build_model({"type": "lmu"}, in_features=FEATURES, num_classes=CLASSES, seed=5)
    assert torch.equal(torch.rand(3, device=GPU), wanted)


@pytest.mark.parametrize("gradient", ["rate", "spike_aware", "surrogate"])
def test_a_large_array_on_the_gpu_is_that_on_the_cpu(gradient):
    """A thousand ensembles of 50: of a hundred million neuron-steps a few spike one step later."""
    settings = {"type": "ensemble_array", "n_ensembles": 1000, "n_neurons": 50, "gradient": gradient}
    model = build_model(settings, in_features=64, num_classes=14, seed=0).train()
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(96, 25, 64, generator=generator), torch.arange(96) % 14
    results = []
    for device in (CPU, GPU):
        model.to(device)
        logits, state = model(x.to(device))
        loss = F.cross_entropy(logits[:, -1], labels.to(device)) + state.spikes.mean() / 50_000
        results.append((logits, state.spikes, *torch.autograd.grad(loss, list(model.parameters()))))
    tolerance = {"rate": 2e-3, "spike_aware": 1e-2, "surrogate": 3e-2}[gradient]  # of spikes at kinks and thresholds
    for i, (wanted, found) in enumerate(zip(*results, strict=True)):
        assert error(found, wanted) < (1e-4 if i == 1 else tolerance), i
