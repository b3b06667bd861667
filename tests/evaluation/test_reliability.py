"""The calibration error, by hand and by its own noise."""

import numpy as np
import pytest

from snn_action.evaluation.reliability import estimate_noise, measure_reliability


def test_an_example_by_hand():
    """Two bins of ten: three videos at 0.8 of which two are right, one at 0.55 that is wrong.

    (3 |2/3 - 0.8| + 1 |0 - 0.55|) / 4 = (0.4 + 0.55) / 4
    """
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.45, 0.55]])
    labels = np.array([0, 0, 0, 0])
    found = measure_reliability(probabilities, labels, bins=10)
    assert found.error == pytest.approx((0.4 + 0.55) / 4)
    assert [part.videos for part in found.bins] == [1, 3]
    assert found.bins[1].accuracy == pytest.approx(2 / 3)
    assert found.loss == pytest.approx(-np.log([0.8, 0.8, 0.2, 0.45]).mean())


def test_certainty_falls_into_the_last_bin():
    found = measure_reliability(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    assert [(part.videos, part.confidence, part.accuracy) for part in found.bins] == [(2, 1.0, 0.5)]
    assert found.error == 0.5


@pytest.mark.parametrize("videos", [50, 800])
def test_of_honest_confidences_the_error_is_the_noise(videos):
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.5, 1, videos)
    probabilities = np.stack([confidence, 1 - confidence], 1)
    errors = [
        measure_reliability(probabilities, (rng.random(videos) > confidence).astype(np.int64)).error for _ in range(60)
    ]
    assert np.mean(errors) == pytest.approx(estimate_noise(confidence), rel=0.12)


def test_noise_falls_with_the_number_of_videos_and_is_the_same_each_time():
    few, many = np.full(20, 0.8), np.full(2000, 0.8)
    assert estimate_noise(few) > 5 * estimate_noise(many)
    assert estimate_noise(few) == estimate_noise(few)
