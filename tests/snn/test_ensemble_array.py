"""``EnsembleArray``: what its spikes stand for, one pass against steps, the fused loop against PyTorch's operations."""

import pytest
import torch

from snn_action.core.errors import ConfigError
from snn_action.snn import LIF, EnsembleArray, SpikingRectifiedLinear, ensemble_array

BATCH, STEPS, E = 9, 20, 3


def draw(*shape: int) -> torch.Tensor:
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize(
    ("function", "wanted"), [("identity", lambda v: v), ("square", torch.square), (torch.sin, torch.sin)]
)
def test_spikes_stand_for_a_function_of_the_value(function, wanted):
    array = EnsembleArray(E, 200, max_rates=(800.0, 1000.0), function=function, seed=0)
    values = torch.tensor([-0.8, 0.1, 0.6])
    with torch.no_grad():
        decoded, _ = array(values.expand(8, 1500, E))
    assert torch.allclose(decoded.mean((0, 1)), wanted(values), atol=0.03)


def test_a_product_of_two_numbers():
    array = EnsembleArray(1, 600, dimensions=2, function="product", max_rates=(800.0, 1000.0), seed=0)
    with torch.no_grad():
        decoded, _ = array(torch.tensor([0.6, -0.5]).expand(1, 1500, 1, 2))
    assert decoded.shape == (1, 1500, 1, 1)
    assert float(decoded.mean()) == pytest.approx(-0.3, abs=0.05)


@pytest.mark.parametrize("gradient", ["rate", "spike_aware", "surrogate"])
@pytest.mark.parametrize("training", [True, False])
def test_the_fused_loop_gives_what_pytorch_gives(gradient, training, monkeypatch):
    array = EnsembleArray(E, 10, neuron=LIF(gradient=gradient), seed=0).train(training)
    values = draw(BATCH, STEPS, E).requires_grad_()
    mask = torch.arange(STEPS) < torch.arange(BATCH).unsqueeze(1) * 2 + 3
    assert ensemble_array.plan_fused(
        array.neuron, values, array.initial_state(BATCH, values.device, values.dtype), 1, training
    )

    def run() -> list[torch.Tensor]:
        decoded, state = array(values, None, mask)
        grads = torch.autograd.grad((decoded * draw(BATCH, STEPS, E)).sum(), [values, *array.parameters()])
        return [decoded, *state, *grads]

    ours = run()
    monkeypatch.setattr(ensemble_array, "plan_fused", lambda *_: None)
    for one, other in zip(ours, run(), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def test_steps_are_one_pass():
    array = EnsembleArray(E, 10, seed=0)
    values, state, steps = draw(BATCH, STEPS, E), None, []
    with torch.no_grad():
        whole, end = array(values)
        for now in values.unbind(1):
            decoded, state = array(now.unsqueeze(1), state)
            steps.append(decoded)
    assert torch.allclose(torch.cat(steps, 1), whole, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(state, end, strict=True))


def test_a_seed_draws_the_same_and_leaves_pytorchs_generator_alone():
    before = torch.get_rng_state()
    one, other = EnsembleArray(E, 10, seed=3), EnsembleArray(E, 10, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert not torch.equal(one.gain, EnsembleArray(E, 10, seed=4).gain)


def test_what_does_not_fit_is_refused():
    array = EnsembleArray(E, 10)
    with pytest.raises(ValueError, match=r"values must be \(batch, at least one step, \(3,\)\), not \(2, 5, 4\)"):
        array(torch.zeros(2, 5, 4))
    values = torch.zeros(1, 5, E)
    values[0, 2, 1] = torch.nan
    with pytest.raises(ValueError, match="value of ensemble 1 is nan at step 2 of clip 0"):
        array(values)
    with pytest.raises(ValueError, match="sizes must be 1 or more, not 0, 50, 1"):
        EnsembleArray(0)
    with pytest.raises(ValueError, match=r"function must be one of identity, .* or a callable, not 'cube'"):
        EnsembleArray(1, function="cube")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_rates"):
        EnsembleArray(1, neuron=LIF(), max_rates=(900.0, 1000.0))


@pytest.mark.parametrize("neuron", [LIF, SpikingRectifiedLinear])
@pytest.mark.parametrize("dt", [0.001, 0.0007])
def test_counted_spikes_are_whole_numbers(neuron, dt):
    rates, _ = neuron(dt=dt, amplitude=0.3)(50 * draw(4, 100, 6))
    counts, _ = neuron(dt=dt, amplitude=0.3, unit="count")(50 * draw(4, 100, 6))
    assert torch.equal(counts, counts.round())
    assert torch.equal(counts, (rates * dt / 0.3).round())
    assert counts.any()
