import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from snn_action.models import build_model
from snn_action.models.logistic import LogisticRegression
from snn_action.models.mean_pool import DEFAULT_STRENGTH, SCALINGS, STRENGTHS, choose_strength, fit_logistic


def clips(clips: int, steps: int, features: int, classes: int, seed: int, noise: float = 1.0):
    """Clips whose mean tells the class, of different lengths, NaN where padded."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(clips) % classes
    centers = torch.randn(classes, features, generator=torch.Generator().manual_seed(99))
    x = centers[labels].unsqueeze(1) + noise * torch.randn(clips, 1, features, generator=generator)
    x = 5 * (x + 0.5 * torch.randn(clips, steps, features, generator=generator)) + 3
    lengths = torch.randint(1, steps + 1, (clips,), generator=generator)
    mask = torch.arange(steps) < lengths.unsqueeze(1)
    return x.masked_fill(~mask.unsqueeze(-1), float("nan")), mask, labels


def gradient(x: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Of the penalized likelihood, by hand."""
    error = torch.softmax(x @ weight.T + bias, 1) - F.one_hot(labels, len(bias))
    return error.T @ x + strength * weight, error.sum(0)


@pytest.mark.parametrize(("clip_count", "features"), [(60, 8), (30, 50)])  # fewer and more features than clips
@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e3])
def test_the_fit_is_the_optimum(clip_count, features, strength):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(clip_count, features, generator=generator, dtype=torch.float64)
    labels = torch.arange(clip_count) % 3
    weight, bias = fit_logistic(x, labels, 3, strength)
    for part in gradient(x, labels, weight, bias, strength):
        assert part.abs().max() < 1e-5


def test_newton_from_another_start_finds_the_same_optimum():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    labels = (x[:, 0] + torch.randn(40, generator=generator, dtype=torch.float64) > 0).long()
    weight, bias = fit_logistic(x, labels, 2, 0.7)
    # two classes: W is antisymmetric, so this is binary regression on w = W_1 - W_0 with strength 0.7 / 2
    design = torch.cat([x, torch.ones(40, 1, dtype=torch.float64)], 1)
    penalty = torch.diag(torch.tensor([0.35] * 5 + [0.0], dtype=torch.float64))
    w = torch.full((6,), 0.1, dtype=torch.float64)
    for _ in range(30):
        p = torch.sigmoid(design @ w)
        hessian = design.T @ (design * (p * (1 - p)).unsqueeze(1)) + penalty
        w = w - torch.linalg.solve(hessian, design.T @ (p - labels) + penalty @ w)
    torch.testing.assert_close(weight[1] - weight[0], w[:5], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(bias[1] - bias[0], w[5], rtol=1e-5, atol=1e-6)


def test_predictions_are_those_of_the_running_mean():
    x, mask, labels = clips(40, 6, 5, 3, seed=0)
    model = build_model({"type": "mean_pool"}, in_features=5, num_classes=3).double()
    model.fit(x, mask, labels)
    assert model.strength == DEFAULT_STRENGTH
    logits, _ = model(x, mask=mask)
    frames = x[mask].double()
    for clip, t in ((0, 0), (3, int(mask[3].sum()) - 1)):
        mean = (x[clip, : t + 1].double() - frames.mean(0)) / frames.var(0, correction=0).mean().sqrt()
        torch.testing.assert_close(logits[clip, t], model.weight @ mean.mean(0) + model.bias)


def test_the_model_is_the_optimum_for_the_last_real_steps():
    x, mask, labels = clips(40, 6, 5, 3, seed=0)
    model = build_model({"type": "mean_pool"}, in_features=5, num_classes=3).double()
    model.fit(x, mask, labels)
    frames = x[mask].double()
    means = torch.stack([clip[real].double().mean(0) for clip, real in zip(x, mask, strict=True)])
    means = (means - frames.mean(0)) / frames.var(0, correction=0).mean().sqrt()
    for part in gradient(means, labels, model.weight, model.bias, DEFAULT_STRENGTH):
        assert part.abs().max() < 1e-5


@pytest.mark.parametrize("spread", [1.0, 30.0])  # features alike, or the noisiest far larger than the others
def test_scaling_and_strength_are_the_best_on_validation_and_both_sets_are_then_fitted(spread):
    train, validation = clips(60, 6, 40, 3, seed=0, noise=4.0), clips(30, 9, 40, 3, seed=1, noise=4.0)
    scale = torch.ones(40)
    scale[20:] = spread
    for x in (train[0], validation[0]):
        x[..., 20:] = x[..., 20:].nan_to_num().flip(0)  # the last features belong to other clips: noise
        x *= scale
    model = build_model({"type": "mean_pool"}, in_features=40, num_classes=3).double()
    model.fit(*train, validation=validation)

    def deviation(scaling, frames):
        return frames.std(0, correction=0) if scaling == "feature" else frames.var(0, correction=0).mean().sqrt()

    def means(clip_set, frames, scaling):
        mean = torch.stack([clip[real].double().mean(0) for clip, real in zip(*clip_set[:2], strict=True)])
        return (mean - frames.mean(0)) / deviation(scaling, frames)

    frames = train[0][train[1]].double()
    losses = {}
    for scaling in SCALINGS:
        for strength in STRENGTHS:
            weight, bias = fit_logistic(means(train, frames, scaling), train[2], 3, strength)
            logits = means(validation, frames, scaling) @ weight.T + bias
            losses[scaling, strength] = float(F.cross_entropy(logits, validation[2]))
    scaling, strength = min(losses, key=losses.__getitem__)
    assert (model.standardizer.scaling, float(model.strength)) == (scaling, pytest.approx(strength))
    if spread > 1:
        assert scaling == "feature"
    frames = torch.cat([train[0][train[1]], validation[0][validation[1]]]).double()
    both = torch.cat([means(train, frames, scaling), means(validation, frames, scaling)])
    for part in gradient(both, torch.cat([train[2], validation[2]]), model.weight, model.bias, strength):
        assert part.abs().max() < 1e-5


@pytest.mark.parametrize(("clip_count", "features"), [(90, 30), (40, 60)])
def test_fits_that_begin_at_the_last_strength_are_those_that_begin_at_zero(clip_count, features):
    generator = torch.Generator().manual_seed(3)
    sizes = torch.logspace(0, -3, features, dtype=torch.float64)  # as features of a CNN along their principal axes
    x = 30 * sizes * torch.randn(clip_count, features, generator=generator, dtype=torch.float64)
    labels = (x[:, 0] + 10 * torch.randn(clip_count, generator=generator, dtype=torch.float64) > 0).long()
    one_after_another = LogisticRegression(x, labels, 2)
    threads = torch.get_num_threads()
    for strength in STRENGTHS[:-2]:
        weight, bias = one_after_another.fit(strength)
        shares = torch.softmax(x @ weight.T + bias, 1)
        own_weight, own_bias = fit_logistic(x, labels, 2, strength)
        torch.testing.assert_close(shares, torch.softmax(x @ own_weight.T + own_bias, 1), rtol=0, atol=1e-4)
        for part in gradient(x, labels, weight, bias, strength):
            assert part.abs().max() < 1e-4
    assert torch.get_num_threads() == threads


def test_two_fits_are_the_same_to_the_last_bit():
    x, mask, labels = clips(30, 4, 60, 3, seed=2)
    weights = []
    for seed in (0, 1):
        model = build_model({"type": "mean_pool"}, in_features=60, num_classes=3, seed=seed)
        model.fit(x, mask, labels, validation=(x[:9], mask[:9], labels[:9]))
        weights.append(model.weight)
    assert torch.equal(*weights)


def test_constant_features_and_float16_are_fine():
    x, mask, labels = clips(30, 4, 6, 3, seed=2)
    x[..., 2] = 7.0
    model = build_model({"type": "mean_pool"}, in_features=6, num_classes=3)
    model.fit(x.half(), mask, labels)
    assert bool(model.weight.isfinite().all())
    assert not model.weight[:, 2].abs().max() > 1e-6


def test_strengths_that_cannot_be_told_apart_give_the_strongest():
    x = torch.zeros(6, 2, dtype=torch.float64)
    labels = torch.arange(6) % 2
    assert choose_strength((x, labels), (x, labels))[1] == STRENGTHS[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, m, y: (x[..., :3], m, y), "features must be"),
        (lambda x, m, y: (x, m, y[:-1]), "labels must have shape"),
        (lambda x, m, y: (x, m, y + 1), "labels must be in 0 .. 2"),
        (lambda x, m, y: (x, m.flip(1), y), "mask of clip"),
        (lambda x, m, y: (x.masked_fill((torch.arange(12) == 5).view(-1, 1, 1), float("nan")), m, y), "clip 5 are not"),
        (lambda x, m, y: (x[:0], m[:0], y[:0]), "features must be"),
    ],
)
def test_bad_clips_are_refused_in_training_and_validation(change, says):
    good = clips(12, 4, 5, 3, seed=3)
    bad = change(*good)
    model = build_model({"type": "mean_pool"}, in_features=5, num_classes=3)
    with pytest.raises(ValueError, match=says):
        model.fit(*bad)
    with pytest.raises(ValueError, match=says):
        model.fit(*good, validation=bad)
    assert not model.weight.any()
