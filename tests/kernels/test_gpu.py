"""The Triton kernels in Triton's interpreter, on tiny shapes, against those of the CPU."""

import pytest
import torch

from snn_action import registry
from snn_action.kernels import ensemble_array, neurons
from snn_action.neurons.base import Neuron

NEURONS = {
    "spiking_rectified_linear": {},
    "lif": {"surrogate": "sigmoid"},
    "adaptive_lif": {"surrogate": "multi_gaussian", "tau_n": 0.02},
    "izhikevich": {"surrogate": "super_spike"},
    "regular_spiking": {"rate_function": "tanh", "tau_ref": 0.00237, "surrogate": "triangle"},
    "if": {"reset": "hard"},
    "plif": {"reset": "soft"},
    "soft_lif_rate": {},
}


@pytest.fixture
def gpu(monkeypatch):
    """The module, with a block so small that there are several and the last is not full."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from snn_action.kernels import gpu

    monkeypatch.setattr(gpu, "BLOCK", 4)
    gpu._load.cache_clear()
    return gpu


def build(name: str) -> Neuron:
    parsed = registry.parse("neuron", {"type": name, **NEURONS[name]})
    neuron: Neuron = registry.load_item("neuron", name).build(parsed)
    return type(neuron)(parsed, neuron.gradients[-1])


def close(got, expected) -> None:
    error = (got - expected).norm() / expected.norm().clamp(min=1e-6)
    assert error < 1e-4, (error, got, expected)


@pytest.mark.parametrize("name", NEURONS)
def test_neurons_over_time_are_those_of_the_cpu(name, gpu, monkeypatch):
    neuron = build(name)
    generator = torch.Generator().manual_seed(0)
    gain, bias = neuron.gain_bias(torch.full((6,), 150.0), torch.linspace(-0.9, 0.5, 6))
    current = (gain * torch.randn(3, 12, 6, generator=generator) + bias).requires_grad_()
    lengths = torch.tensor([12, 5, 9])
    equations = neuron.equations("output")
    start = neuron.initial_state(3, (6,), current.device, current.dtype)
    leaves = [(tensor + 0.01 * torch.rand(3, 6, generator=generator)).requires_grad_() for tensor in start]
    own = tuple(neuron.parameters())
    output, after = neurons.run(current, tuple(leaves), equations, own, lengths)
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    loss = (output * weights).sum() + sum(tensor.sum() for tensor in after)
    found = torch.autograd.grad(loss, [current, *leaves, *own])

    states = torch.stack(leaves).detach() if leaves else current.new_empty(0, 3, 6)
    params = torch.stack([p.detach() for p in own]) if own else current.new_empty(0)
    given = equations, current.detach(), lengths, states, params
    spikes, ended = gpu.neurons_forward(*given)
    close(spikes, output.detach())
    for i, tensor in enumerate(after):
        close(ended[i], tensor.detach())
    monkeypatch.setattr(gpu, "SCRATCH", 2 * 12 * 6 * max(1, len(leaves)))  # two clips, then one
    grads = gpu.neurons_backward(*given, weights, torch.ones_like(states))
    close(grads[0], found[0])
    for i in range(len(leaves)):
        close(grads[1][i], found[1 + i])
    for i in range(len(own)):
        close(grads[2][i], found[1 + len(leaves) + i])


@pytest.mark.parametrize("name", ["lif", "plif", "spiking_rectified_linear"])
@pytest.mark.parametrize(("masked", "shared"), [(True, True), (False, False)])
def test_an_array_is_that_of_the_cpu(name, masked, shared, gpu):
    neuron = build(name)
    generator = torch.Generator().manual_seed(1)
    gain, bias = neuron.gain_bias(torch.full((2, 5), 150.0), torch.rand(2, 5, generator=generator) - 0.5)
    values, decoders = (torch.randn(*shape, generator=generator) for shape in ((9, 7, 2), (2, 5)))
    start = list(neuron.initial_state(9, (2, 5), values.device, values.dtype))
    if not shared:
        start = [tensor + 0.1 * torch.rand(9, 2, 5, generator=generator) for tensor in start]
    mask = torch.arange(7) < torch.tensor([7, 2, 5, 7, 7, 1, 3, 4, 6]).unsqueeze(1) if masked else None
    own = tuple(p.detach() for p in neuron.parameters())
    equations = neuron.equations("count")
    expected = ensemble_array.run(
        values, gain, bias.float(), decoders, tuple(start), equations, None, own, mask, "surrogate"
    )
    before = torch.stack([tensor[: 1 if shared else 9].permute(1, 2, 0) for tensor in start]).contiguous()
    real = mask.T.float().contiguous() if masked else values.new_empty(0, 0)
    params = torch.stack(own) if own else values.new_empty(0)
    x = values.permute(2, 1, 0).contiguous()
    decoded, counts, after = gpu.array_forward(
        equations, x, (gain, bias.float().contiguous(), decoders), before, real, params
    )
    close(decoded.permute(2, 1, 0), expected.decoded)
    assert torch.equal(counts.sum(0), expected.spikes)
    for got, wanted in zip(after, expected.states, strict=True):
        close(got.permute(2, 0, 1), wanted)
