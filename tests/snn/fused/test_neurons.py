import logging
import random
from typing import Literal

import pytest
import torch

from snn_action.core import registry
from snn_action.snn.fused import neurons as fused
from snn_action.snn.neurons import equations
from snn_action.snn.neurons.base import Neuron, NeuronSettings
from snn_action.snn.neurons.spiking import Voltage

SETTINGS = dict(registry.items("neuron"))
SURROGATES = ("arctan", "sigmoid", "triangle", "super_spike", "multi_gaussian")


def build(name: str, **settings) -> Neuron:
    parsed = registry.parse("neuron", {"type": name, **settings})
    neuron: Neuron = parsed.build()
    return type(neuron)(settings=parsed, gradient=neuron.gradients[-1])


def drive(neuron: Neuron, batch: int, steps: int, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    gain, bias = neuron.gain_bias(torch.full((n,), 150.0), torch.linspace(-0.9, 0.5, n))
    return gain * torch.randn(batch, steps, n, generator=generator) + bias


FUSED = [name for name in SETTINGS if build(name).equations("output") is not None]
CASES = [(name, {}) for name in FUSED] + [
    (name, {"surrogate": surrogate}) for name in ("lif", "spiking_rectified_linear", "if") for surrogate in SURROGATES
]


def test_every_neuron_with_a_loop_over_time_has_a_kernel():
    """Those without draw all steps at once, or are a convolution over time."""
    assert set(SETTINGS) - set(FUSED) == {"stochastic_spiking", "poisson_spiking", "sliding_psn"}


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize("n", [1, 37, 96])
def test_it_equals_the_neurons_own_steps_in_float64(name, settings, n):
    """Outputs, states and gradients of currents, states and parameters; clips of any length."""
    lengths = torch.tensor([30, 1, 17])
    mask = torch.arange(30) < lengths.unsqueeze(1)
    results = []
    for dtype in (torch.float32, torch.float64):
        neuron = build(name, **settings).to(dtype)
        current = drive(build(name, **settings), 3, 30, n).to(dtype).requires_grad_()
        start = neuron.initial_state(3, (n,), current.device, dtype)
        leaves = [tensor.clone().requires_grad_() for tensor in start]
        if dtype == torch.float32:
            own = tuple(neuron.parameters())
            output, after = fused.run(current, tuple(leaves), neuron.equations("output"), own, lengths)
        else:
            output, after = neuron(current, type(start)(*leaves), mask)
        loss = (output * torch.linspace(-1, 1, output.numel(), dtype=dtype).view(output.shape)).sum()
        loss = loss + sum((tensor * torch.linspace(0, 1, n, dtype=dtype)).sum() for tensor in after)
        gradients = torch.autograd.grad(loss, [current, *leaves, *neuron.parameters()], allow_unused=True)
        results.append((output, *after, *(torch.zeros(()) if g is None else g for g in gradients)))
    # On the way to a spike Izhikevich's membrane multiplies a difference by up to 8 a step (its module says why), so
    # the last bit of float32 becomes a thousandth of a state within a few steps. Its spikes agree all the same.
    allowed = 2e-3 if name == "izhikevich" else 1e-4
    for got, expected in zip(*results, strict=True):
        error = (got.double() - expected).norm() / expected.norm().clamp(min=1e-6)
        assert error < allowed, (error, got, expected)
    if neuron.spiking:
        spikes, expected = (neuron.count(result[0].detach()).round() for result in results)
        assert torch.equal(spikes.double(), expected)
        assert spikes.any()


@pytest.mark.parametrize("name", FUSED)
def test_a_module_takes_it_in_float32_and_steps_alike(name, monkeypatch):
    neuron = build(name)
    calls = []
    run = fused.run
    monkeypatch.setattr(fused, "run", lambda *arguments: calls.append(1) or run(*arguments))
    current = drive(neuron, 2, 12, 20)
    whole, _ = neuron(current)
    state = neuron.initial_state(2, (20,), current.device, current.dtype)
    for t, now in enumerate(current.unbind(1)):
        output, state = neuron.step(now, state)
        torch.testing.assert_close(output, whole[:, t])
    assert len(calls) == 13


def test_a_mask_with_a_hole_is_done_step_by_step():
    neuron = build("lif")
    current = drive(neuron, 2, 12, 20)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[0, 3:6] = False
    output, state = neuron(current, mask=mask)
    kept, expected = neuron(current[:1, [0, 1, 2, 6, 7, 8, 9, 10, 11]])
    torch.testing.assert_close(output[:1, mask[0]], kept)
    torch.testing.assert_close([tensor[:1] for tensor in state], list(expected))


def test_a_clip_without_a_step_keeps_its_state():
    neuron = build("lif")
    current = drive(neuron, 2, 5, 3) + 100
    mask = torch.tensor([[True] * 5, [False] * 5])
    output, state = neuron(current, mask=mask)
    assert output[0].any()
    assert not output[1].any()
    assert not state.voltage[1].any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_current_that_is_no_number_is_named(value):
    current = torch.zeros(2, 7, 5)
    current[1, 4, 3] = value
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match=r"the current of neuron 3 is (nan|inf) at step 4 of clip 1"):
            build("lif")(current.to(dtype))


def test_what_does_not_fit_is_refused():
    neuron = build("lif")
    current, equations = torch.zeros(2, 7, 5), neuron.equations("output")
    state = (torch.zeros(2, 5), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="float32"):
        fused.run(current.double(), state, equations)
    with pytest.raises(ValueError, match="a state must be"):
        fused.run(current, (state[0], torch.zeros(2, 4)), equations)
    with pytest.raises(ValueError, match="2 states and 0 parameters"):
        fused.run(current, state[:1], equations)
    with pytest.raises(ValueError, match=r"a state must be float32 on cpu, not torch.float64"):
        fused.run(current, (state[0], state[1].double()), equations)
    for lengths, says in (
        ([7, 8], "from 0 to 7"),
        ([-1, 7], "from 0 to 7"),
        ([7], "whole numbers"),
        ([7.0, 7.0], "whole"),
    ):
        with pytest.raises(ValueError, match=says):
            fused.run(current, state, equations, lengths=torch.tensor(lengths))


def test_what_is_traced_does_not_depend_on_the_default_type():
    neuron = build("lif", tau_rc=1e-5, tau_ref=0.003)
    torch.set_default_dtype(torch.float64)
    try:
        equations = neuron.equations("output")
    finally:
        torch.set_default_dtype(torch.float32)
    current = (3 * torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(0)) + 3).requires_grad_()
    state = neuron.initial_state(2, (5,), current.device, current.dtype)
    fused.run(current, tuple(state), equations)[0].sum().backward()
    assert bool(current.grad.isfinite().all())


def test_equations_may_be_asked_for_while_operations_are_counted():
    """A counter's hooks on modules see nothing of the tracing."""
    from torch.utils.flop_counter import FlopCounterMode

    equations._equations.clear()
    neuron = build("plif")
    current = torch.zeros(2, 7, 5, requires_grad=True)
    with FlopCounterMode(display=False):
        neuron(current)[0].sum().backward()


class ShapedSettings(NeuronSettings):
    """Of a neuron whose step a test chooses."""

    type: Literal["shaped"] = "shaped"


class Shaped(Neuron):
    """A membrane that adds up ``shape(current)``; a subclass a test, as a class is named once."""

    Settings = ShapedSettings
    gradients = ("surrogate",)

    def make_parts(self) -> None:
        self.scale = 2.0

    def shape(self, current):
        return self.scale * current

    def dynamics(self, current, state):
        voltage = state.voltage + self.shape(current)
        return voltage, Voltage(voltage)

    def initial_state(self, batch, shape, device, dtype):
        return Voltage(torch.zeros(batch, *shape, device=device, dtype=dtype))

    rate = gain_bias = None


def make_shaped(shape=None) -> Neuron:
    return type("Shaped", (Shaped,), {"shape": shape or Shaped.shape})()


def use_pytorch(neuron: Neuron, current: torch.Tensor):
    """Step by step, without kernels."""
    state, outputs = neuron.initial_state(len(current), current.shape[2:], current.device, current.dtype), []
    for now in current.unbind(1):
        output, state = neuron.dynamics(now, state)
        outputs.append(output)
    return torch.stack(outputs, 1)


def branch(_, current):
    return current if current.sum() > 0 else -current


FALLBACKS = {
    "a data-dependent if": (branch, "cannot be recorded"),
    "whole numbers": (lambda _, current: current.int().to(current.dtype), "int32"),
    "a function unheard of": (lambda _, current: current.sin(), "aten.sin.default"),
    "a number of the shape": (lambda _, current: current * current.shape[-1], "shape"),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_a_step_that_is_not_known_runs_on_pytorchs_operations_and_is_named_once(name, caplog):
    shape, reason = FALLBACKS[name]
    neuron, current = make_shaped(shape), torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    caplog.set_level(logging.INFO)
    for training in (True, False, True):
        assert torch.equal(neuron.train(training)(current)[0], use_pytorch(neuron, current))
        neuron.scale += 1
    (record,) = [record for record in caplog.records if "no fused kernel" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "shaped" in record.getMessage()
    assert reason in record.getMessage()


def test_a_random_step_stays_random():
    neuron = make_shaped(lambda _, current: current + torch.rand_like(current))
    output, _ = neuron(torch.zeros(1, 2, 50))
    assert len(output.unique()) == 100
    neuron = make_shaped(lambda _, current: current + random.random())
    assert len(neuron(torch.zeros(1, 20, 3))[0].unique()) == 20


def test_an_attribute_that_changes_later_counts():
    neuron, current = make_shaped(), torch.ones(2, 3, 4)
    for scale in (2.0, 3.0, -1, True):
        neuron.scale = scale
        assert neuron.equations("output") is not None
        assert torch.equal(neuron(current)[0], use_pytorch(neuron, current))
    other = type(neuron)()
    assert torch.equal(other(current)[0], use_pytorch(other, current))
    noisy = make_shaped(lambda self, current: current * (2.0 if self.training else 1.0))
    assert noisy.equations("output") is not None
    assert torch.equal(noisy.train()(current)[0], 2 * noisy.eval()(current)[0])
    neuron.dt = 0.5
    assert torch.equal(neuron.count(neuron(current)[0]), 0.5 * neuron(current)[0])


HELD = {
    "a buffer": (lambda neuron: neuron.register_buffer("kept", torch.tensor(2.0)), lambda neuron: neuron.kept.fill_(5)),
    "a tensor": (lambda neuron: setattr(neuron, "kept", torch.tensor(2.0)), lambda neuron: neuron.kept.fill_(5)),
    "a dict": (lambda neuron: setattr(neuron, "kept", {"": 2.0}), lambda neuron: neuron.kept.update({"": 5.0})),
}


@pytest.mark.parametrize("name", HELD)
def test_what_a_neuron_holds_and_may_change_is_used_as_it_is(name):
    def shape(self, current):
        return current * (self.kept[""] if isinstance(self.kept, dict) else self.kept.item())

    hold, change = HELD[name]
    neuron, current = make_shaped(shape), torch.ones(2, 3, 4)
    hold(neuron)
    assert torch.equal(neuron(current)[0][0, :, 0], torch.tensor([2.0, 4.0, 6.0]))
    change(neuron)
    assert torch.equal(neuron(current)[0][0, :, 0], torch.tensor([5.0, 10.0, 15.0]))


def test_a_step_that_counts_itself_is_not_fused():
    def shape(self, current):
        self.scale += 1
        return current

    neuron = make_shaped(shape)
    neuron(torch.zeros(2, 3, 4))
    assert neuron.scale == 5


def test_asking_for_equations_leaves_the_neuron_as_it_is():
    neuron = build("plif")
    before = {name: id(value) for name, value in neuron.named_parameters()}
    assert neuron.equations("output") is not None
    assert {name: id(value) for name, value in neuron.named_parameters()} == before
    assert "w" not in vars(neuron)


def test_a_square_is_fused():
    neuron, current = make_shaped(lambda _, current: current**2), torch.randn(2, 6, 4)
    assert neuron.equations("output") is not None
    torch.testing.assert_close(neuron(current)[0], use_pytorch(neuron, current))


def test_a_second_derivative_is_refused_where_it_cannot_be_had():
    """Not zero without a word, though the incoming gradient needs none."""
    neuron = build("lif")
    current = drive(neuron, 2, 9, 4).requires_grad_()
    start = neuron.initial_state(2, (4,), current.device, current.dtype)
    output, _ = fused.run(current, tuple(start), neuron.equations("output"))
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(output.sum(), current, create_graph=True)
