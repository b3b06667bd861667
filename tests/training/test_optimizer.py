import math

import pytest
import torch

from snn_action.config import TrainingSettings
from snn_action.training.optimizer import learning_rate, make_optimizer, restore, scale_rate


def test_rate_warms_up_then_stays():
    assert [scale_rate(step, 10, 4, cosine=False) for step in range(6)] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]


def test_rate_falls_by_half_a_cosine_to_zero():
    rates = [scale_rate(step, 12, 2, cosine=True) for step in range(13)]
    assert rates[:2] == [1 / 3, 2 / 3]
    assert rates[2:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 10)) for k in range(11)])
    assert rates[2] == 1
    assert rates[12] == pytest.approx(0)


@pytest.mark.parametrize(("total", "warmup"), [(3, 3), (2, 5), (1, 0)])
def test_rate_is_positive_in_training_whatever_the_numbers(total, warmup):
    assert all(0 < scale_rate(step, total, warmup, cosine=True) <= 1 for step in range(total))


@pytest.mark.parametrize(("name", "plain"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_the_optimizer_in_one_pass_moves_weights_as_pytorchs_plain_one(name, plain, clip):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 4, generator=generator)
    settings = TrainingSettings(optimizer=name, learning_rate=0.01, weight_decay=0.1, gradient_clip=clip)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizers = [
        make_optimizer([ours], settings),
        plain([theirs], lr=0.01, weight_decay=0.1, foreach=False, fused=False),
    ]
    assert bool(optimizers[0].defaults["fused"]) == (clip is None)
    for _ in range(5):
        gradient = torch.randn(5, 4, generator=generator)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert (ours - start).abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_rate_of_a_step_counts_warm_up_and_epochs_in_steps():
    settings = TrainingSettings(epochs=3, warmup_epochs=1, learning_rate=0.1, schedule="cosine")
    assert [learning_rate(step, 4, settings) for step in range(12)] == [
        0.1 * scale_rate(step, total=12, warmup=4, cosine=True) for step in range(12)
    ]


def take_state() -> tuple[torch.optim.Optimizer, torch.nn.Parameter, dict]:
    parameter = torch.nn.Parameter(torch.zeros(50, 40))
    optimizer = make_optimizer([parameter], TrainingSettings())
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer, parameter, optimizer.state_dict()


def test_moments_of_a_checkpoint_are_put_back_and_settings_stay():
    _, parameter, state = take_state()
    state["param_groups"][0]["betas"] = (0.0, 0.0)
    optimizer = make_optimizer([parameter], TrainingSettings())
    restore(optimizer, state)
    assert torch.equal(optimizer.state[parameter]["exp_avg"], state["state"][0]["exp_avg"])
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize(
    "change",
    [
        {"exp_avg": torch.zeros(1)},
        {"exp_avg_sq": torch.zeros(40, 50)},
        {"exp_avg": torch.zeros(50, 40).to_sparse()},
        {"step": torch.zeros(50, 40)},
        {"step": "1"},
        {"exp_avg": None},
        {"more": torch.zeros(50, 40)},
    ],
)
def test_moments_that_do_not_fit_are_refused(change):
    """PyTorch's fused kernel read and wrote beyond the end of such: a crash, or worse."""
    optimizer, _, state = take_state()
    state["state"][0] |= change
    with pytest.raises((ValueError, RuntimeError, TypeError, AttributeError)):
        restore(optimizer, state)


def test_moments_that_are_one_number_seen_many_times_get_memory_of_their_own():
    optimizer, parameter, state = take_state()
    state["state"][0]["exp_avg"] = torch.ones(1, 1).expand(50, 40)
    restore(optimizer, state)
    assert optimizer.state[parameter]["exp_avg"].is_contiguous()
    optimizer.step()
    assert bool((parameter == parameter[0, 0]).all())
