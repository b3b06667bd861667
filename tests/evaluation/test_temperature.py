"""The temperature: closed forms, an optimum by search, and what it never changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_action.evaluation.temperature import apply_temperature, fit_temperature, take_log


def draw(seed: int, videos: int, classes: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(videos, classes))
    labels = np.where(rng.random(videos) < 0.6, logits.argmax(1), rng.integers(0, classes, videos))
    return apply_temperature(np.exp(logits - logits.max(1, keepdims=True)), 1.0), labels


@pytest.mark.parametrize(("right", "videos", "odds"), [(80, 100, 4.0), (80, 100, 0.3), (30, 40, 1.5)])
def test_two_classes_of_equal_odds_have_a_closed_form(right, videos, odds):
    """All videos have the log-odds ``odds``; after the temperature these are those of the smoothed share of rights."""
    share = 1 / (1 + np.exp(-odds))
    probabilities = np.tile([share, 1 - share], (videos, 1))
    labels = np.where(np.arange(videos) < right, 0, 1)
    spared = 1 / (videos + 2)
    target = (right * (1 - spared) + (videos - right) * spared) / videos
    wanted = odds / np.log(target / (1 - target))
    assert fit_temperature(probabilities, labels) == pytest.approx(wanted, rel=1e-6)


@given(st.integers(0, 2**31), st.integers(2, 60), st.integers(2, 8), st.floats(0.2, 8))
@settings(max_examples=60, deadline=None)
def test_no_other_temperature_has_a_smaller_loss(seed, videos, classes, sharpness):
    probabilities, labels = draw(seed, videos, classes, sharpness)
    spared = 1 / (videos + 2)
    targets = np.full((videos, classes), spared / (classes - 1))
    targets[np.arange(videos), labels] = 1 - spared

    def loss(log_inverse: float) -> float:
        return -(targets * take_log(apply_temperature(probabilities, np.exp(-log_inverse)))).sum(1).mean()

    found = fit_temperature(probabilities, labels)
    everywhere = np.linspace(-np.log(100), np.log(100), 201)
    near = np.clip(-np.log(found) + np.array([-1e-3, 1e-3]), everywhere[0], everywhere[-1])
    assert 0.01 <= found <= 100
    assert loss(-np.log(found)) <= min(map(loss, [*everywhere, *near])) + 1e-9


@given(st.integers(0, 2**31), st.floats(0.05, 20))
@settings(max_examples=40, deadline=None)
def test_it_keeps_the_order_of_the_classes_and_their_sum(seed, temperature):
    probabilities, _ = draw(seed, 20, 5, 2.0)
    after = apply_temperature(probabilities, temperature)
    np.testing.assert_allclose(after.sum(1), 1)
    np.testing.assert_array_equal(after.argmax(1), probabilities.argmax(1))


def test_probabilities_of_a_higher_temperature_need_a_lower_one():
    """Were all confidences made three times as sharp, the temperature is three times as high."""
    probabilities, labels = draw(0, 500, 6, 1.0)
    found = fit_temperature(probabilities, labels)
    assert fit_temperature(apply_temperature(probabilities, 1 / 3), labels) == pytest.approx(3 * found, rel=1e-6)


def test_a_temperature_of_one_changes_nothing_and_zeros_are_finite():
    probabilities = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(apply_temperature(probabilities, 1.0), probabilities, atol=1e-12)
    assert np.isfinite(apply_temperature(probabilities, 100.0)).all()


def test_few_videos_that_were_all_recognized_do_not_make_certain():
    probabilities = np.tile([0.7, 0.2, 0.1], (9, 1))
    labels = np.zeros(9, np.int64)
    after = apply_temperature(probabilities, fit_temperature(probabilities, labels))
    assert 0.85 < after[0, 0] < 0.95


def test_no_videos_are_an_error():
    with pytest.raises(ValueError, match="no videos"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64))
