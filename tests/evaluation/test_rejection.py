"""Scores of strangeness: against the logits themselves, AUROC by counting pairs, thresholds by counting videos."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_action.evaluation import ClipPredictions
from snn_action.evaluation.rejection import choose_score, find_threshold, measure_auroc, score_videos


def predict(logits: torch.Tensor, mask: torch.Tensor, video: list[int], averaged: bool = False) -> ClipPredictions:
    """What ``predict_clips`` keeps of logits (C, T, K)."""
    shares = logits.softmax(-1) * mask.unsqueeze(-1)
    totals = logits.logsumexp(-1) * mask
    where = np.array(video)
    return ClipPredictions(
        shares.numpy(), mask.numpy(), np.zeros_like(where), where, None, averaged, totals=totals.numpy()
    )


@pytest.fixture
def logits():
    return 3 * torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))


MASK = torch.tensor([[True] * 4, [True, True, False, False], [True] * 4])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_energy_is_that_of_the_logits_averaged_over_steps_then_clips(logits, temperature):
    energy = -temperature * (logits / temperature).logsumexp(-1)
    clips = torch.stack([step[real].mean() for step, real in zip(energy, MASK, strict=True)])
    wanted = [float(clips[:2].mean()), float(clips[2])]
    said = predict(logits, MASK, [7, 7, 3])
    np.testing.assert_allclose(score_videos(said, "energy", temperature), wanted, rtol=1e-5)


def test_of_a_model_that_averages_time_the_last_step_counts(logits):
    said = predict(logits, MASK, [0, 1, 2], averaged=True)
    last = [logits[0, 3], logits[1, 1], logits[2, 3]]
    np.testing.assert_allclose(score_videos(said, "energy", 1.0), [-float(one.logsumexp(0)) for one in last], rtol=1e-5)
    wanted = [1 - float((one / 2).softmax(0).max()) for one in last]
    np.testing.assert_allclose(score_videos(said, "maximum_softmax", 2.0), wanted, rtol=1e-4)


def test_the_energy_needs_the_totals(logits):
    said = predict(logits, MASK, [0, 1, 2])
    without = ClipPredictions(said.probabilities, said.mask, said.label, said.video, None)
    with pytest.raises(ValueError, match="totals"):
        score_videos(without, "energy", 1.0)


@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=20),
    st.lists(st.integers(-4, 4), min_size=1, max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_the_auroc_counts_pairs(known, unknown):
    pairs = [(u > k) + 0.5 * (u == k) for u in unknown for k in known]
    assert measure_auroc(np.array(known, float), np.array(unknown, float)) == pytest.approx(np.mean(pairs))


def test_the_auroc_needs_both_sides():
    with pytest.raises(ValueError, match="unknown"):
        measure_auroc(np.zeros(3), np.zeros(0))


@given(st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=1, max_size=50), st.floats(0, 1, exclude_min=True))
@settings(max_examples=100, deadline=None)
def test_a_threshold_is_the_least_that_keeps_the_share(scores, share):
    values = np.array(scores)
    threshold = find_threshold(values, share)
    assert (values <= threshold).mean() >= share - 1e-12
    assert threshold in values
    below = values[values < threshold]
    assert not len(below) or (values <= below.max()).mean() < share + 1e-12


def test_the_better_score_is_chosen_and_at_a_tie_the_softmax():
    assert choose_score({"maximum_softmax": 0.7, "energy": 0.8}) == "energy"
    assert choose_score({"maximum_softmax": 0.8, "energy": 0.8}) == "maximum_softmax"
    assert choose_score(None) == "maximum_softmax"
