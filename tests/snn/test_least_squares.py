"""Against the problem written out: its slope, clips really left out, the scale by search."""

import pytest
import torch
from torch.nn import functional as F

from snn_action.snn.least_squares import SCALES, fit_least_squares

CLASSES, STRENGTH = 3, 0.7


def make(clips: int, features: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(clips)
    labels = torch.arange(clips) % CLASSES
    x = torch.randn(clips, features, generator=generator, dtype=torch.float64)
    return x + 0.5 * F.one_hot(labels, features).double() + 3, labels


def solve(x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """With an unpenalized constant feature, by the normal equations."""
    target = 2.0 * F.one_hot(labels, CLASSES).double() - 1
    wide = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    penalty = STRENGTH * torch.eye(wide.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0
    both = torch.linalg.solve(wide.T @ wide + penalty, wide.T @ target)
    return both[:-1].T, both[-1]


@pytest.mark.parametrize(("clips", "features"), [(12, 5), (9, 40)])
def test_it_is_the_solution_times_the_scale_of_least_loss_on_clips_left_out(clips, features):
    x, labels = make(clips, features)
    weight, bias = fit_least_squares(x, labels, CLASSES, STRENGTH)
    expected, offset = solve(x, labels)
    scale = float(weight.flatten() @ expected.flatten() / expected.square().sum())
    torch.testing.assert_close(weight, scale * expected)
    torch.testing.assert_close(bias, scale * offset)

    left_out = []
    for clip in range(clips):
        others = torch.arange(clips) != clip
        own, constant = solve(x[others], labels[others])
        left_out.append(own @ x[clip] + constant)
    losses = torch.stack([F.cross_entropy(scale * torch.stack(left_out), labels) for scale in SCALES])
    assert scale == pytest.approx(float(SCALES[losses.argmin()]), rel=1e-6)


def test_classes_that_are_apart_get_a_large_scale_and_noise_a_small_one():
    labels = torch.arange(30) % CLASSES
    apart = 10 * F.one_hot(labels, 5).double()
    noise = torch.randn(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sizes = [float(fit_least_squares(x, labels, CLASSES, 1.0)[0].abs().max()) for x in (apart / apart.std(), noise)]
    assert sizes[0] > 10 * sizes[1]
