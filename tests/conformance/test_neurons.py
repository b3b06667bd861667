"""What every registered neuron must do, in each of its gradient modes."""

import copy
import io
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snn_action.core import registry
from snn_action.core.errors import ConfigError
from snn_action.snn.neurons.base import Neuron

ALL = ("rate", "spike_aware", "surrogate")
SETTINGS = dict(registry.items("neuron"))


def make(name: str, mode: str | None = None) -> Neuron:
    """A neuron in float64; without a mode, in the first that it has."""
    neuron: Neuron = registry.parse("neuron", {"type": name}).build(mode or MODES[name][0])
    return neuron.double()


def find_modes(name: str) -> tuple[str, ...]:
    for mode in ALL:
        try:
            neuron: Neuron = SETTINGS[name]().build(mode)
        except ConfigError:
            continue
        return neuron.gradients
    raise AssertionError(f"{name} has no gradient mode at all")


MODES = {name: find_modes(name) for name in SETTINGS}
CASES = [(name, mode) for name, modes in MODES.items() for mode in modes]
MISSING = [(name, mode) for name, modes in MODES.items() for mode in ALL if mode not in modes]


@pytest.mark.parametrize(("name", "mode"), [*MISSING, ("spiking_rectified_linear", "exact")])
def test_a_mode_that_is_missing_is_an_error_that_shows_those_there_are(name, mode):
    with pytest.raises(ConfigError, match=f"no gradient mode '{mode}'; it has {', '.join(MODES[name])}"):
        SETTINGS[name]().build(mode)


def drive(neuron: Neuron, batch: int = 3, steps: int = 24, n: int = 5, seed: int = 0) -> Tensor:
    """Currents that make about half of the neurons fire."""
    generator = torch.Generator().manual_seed(seed)
    try:
        gain, bias = neuron.gain_bias(torch.full((n,), 150.0).double(), torch.linspace(-0.9, 0.5, n).double())
    except ConfigError:
        gain, bias = torch.full((n,), 3.0).double(), torch.zeros(n).double()
    values = 1.5 * torch.randn(batch, 1, n, generator=generator, dtype=torch.float64)
    return gain * (values + 0.3 * torch.randn(batch, steps, n, generator=generator, dtype=torch.float64)) + bias


def flatten(state) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else [tensor for part in state for tensor in flatten(part)]


@pytest.mark.parametrize(("name", "mode"), CASES)
@pytest.mark.parametrize("train", [False, True])
def test_stepping_equals_forward(name, mode, train):
    neuron = make(name, mode).train(train)
    current = drive(neuron)
    torch.manual_seed(0)  # what a clip draws at its start in training comes from the global generator
    whole, final = neuron(current)
    torch.manual_seed(0)
    state = neuron.initial_state(3, current.shape[2:], current.device, current.dtype)
    for t, now in enumerate(current.unbind(1)):
        output, state = neuron.step(now, state)
        torch.testing.assert_close(output, whole[:, t], rtol=1e-9, atol=1e-9)
    for stepped, ended in zip(flatten(state), flatten(final), strict=True):
        torch.testing.assert_close(stepped, ended, rtol=1e-9, atol=1e-9)
    torch.manual_seed(0)
    first, middle = neuron(current[:, :7])
    second, _ = neuron(current[:, 7:], middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_padding_leaves_the_state_and_the_real_steps(name, mode):
    neuron = make(name, mode).eval()
    current = drive(neuron)
    lengths = torch.tensor([24, 1, 9])
    mask = torch.arange(24) < lengths.unsqueeze(1)
    masked, after = neuron(current, mask=mask)
    plain, _ = neuron(current)
    assert torch.equal(masked[mask], plain[mask])
    for clip, length in enumerate(lengths.tolist()):
        _, cut = neuron(current[:, :length])
        for held, ended in zip(flatten(after), flatten(cut), strict=True):
            torch.testing.assert_close(held[clip], ended[clip], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_gradients_are_finite_and_reach_the_current_and_every_parameter(name, mode):
    neuron = make(name, mode).train()
    current = drive(neuron, steps=60).requires_grad_()
    output, _ = neuron(current)
    leaves = [current, *neuron.parameters()]
    for gradient in torch.autograd.grad(output.square().mean(), leaves):
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_it_learns_after_its_first_use_was_in_inference_mode(name, mode):
    """What a fused kernel computes is read from the equations once, and kept for all that comes after."""
    settings = {"type": name, "dt": 0.0009 + 1e-5 * ALL.index(mode)}  # used by no other test: nothing is kept of them
    neuron: Neuron = registry.parse("neuron", settings).build(mode)
    current = drive(neuron, steps=60).float()
    with torch.inference_mode():
        neuron.eval()(current)
    current.requires_grad_()
    output, _ = neuron.train()(current)
    for gradient in torch.autograd.grad(output.square().mean(), [current, *neuron.parameters()]):
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize("name", [name for name, modes in MODES.items() if "rate" in modes])
def test_the_derivative_of_the_rate_is_exact(name):
    exact = {"rate_sigma": 0.0} if "rate_sigma" in SETTINGS[name].model_fields else {}
    neuron: Neuron = registry.parse("neuron", {"type": name, **exact}).build("rate").double()
    gain, bias = neuron.gain_bias(torch.full((6,), 150.0).double(), torch.zeros(6).double())
    current = (gain * torch.tensor([-0.8, -0.2, 0.1, 0.4, 0.9, 1.6]).double() + bias).requires_grad_()
    assert torch.autograd.gradcheck(neuron.rate, current)
    (gradient,) = torch.autograd.grad(neuron.rate(current).sum(), current)
    assert gradient[2:].all()


MEMBRANES = {  # a floor of the voltage that is not met, both resets
    "lif": [{"min_voltage": -9.0}],
    "adaptive_lif": [{"min_voltage": -9.0, "tau_n": 0.01, "inc_n": 0.02}],
    "if": [{"reset": "soft"}, {"reset": "hard"}],
    "plif": [{"reset": "soft"}, {"reset": "hard"}],
}


@pytest.mark.parametrize(("name", "settings"), [(name, each) for name, all_ in MEMBRANES.items() for each in all_])
def test_the_derivative_through_membranes_and_spikes_is_exact_where_there_is_one(name, settings):
    """More than 1 from the threshold this surrogate is zero, so states are smooth in all that is given.

    The gradient runs through the leak, a spike, its time, the refractory time, the reset and the adaptation. Others
    have no such place, but the rate above: their voltage never is 1 below the threshold. Izhikevich's is in its tests.
    """
    parsed = registry.parse("neuron", {"type": name, "surrogate": "triangle", **settings})
    neuron: Neuron = parsed.build("surrogate").double()
    unit = 40.0 if name == "if" else 1.0  # 1 / dt is 1000, the gain of the others about 1 / tau = 50 or less
    steps = torch.tensor([[-2.0, -1.0, 75.0, -60.0, -3.0, -4.0], [70.0, -65.0, -5.0, -2.0, -3.0, -1.0]]).double()
    current = (unit * steps.unsqueeze(-1)).requires_grad_()
    own, start = dict(neuron.named_parameters()), neuron.initial_state(2, (1,), current.device, current.dtype)
    leaves = [(tensor - 1e-4).requires_grad_() for tensor in start]

    def run(current: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        state, parameters = type(start)(*rest[: len(start)]), dict(zip(own, rest[len(start) :], strict=True))
        output, after = torch.func.functional_call(neuron, parameters, (current, state))
        return output, *after

    output, *_ = run(current, *leaves, *own.values())
    assert neuron.count(output).sum((1, 2)).tolist() == [1, 1]
    assert torch.autograd.gradcheck(run, (current, *leaves, *own.values()))


@pytest.mark.parametrize("name", SETTINGS)
def test_spikes_are_whole_and_some(name):
    neuron = make(name).eval()
    output, _ = neuron(drive(neuron, steps=200))
    assert output.isfinite().all()
    assert output.any()
    if neuron.spiking:
        counts = neuron.count(output)
        torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SETTINGS)
def test_neurons_may_lie_along_several_axes_and_a_state_must_fit(name):
    neuron = make(name).eval()
    current = drive(neuron, n=6)
    flat, _ = neuron(current)
    square, state = neuron(current.unflatten(2, (2, 3)))
    torch.testing.assert_close(square.flatten(2), flat, rtol=1e-9, atol=1e-9)
    if len(flatten(state)):
        with pytest.raises(ValueError, match="state"):
            neuron(current.unflatten(2, (2, 3))[:2], state)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_seed_gives_the_same_output_again(name):
    outputs = [neuron(drive(neuron))[0] for neuron in (make(name).eval(), make(name).eval())]
    assert torch.equal(*outputs)


def test_the_documented_table_is_what_its_neurons_have():
    text = (Path(__file__).parents[2] / "docs" / "explanation" / "neurons.md").read_text(encoding="utf-8")
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0] in SETTINGS:
            rows[cells[0]] = tuple(mode for mode, cell in zip(ALL, cells[1:4], strict=True) if cell == "yes")
    assert len(rows) > 10
    assert rows == {name: tuple(mode for mode in ALL if mode in MODES[name]) for name in rows}


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_neuron_can_be_saved_whole_and_copied(name, mode):
    neuron = make(name, mode).eval()
    current = drive(neuron)
    wanted, state = neuron(current)
    file = io.BytesIO()
    torch.save(neuron, file)
    file.seek(0)
    for other in (torch.load(file, weights_only=False), pickle.loads(pickle.dumps(neuron)), copy.deepcopy(neuron)):
        again, after = other(current)
        assert torch.equal(again, wanted)
        assert all(torch.equal(a, b) for a, b in zip(flatten(after), flatten(state), strict=True))


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_second_derivative_in_float32_is_that_in_float64(name, mode):
    """A penalty on gradients, of clips of several lengths; in float64 nothing is fused."""
    found = []
    mask = torch.arange(24) < torch.tensor([24, 9, 17]).unsqueeze(1)
    for dtype in (torch.float32, torch.float64):
        neuron = make(name, mode).to(dtype)
        weight = torch.ones(5, dtype=dtype, requires_grad=True)
        current = drive(make(name, mode)).to(dtype).requires_grad_()
        output, _ = neuron(current * weight, mask=mask)
        (slope,) = torch.autograd.grad(neuron.count(output).sum(), current, create_graph=True)
        leaves = [current, weight, *neuron.parameters()]
        second = torch.autograd.grad(slope.square().sum() * 1e3, leaves, allow_unused=True)
        assert second[1] is not None
        found.append([torch.zeros(1).double() if g is None else g.double() for g in second])
    # Izhikevich's membrane grows the last bit of float32: its module says why
    allowed = 0.05 if name == "izhikevich" else 1e-3
    for single, double in zip(*found, strict=True):
        assert (single - double).norm() <= allowed * double.norm() + 1e-6
