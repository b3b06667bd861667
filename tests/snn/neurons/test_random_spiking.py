"""What the two random spiking neurons share; how each draws its counts is in a file of its own."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from snn_action.core import registry
from snn_action.core.settings import SettingsError
from snn_action.snn.neurons.random import draw_uniform
from snn_action.snn.neurons.random_spiking import RandomSpiking, RandomSpikingState

TYPES = ["stochastic_spiking", "poisson_spiking"]
ADAPTIVE = {"type": "adaptive_lif_rate", "tau_n": 0.02, "inc_n": 0.05}


@pytest.fixture(params=TYPES)
def make(request):
    def build(gradient="spike_aware", **options) -> RandomSpiking:
        return registry.parse("neuron", {"type": request.param, **options}).build(gradient)

    return build


def currents(batch: int, steps: int, neurons: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 300 * torch.randn(batch, steps, neurons, generator=generator, dtype=torch.float64)


def test_counts_are_drawn_from_seed_clip_neuron_and_step(make):
    neuron = make(seed=7, amplitude=0.5, dt=0.002).eval()
    current = currents(2, 30, 4)
    spikes, final = neuron(current)
    for clip in range(2):
        for n in range(4):
            for t in range(30):
                uniform = draw_uniform(7, *(torch.tensor(counter) for counter in (0, n, t)))
                mean = current[clip, t, n].clamp(min=0) * 0.002
                count = neuron.draw_counts(mean.view(1), uniform.view(1)).item()
                assert spikes[clip, t, n].item() == pytest.approx(count * 0.5 / 0.002)
    assert spikes.any()
    assert final.step.unique().tolist() == [30]


def map_state(function, state):
    """``function`` of each tensor of a nested state."""
    return type(state)(*(function(part) if isinstance(part, Tensor) else map_state(function, part) for part in state))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("base", [{"type": "rectified_linear"}, ADAPTIVE])
def test_any_way_through_a_batch_gives_the_same_spikes(make, train, base):
    neuron = make(base=base).train(train)
    current = currents(5, 24, 6).abs() / (1 if base["type"] == "rectified_linear" else 50)
    start = neuron.initial_state(5, (6,), current.device, current.dtype)
    whole, final = neuron(current, start)
    assert whole.any()
    for clips in (slice(0, 1), slice(3, 5)):
        part = map_state(lambda tensor, clips=clips: tensor[clips], start)
        spikes, state = neuron(current[clips, :9], part)
        later, state = neuron(current[clips, 9:], state)
        assert torch.equal(torch.cat([spikes, later], 1), whole[clips])
        assert torch.equal(state.step, final.step[clips])
    some = map_state(lambda tensor: tensor[:, 2:4], start)  # as a model that takes its neurons in chunks
    assert torch.equal(neuron(current[..., 2:4], some)[0], whole[..., 2:4])


@pytest.mark.parametrize("base", [{"type": "rectified_linear"}, ADAPTIVE])
def test_any_mask_gives_what_single_steps_give(make, base):
    neuron = make(base=base).eval()
    current = currents(3, 12, 4).abs() / (1 if base["type"] == "rectified_linear" else 50)
    mask = torch.rand(3, 12, generator=torch.Generator().manual_seed(0)) < 0.6
    spikes, state = neuron(current, mask=mask)
    assert not spikes[~mask].any()
    for clip in range(3):
        alone, ended = neuron(current[clip : clip + 1, mask[clip]])
        assert torch.equal(spikes[clip, mask[clip]], alone[0])
        assert torch.equal(state.step[clip], ended.step[0])
        assert bool((state.step[clip] == mask[clip].sum()).all())


def test_noise_is_the_same_for_all_clips_in_evaluation_and_new_for_each_in_training(make):
    neuron = make()
    current = torch.full((3, 50, 20), 300.0)
    first, again = neuron.eval()(current)[0], neuron(current)[0]
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[2])
    torch.manual_seed(0)
    noisy = [neuron.train()(current)[0] for _ in range(2)]
    torch.manual_seed(0)
    assert torch.equal(neuron(current)[0], noisy[0])
    clips = torch.cat(noisy)
    for one in range(6):
        for other in range(one):
            agreement = (clips[one] == clips[other]).double().mean().item()
            assert 0.4 < agreement < 0.7
    assert not torch.equal(first, make(seed=1).eval()(current)[0])


def test_neurons_and_steps_are_uncorrelated_and_the_mean_is_the_rate(make):
    neuron = make(amplitude=2.0).eval()
    current = torch.linspace(20, 900, 40).repeat_interleave(50).expand(1, 400, 2000)
    counts = neuron.count(neuron(current)[0])[0].double()
    mean = counts.view(400, 40, 50).mean((0, 2))
    deviation = counts.view(400, 40, 50).var((0, 2)).div(400 * 50).sqrt()
    assert ((mean - torch.linspace(0.02, 0.9, 40)) / deviation).abs().max() < 4.5
    normal = (counts - counts.mean(0)) / counts.std(0)
    for one, other in ((normal[1:], normal[:-1]), (normal[:, 1:], normal[:, :-1])):
        assert (one * other).mean().abs() * one.numel() ** 0.5 < 4.5
    torch.testing.assert_close(neuron.rate(current), 2 * current)


def test_spikes_of_a_negative_rate_have_its_sign(make):
    neuron = make().eval()
    neuron.base.rate = lambda current: current  # as a base like tanh would have it
    current = currents(2, 40, 10)
    up, down = neuron(current)[0], neuron(-current)[0]
    assert torch.equal(up, -down)
    assert bool((up * current >= 0).all())
    assert bool((up < 0).any())


@pytest.mark.parametrize("gradient", ["rate", "spike_aware"])
@pytest.mark.parametrize("base", ["rectified_linear", "soft_lif_rate"])
def test_the_derivative_is_that_of_the_base(make, gradient, base):
    neuron = make(gradient, amplitude=0.5, base={"type": base}).train()
    current = (currents(2, 10, 3) / 30).requires_grad_()
    output, _ = neuron(current)
    (slope,) = torch.autograd.grad(output.sum(), current)
    (expected,) = torch.autograd.grad(0.5 * neuron.base.rate(current).sum(), current)
    torch.testing.assert_close(slope, expected)
    if gradient == "rate":
        torch.testing.assert_close(output, 0.5 * neuron.base.rate(current))
    else:
        counts = neuron.count(output)
        torch.testing.assert_close(counts, counts.round())


def test_an_adaptive_base_adapts(make):
    current = torch.full((1, 400, 200), 4.0, dtype=torch.float64)
    neuron = make(base=ADAPTIVE).eval()
    spikes, _ = neuron(current)
    early, late = neuron.count(spikes[:, :10]).mean() * 1000, neuron.count(spikes[:, 200:]).mean() * 1000
    rates, _ = neuron.base(current)
    assert early.item() == pytest.approx(rates[:, :10].mean().item(), rel=0.1)
    assert late.item() == pytest.approx(rates[:, 200:].mean().item(), rel=0.1)
    assert late < 0.7 * early
    torch.testing.assert_close(neuron.rate(current[:, 0]), rates[:, -1], rtol=1e-3, atol=0)


def test_gain_and_bias_are_those_of_the_base(make):
    neuron = make(base={"type": "lif_rate", "tau_rc": 0.05})
    arguments = torch.tensor([100.0, 300.0]), torch.tensor([-0.5, 0.7])
    for mine, its in zip(neuron.gain_bias(*arguments), neuron.base.gain_bias(*arguments), strict=True):
        assert torch.equal(mine, its)


class Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_the_work_is_not_a_loop_over_time(make):
    calls = []
    for steps in (3, 300):
        neuron, current = make().eval(), torch.zeros(2, steps, 3)
        with Count() as count:
            neuron(current, mask=torch.ones(2, steps, dtype=torch.bool))
        calls.append(count.calls)
    assert calls[0] == calls[1]


def test_fused_kernels_have_the_rate_alone_and_looking_for_them_draws_nothing(make):
    neuron = make(seed=123)
    torch.manual_seed(0)
    assert [neuron.equations(unit) is None for unit in ("output", "count", "rate_count")] == [True, True, False]
    found = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(found, torch.rand(1))


def test_a_base_has_the_step_of_its_neuron(make):
    assert make(dt=0.002).base.dt == 0.002
    assert make(dt=0.002, base={"type": "lif_rate"}).base.dt == 0.002
    settings = make(dt=0.002).settings
    assert type(settings).model_validate_json(settings.model_dump_json()) == settings
    assert type(settings)(dt=0.002).base.dt == 0.002
    with pytest.raises(SettingsError, match=r"^base\.dt: must be dt = 0.001, not 0.002$"):
        make(base={"type": "lif_rate", "dt": 0.002})


@pytest.mark.parametrize("base", ["lif", "izhikevich", "if", "sliding_psn", *TYPES])
def test_a_base_that_spikes_is_refused(make, base):
    with pytest.raises(SettingsError, match=f"^base: must be a rate neuron .* but {base} spikes$"):
        make(base={"type": base})


def test_a_problem_of_the_base_has_its_place(make):
    with pytest.raises(SettingsError, match=r"^base\.tau_rc: "):
        make(base={"type": "lif_rate", "tau_rc": -1.0})
    with pytest.raises(SettingsError, match=r"^base\.type: unknown neuron 'relu'"):
        make(base={"type": "relu"})


def test_the_state_is_two_counters_of_each_neuron(make):
    state = make().train().initial_state(3, (2, 4), torch.device("cpu"), torch.float32)
    assert isinstance(state, RandomSpikingState)
    assert torch.equal(state.stream & (2**31 - 1), torch.arange(8).view(2, 4).expand(3, 2, 4))
    clips = (state.stream >> 31).flatten(1)
    assert bool((clips == clips[:, :1]).all())
    assert len(clips[:, 0].unique()) == 3
    assert not state.step.any()
