"""Differences and means beside the features; that streaming equals forward, the conformance tests say."""

import pytest
import torch

from snn_action.config import TrainingSettings
from snn_action.core.settings import SettingsError
from snn_action.models import build_model
from snn_action.models.base import InputStandardizer
from snn_action.models.inputs import ExpandedClips, Inputs, SeenState
from snn_action.models.settings import MeanPoolSettings
from snn_action.training.objective import Objective

ALL = ("mean", "features", "second_difference", "difference")


def make(**settings) -> Inputs:
    return Inputs(MeanPoolSettings(**settings))


def compute(x: torch.Tensor, kind: str, lags: tuple[int, ...], windows: tuple[int, ...]) -> list[torch.Tensor]:
    """Step by step, of one clip (T, D)."""
    steps = range(len(x))
    zero = torch.zeros_like(x[0])
    if kind == "features":
        return [x]
    if kind == "mean":
        return [torch.stack([x[max(0, t - w + 1) : t + 1].mean(0) for t in steps]) for w in windows]
    if kind == "difference":
        return [torch.stack([x[t] - x[t - lag] if t >= lag else zero for t in steps]) for lag in lags]
    return [
        torch.stack([x[t] - 2 * x[t - lag] + x[t - 2 * lag] if t >= 2 * lag else zero for t in steps]) for lag in lags
    ]


@pytest.mark.parametrize("lags", [(1,), (3,), (4, 1)])
@pytest.mark.parametrize("windows", [(2,), (4, 3, 20)])
@pytest.mark.parametrize("kinds", [ALL, ("difference",), ("mean", "features"), ("second_difference", "difference")])
def test_inputs_are_side_by_side_in_the_order_of_their_names(kinds, windows, lags):
    inputs = make(inputs=kinds, lags=lags, windows=windows)
    x = torch.randn(3, 9, 4, dtype=torch.float64)
    expanded, past = inputs.expand(x, inputs.start(3, 4, x.device, x.dtype), None)
    wanted = torch.stack(
        [torch.cat([block for kind in kinds for block in compute(clip, kind, lags, windows)], 1) for clip in x]
    )
    assert expanded.shape == (3, 9, 4 * inputs.blocks)
    torch.testing.assert_close(expanded, wanted)
    assert past.inputs.shape == (3, inputs.reach, 4)
    assert past.steps.tolist() == [9, 9, 9]


def test_padded_steps_are_zero_and_change_nothing():
    inputs = make(inputs=ALL)
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[4], [6]])
    expanded, _ = inputs.expand(x, inputs.start(2, 3, x.device, x.dtype), mask)
    assert not expanded[0, 4:].any()
    torch.testing.assert_close(expanded[0, :4], inputs.expand_alone(x[0, :4], torch.ones(4).bool()))
    garbage = torch.where(mask.unsqueeze(-1), x, torch.nan)
    torch.testing.assert_close(inputs.expand_alone(garbage[0], mask[0])[:4], expanded[0, :4])


def test_features_alone_change_nothing():
    inputs = make()
    clips = [torch.randn(3, 2)]
    assert inputs.changes_nothing
    assert (inputs.blocks, inputs.reach) == (1, 0)
    assert next(iter(ExpandedClips(inputs, clips, [torch.ones(3).bool()]))) is clips[0]
    model = build_model({"type": "lmu", "memory_d": 2, "units": 4}, 2, 3, seed=0)
    _, state = model(torch.zeros(1, 3, 2))
    assert not isinstance(state, SeenState)
    assert (model.given_features, model.in_features) == (2, 2)


def test_each_input_is_scaled_by_its_own_deviation():
    standardizer = InputStandardizer(6, "global", normalize=True)
    standardizer.centered = (True, True)
    clips = torch.randn(5, 40, 6, dtype=torch.float64) * torch.tensor([1, 2, 3, 100, 200, 300])
    standardizer.double().fit(clips, torch.ones(5, 40).bool())
    assert len(set(standardizer.scale.tolist())) == 2
    torch.testing.assert_close(
        standardizer.scale[0] / standardizer.scale[3], torch.tensor(100.0).double(), rtol=0.1, atol=0
    )
    x = standardizer(clips).unflatten(-1, (2, 3))
    torch.testing.assert_close(x.square().mean(-1), torch.ones_like(x[..., 0]), rtol=1e-3, atol=0)


def test_differences_keep_their_zero():
    standardizer = InputStandardizer(4, "feature")
    standardizer.centered = (True, False)
    clips = torch.randn(5, 40, 4, dtype=torch.float64) + 3
    standardizer.double().fit(clips, torch.ones(5, 40).bool())
    assert standardizer.mean[2:].tolist() == [0, 0]
    assert (standardizer.mean[:2] > 2).all()
    torch.testing.assert_close(standardizer(clips)[..., 2:].square().mean((0, 1)), torch.ones(2).double())
    assert not standardizer(torch.zeros(1, 4).double())[..., 2:].any()


@pytest.mark.parametrize("has_validation", [False, True])
def test_mean_pool_is_that_of_the_expanded_clips(has_validation):
    settings = MeanPoolSettings(inputs=("features", "difference", "mean"), windows=(3,))
    generator = torch.Generator().manual_seed(0)
    clips = [
        (
            torch.randn(12, 7, 5, generator=generator),
            torch.arange(7) < torch.tensor([[7], [4]] * 6),
            torch.arange(12) % 3,
        )
        for _ in range(2)
    ]
    model = build_model(settings, 5, 3)
    model.fit(*clips[0], clips[1] if has_validation else None)
    inputs = Inputs(settings)
    expanded = [
        (torch.stack([inputs.expand_alone(x, m) for x, m in zip(features, mask, strict=True)]), mask, labels)
        for features, mask, labels in clips
    ]
    plain = build_model({"type": "mean_pool"}, 15, 3)
    plain.standardizer.centered = (True, False, True)
    plain.fit(*expanded[0], expanded[1] if has_validation else None)
    torch.testing.assert_close(model.weight, plain.weight)
    torch.testing.assert_close(model.standardizer.scale, plain.standardizer.scale)
    logits, _ = model(clips[0][0], mask=clips[0][1])
    torch.testing.assert_close(logits[clips[0][1]], plain(expanded[0][0], mask=clips[0][1])[0][clips[0][1]])


def test_noise_on_features_has_the_unit_of_the_first_input():
    model = build_model({"type": "lstm", "units": 4, "inputs": ["features", "mean"], "windows": [2, 3]}, 5, 3, seed=0)
    features, mask = torch.randn(4, 6, 5), torch.ones(4, 6).bool()
    model.prepare(features, mask, torch.arange(4) % 3)
    assert model.input_scale.shape == (5,)
    loss, _ = Objective(model, TrainingSettings(feature_noise=0.5))(features, mask, torch.arange(4) % 3)
    assert bool(loss.isfinite())


def test_weights_of_a_model_of_before_are_loaded():
    """What looks back has no weights."""
    model = build_model({"type": "lmu", "memory_d": 2, "units": 4, "differences": 2}, 3, 2, seed=0)
    names = {"standardizer.mean", "standardizer.scale", "encoder.weight", "memory_kernel.weight", "memory_kernel.bias"}
    assert names <= set(model.state_dict())
    wide = build_model({"type": "lmu", "memory_d": 2, "units": 4, "inputs": ["features", "difference"]}, 3, 2, seed=0)
    assert set(wide.state_dict()) == set(model.state_dict())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": ["speed"]}, "inputs"),
        ({"inputs": ["features", "features"]}, "inputs: one is named twice"),
        ({"windows": [4, 4]}, "windows: one is named twice"),
        ({"windows": [1]}, "windows"),
        ({"lags": [0]}, "lags"),
        ({"lags": [2, 2]}, "lags: one is named twice"),
        ({"type": "late_fusion", "inputs": ["difference"]}, "set them in model.model"),
    ],
)
def test_wrong_settings_are_named(settings, says):
    with pytest.raises(SettingsError, match=says):
        build_model({"type": "mean_pool", **settings}, 4, 2)


def test_a_state_of_a_model_without_these_inputs_is_refused():
    wide = build_model({"type": "mean_pool", "inputs": ["features", "difference"]}, 3, 2)
    plain = build_model({"type": "mean_pool"}, 6, 2)
    _, state = plain(torch.zeros(2, 4, 6))
    with pytest.raises(ValueError, match="not one that this model returned"):
        wide(torch.zeros(2, 4, 3), state)
    _, state = wide(torch.zeros(2, 4, 3))
    with pytest.raises(ValueError, match=r"state\.past\.inputs must have shape"):
        wide.step(torch.zeros(1, 3), state)
    assert wide.start(2, torch.device("cpu"), torch.float32).past.inputs.shape == state.past.inputs.shape
