import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from snn_action.core.errors import ConfigError
from snn_action.models import LateFusion, build_model

LMU = {"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 4, "readout": "logistic"}
CLASSES, STEPS, SIZE = 3, 6, 5


def clips(number: int, seed: int, noise: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Two streams, each with the class in its mean under ``noise`` of its own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % CLASSES
    centers = torch.randn(CLASSES, SIZE, generator=torch.Generator().manual_seed(7))
    streams = [
        centers[labels].unsqueeze(1) + deviation * torch.randn(number, STEPS, SIZE, generator=generator)
        for deviation in noise
    ]
    mask = torch.arange(STEPS) < torch.randint(2, STEPS + 1, (number, 1), generator=generator)
    return torch.cat(streams, -1), mask, labels


def find_loss(model: LateFusion, features: Tensor, mask: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        shares = model.eval()(features, mask=mask)[0].double().softmax(-1)
    last = shares[torch.arange(len(mask)), mask.sum(1) - 1]
    mean = (shares * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    return float(F.nll_loss((last if model.averages_time else mean).log(), labels))


def make(head: dict, noise: tuple[float, float], weights: tuple[float, float] | None = None) -> LateFusion:
    model = build_model({"type": "late_fusion", "model": head, "weights": weights}, 2 * SIZE, CLASSES, seed=0)
    assert isinstance(model, LateFusion)
    if model.trained_by_gradient:
        model.prepare(*clips(60, 1, noise))
        model.settle(*clips(60, 2, noise))
    else:
        model.fit(*clips(60, 1, noise), validation=clips(60, 2, noise))
    return model


def test_logits_are_the_weighted_sum_of_those_of_models_that_see_one_stream():
    model = make(LMU, (1.0, 1.0), weights=(1.0, 3.0)).eval()
    features, mask, _ = clips(8, 3, (1.0, 1.0))
    first, second = (part(own, mask=mask)[0] for part, own in zip(model.parts, features.chunk(2, -1), strict=True))
    torch.testing.assert_close(model(features, mask=mask)[0], 0.25 * first + 0.75 * second)


@pytest.mark.parametrize("head", [LMU, {"type": "mean_pool"}], ids=["lmu", "mean_pool"])
@pytest.mark.parametrize("worse", [0, 1])
def test_the_weights_are_found_on_validation_clips(head, worse):
    noise = (20.0, 1.0) if worse == 0 else (1.0, 20.0)
    model = make(head, noise)
    assert model.weights.sum() == pytest.approx(1)
    assert model.weights[worse] < 0.2


def test_no_other_mixture_is_better_on_validation_clips():
    noise = (2.0, 1.0)
    model = make(LMU, noise)
    best = find_loss(model, *clips(60, 2, noise))
    for share in torch.linspace(0, 1, 21):
        model.weights.copy_(torch.stack([share, 1 - share]))
        assert find_loss(model, *clips(60, 2, noise)) >= best - 1e-6


def test_given_weights_stay():
    assert make(LMU, (20.0, 1.0), weights=(2.0, 2.0)).weights.tolist() == [0.5, 0.5]


def test_no_validation_clips_leave_weights_equal():
    model = build_model({"type": "late_fusion", "streams": 3}, 6, CLASSES, seed=0)
    model.fit(*(part[..., :6] if part.is_floating_point() else part for part in clips(12, 1, (1.0, 1.0))))
    assert model.weights.tolist() == pytest.approx([1 / 3] * 3)


def test_features_that_are_not_streams_of_equal_size_are_refused():
    with pytest.raises(ConfigError, match=r"model\.streams: 9 features are not 2 streams of equal size"):
        build_model({"type": "late_fusion"}, 9, CLASSES)


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 0.0), (1.0, -1.0)])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ConfigError, match="weights"):
        build_model({"type": "late_fusion", "weights": weights}, 2 * SIZE, CLASSES)
