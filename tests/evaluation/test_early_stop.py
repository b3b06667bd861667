import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_action.evaluation.accuracy import average_clips, average_steps
from snn_action.evaluation.early_stop import Stop, choose_stop, find_stop, find_stops, running_mean, stop_early
from snn_action.evaluation.predictions import ClipPredictions


def make(probabilities, label, mask=None, averaged=False) -> ClipPredictions:
    probabilities = np.array(probabilities, np.float32)
    mask = np.ones(probabilities.shape[:2], bool) if mask is None else np.array(mask)
    label = np.array(label)
    return ClipPredictions(probabilities, mask, label, np.arange(len(label)), None, averaged)


# class 0 grows more probable; the running means are .5, .6, .7
CLIP = [[0.5, 0.5], [0.7, 0.3], [0.9, 0.1]]


@pytest.mark.parametrize(("confidence", "steps"), [(0.4, 1), (0.55, 2), (0.6, 2), (0.65, 3), (0.99, 3)])
def test_a_clip_ends_when_the_running_mean_is_sure(confidence, steps):
    predictions = make([CLIP], [0])
    assert running_mean(predictions)[0, :, 0] == pytest.approx([0.5, 0.6, 0.7])
    assert find_stops(predictions, Stop(confidence - 1e-6)) == [steps]
    stopped = stop_early(predictions, Stop(confidence - 1e-6))
    assert stopped.mask.sum() == steps
    assert average_steps(stopped)[0, 0] == pytest.approx([0.5, 0.6, 0.7][steps - 1])


def test_a_model_that_averages_time_itself_is_asked_as_it_is():
    predictions = make([[[0.5, 0.5], [0.95, 0.05], [0.6, 0.4]]], [0], averaged=True)
    assert find_stops(predictions, Stop(0.9)) == [2]
    assert average_steps(stop_early(predictions, Stop(0.9)))[0, 0] == pytest.approx(0.95)


def test_padding_is_never_looked_at():
    predictions = make([[[0.5, 0.5], [0.6, 0.4], [0.0, 0.0]]], [0], mask=[[True, True, False]])
    assert find_stops(predictions, Stop(0.99)) == [2]
    assert running_mean(predictions)[0, 2, 0] == pytest.approx(0.55)


@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(1, 7), st.booleans())
def test_a_clip_that_grows_ends_where_the_whole_one_does(seed, confidence, earliest, averaged):
    shares = np.random.default_rng(seed).dirichlet([0.5] * 3, (1, 6)).astype(np.float32)
    stop = Stop(confidence, earliest)
    steps = int(find_stops(make(shares, [0], averaged=averaged), stop)[0])
    found = [find_stop(shares[0, :some], averaged, stop) for some in range(1, 7)]
    assert found[: steps - 1] == [None] * (steps - 1)
    assert found[steps - 1 :] == [steps] * (7 - steps) or (steps == 6 and found[5] is None)


def test_the_confidence_is_the_lowest_that_loses_nothing():
    early_wrong = [[0.2, 0.8], [0.9, 0.1], [0.9, 0.1]]  # class 1 at first, class 0 in the end
    early_right = [[0.95, 0.05], [0.9, 0.1], [0.9, 0.1]]
    predictions = make([early_wrong, *[early_right] * 19], [0] * 20)
    chosen = choose_stop(predictions)
    assert chosen.confidence > 0.8  # else the first clip would be lost
    stopped = stop_early(predictions, chosen)
    assert average_clips(stopped).correct.all()
    assert stopped.mask.sum(1).tolist() == [3, *[1] * 19]
    assert chosen.earliest == 1  # 19 of 20 are right at once


def test_no_clip_ends_where_a_model_is_sure_of_what_it_cannot_know():
    """As one that looks at differences: its first step says the same of every clip, and is the surest of all."""
    clips = [[[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8]], [[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2]]]
    held_out = make(clips, [1, 0])
    chosen = choose_stop(held_out)
    assert chosen.earliest == 3  # the mean over two steps still says class 0 of the first clip
    surer = np.array(clips)
    surer[:, 0] = [0.999, 0.001]  # the model that is tested
    tested = make(surer, [1, 0])
    assert average_clips(stop_early(tested, chosen)).correct.all()
    assert average_clips(stop_early(tested, chosen._replace(earliest=1))).correct.tolist() == [False, True]
    assert find_stops(tested, Stop(0.5, 2)).tolist() == [2, 2]


@given(st.integers(0, 2**31))
def test_a_confidence_that_means_nothing_loses_a_tenth_at_most(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(3), (20, 6))
    predictions = make(probabilities, rng.integers(0, 3, 20))
    stop = choose_stop(predictions)._replace(confidence=0.0)
    full = average_clips(predictions).correct.mean()
    assert average_clips(stop_early(predictions, stop)).correct.mean() >= 0.9 * full - 1e-12


@given(st.integers(0, 2**31), st.booleans())
def test_what_was_chosen_loses_no_held_out_video(seed, averaged):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(12, 6, 3)).cumsum(1)
    probabilities = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    mask = np.arange(6) < rng.integers(1, 7, 12)[:, None]
    predictions = make(probabilities * mask[:, :, None], rng.integers(0, 3, 12), mask, averaged)
    stopped = stop_early(predictions, choose_stop(predictions))
    assert average_clips(stopped).correct.mean() >= average_clips(predictions).correct.mean()
    assert (stopped.mask.sum(1) >= 1).all()
    assert (stopped.mask <= mask).all()
