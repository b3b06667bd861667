"""The Triton kernels on a GPU, or in Triton's interpreter, against the CPU's and PyTorch's own operations."""

import os
import subprocess
import sys

import pytest
import torch

from snn_action.core import registry
from snn_action.snn.fused import neurons
from snn_action.snn.fused.inputs import ArrayInputs, NeuronInputs
from snn_action.snn.neurons.base import Neuron

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

# By how much first states differ: voltages so that some neurons are about to fire, others (refractory times) less.
SPREAD = (0.9, 0.002, 0.002)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# Numpy, which interprets, warns of branches that `where` does not take; the GPU computes both as well, silently.
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning")


@pytest.fixture
def gpu(monkeypatch):
    """The module, with a block so small that there are several and the last is not full."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from snn_action.snn.fused.triton import launch as gpu

    monkeypatch.setattr(gpu, "BLOCK", 4)
    monkeypatch.setattr(gpu, "TILE", 32)
    gpu._load.cache_clear()
    return gpu


def build(name: str, mode: str | None = None) -> Neuron:
    """A neuron in that mode, or in the last that it has."""
    parsed = registry.parse("neuron", {"type": name, **NEURONS[name]})
    neuron: Neuron = parsed.build(mode or parsed.build().gradients[-1])
    return neuron


def move(*values):
    """To where the kernels run."""
    return tuple(v.to(DEVICE) if isinstance(v, torch.Tensor) else move(*v) if type(v) is tuple else v for v in values)


def close(got, expected) -> None:
    error = (got.double().cpu() - expected).norm() / expected.norm().clamp(min=1e-6)
    assert error < 1e-4, (error, got, expected)


@pytest.mark.parametrize("name", NEURONS)
def test_neurons_over_time_are_those_of_the_cpu(name, gpu, monkeypatch):
    neuron = build(name)
    generator = torch.Generator().manual_seed(0)
    gain, bias = neuron.gain_bias(torch.full((6,), 150.0), torch.linspace(-0.9, 0.5, 6))
    current = (gain * torch.randn(3, 8, 6, generator=generator) + bias).requires_grad_()
    lengths = torch.tensor([8, 3, 6])
    equations = neuron.equations("output")
    start = neuron.initial_state(3, (6,), current.device, current.dtype)
    noise = torch.rand(3, 6, generator=generator)
    leaves = [(tensor + part * noise).requires_grad_() for tensor, part in zip(start, SPREAD, strict=False)]
    own = tuple(neuron.parameters())
    output, after = neurons.run(current, tuple(leaves), equations, own, lengths)
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    loss = (output * weights).sum() + sum(tensor.sum() for tensor in after)
    found = torch.autograd.grad(loss, [current, *leaves, *own])

    states = torch.stack(leaves).detach() if leaves else current.new_empty(0, 3, 6)
    params = torch.stack([p.detach() for p in own]) if own else current.new_empty(0)
    given = NeuronInputs(*move(current.detach(), lengths, states, params))
    spikes, ended = gpu.neurons_forward(equations, given)
    assert output.any()
    close(spikes, output.detach())
    for i, tensor in enumerate(after):
        close(ended[i], tensor.detach())
    monkeypatch.setattr(gpu, "SCRATCH", 2 * 8 * 6 * max(1, len(leaves)))  # two clips, then one
    grads = gpu.neurons_backward(equations, given, *move(weights, torch.ones_like(states)))
    close(grads[0], found[0])
    for i in range(len(leaves)):
        close(grads[1][i], found[1 + i])
    for i in range(len(own)):
        close(grads[2][i], found[1 + len(leaves) + i])


ITERATED = ("adaptive_lif", "rate")  # a rate by iteration: the interpreter takes long for one
CASES = [
    (name, mode, masked, shared)
    for name in NEURONS
    for mode in type(build(name)).gradients
    for masked, shared in [(True, True), (False, False)]
    if masked or (name, mode) != ITERATED
]


@pytest.mark.parametrize(("name", "mode", "masked", "shared"), CASES)
def test_an_array_and_its_gradients_are_those_of_the_neurons_own_steps(name, mode, masked, shared, gpu, monkeypatch):
    """PyTorch's own, in float64; six clips are a block and half of one."""
    generator = torch.Generator().manual_seed(1)
    gain, bias = build(name).gain_bias(torch.full((2, 5), 300.0), torch.rand(2, 5, generator=generator) - 0.5)
    steps = 3 if (name, mode) == ITERATED else 5
    values, decoders = (torch.randn(*shape, generator=generator) for shape in ((6, steps, 2), (2, 5)))
    weights = torch.randn(6, steps, 2, generator=generator)
    mask = torch.arange(steps) < torch.tensor([5, 2, 4, 1, 5, 3]).unsqueeze(1) if masked else None
    noise = torch.rand(1 if shared else 6, 2, 5, generator=generator)
    grad_spike = torch.linspace(0, 0.1, 6)

    neuron = build(name, mode).double().train()
    leaves = [tensor.double().requires_grad_() for tensor in (values, gain, bias, decoders)]
    start = neuron.initial_state(6, (2, 5), values.device, torch.float64)
    start = type(start)(*((tensor + part * noise).double() for tensor, part in zip(start, SPREAD, strict=False)))
    spikes, after = neuron(leaves[1] * leaves[0].unsqueeze(-1) + leaves[2], start, mask)
    counts = neuron.count(spikes)
    assert counts.any()
    decoded, total = (counts * leaves[3]).sum(-1), counts.sum((1, 2, 3))
    found = torch.autograd.grad((decoded * weights).sum() + (total * grad_spike).sum(), [*leaves, *neuron.parameters()])

    neuron = build(name)
    through_time = mode == "surrogate" or not neuron.spiking
    rates = None if through_time else neuron.equations("rate_count")
    equations = rates if mode == "rate" and rates else neuron.equations("count")
    own = [parameter.detach() for parameter in neuron.parameters()]
    states = [tensor[: 1 if shared else 6].permute(1, 2, 0).float() for tensor in start[: equations.states]]
    tensors = move(
        *(values.permute(2, 1, 0).contiguous(), gain, bias.float().contiguous(), decoders),
        torch.stack(states).contiguous() if states else values.new_empty(0, 2, 5, 1),
        mask.T.float().contiguous() if masked else values.new_empty(0, 0),
        torch.stack(own) if own else values.new_empty(0),
    )
    given = ArrayInputs(*tensors)
    made, counts, ended = gpu.array_forward(equations, given)
    close(made.permute(2, 1, 0), decoded.detach())
    close(counts.sum(0), total.detach())
    for got, wanted in zip(ended, after, strict=False):  # rates leave the state
        close(got.permute(2, 0, 1), wanted.detach())
    monkeypatch.setattr(gpu, "SCRATCH", 1)  # one ensemble after another
    grad_x, grad_weights, grad_params = gpu.array_backward(
        equations, rates, given, *move(weights.permute(2, 1, 0).contiguous(), grad_spike)
    )
    close(grad_x.permute(2, 1, 0), found[0])
    for got, wanted in zip((*grad_weights, *grad_params), found[1:], strict=True):
        close(got, wanted)


COMPILE = """
import warnings
warnings.simplefilter("ignore")
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from snn_action.core import registry
from snn_action.snn.fused.triton import launch as gpu

SIZES = {"E", "B", "T", "N", "first", "stride", "masked"}
TAKEN = {"params", "specialization", "options"}  # names of Triton's own in the function by which it launches a kernel


def compile(kernel, **constants):
    assert TAKEN.isdisjoint(kernel.arg_names), kernel.arg_names
    types = {name: "i32" if name in SIZES else "*i64" if name == "lengths" else "*fp32" for name in kernel.arg_names}
    types.update(dict.fromkeys(constants, "constexpr"))
    places = {(kernel.arg_names.index(name),): number for name, number in constants.items()}
    code = triton.compile(ASTSource(kernel, types, constexprs=places), target=GPUTarget("cuda", 80, 32))
    print(kernel.__name__, len(code.asm["cubin"]))


for name in ("lif", "plif"):
    neuron = registry.parse("neuron", {"type": name}).build()
    equations, tile = neuron.equations("count"), {"CLIPS": 8, "NEURONS": 64}
    alone = gpu._load(gpu.write_neurons, equations)
    array = [gpu._load(gpu.write_array, equations).array_forward, gpu._load(gpu.write_array, equations).array_backward]
    if "rate" in neuron.gradients:
        rates = neuron.equations("rate_count")
        array.append(gpu._load(gpu.write_array_of_rates, equations, rates).array_backward_of_rates)
    for kernel in (alone.neurons_forward, alone.neurons_backward):
        compile(kernel, BLOCK=gpu.BLOCK)
    for kernel in array:
        compile(kernel, **tile)
        if name == "lif":
            compile(kernel, **tile, stride=1, masked=1)  # as Triton does with numbers that are 1
"""


def test_kernels_become_machine_code_of_a_gpu(tmp_path):
    """Without a GPU they are compiled all the same, by a process that does not interpret them."""
    pytest.importorskip("triton", reason="Triton is not installed")
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env |= {"TRITON_CACHE_DIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sizes = dict(line.split() for line in done.stdout.splitlines())
    assert sizes.keys() == {
        *("neurons_forward", "neurons_backward"),
        *("array_forward", "array_backward", "array_backward_of_rates"),
    }
    assert all(int(size) > 1000 for size in sizes.values())
