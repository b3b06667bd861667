"""What held-out streams tell of segments: temperature and threshold, and what a judge makes of them."""

import numpy as np
import pytest
import torch

from snn_action.evaluation.rejection import measure_energy
from snn_action.evaluation.segment_calibration import (
    FEWEST,
    JOINED,
    LARGEST,
    SegmentCalibration,
    SegmentJudge,
    calibrate_segments,
    join_clips,
    measure_steps,
    rate_stretch,
)
from snn_action.evaluation.staggered import StaggeredRows
from snn_action.evaluation.stretches import Stretch, choose_cost, find_stretches
from snn_action.evaluation.temperature import apply_temperature, fit_temperature
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.models import build_model

FRAMES = 8


def make_features(clips, labels, lengths=None):
    """Clips of 2 features: the class' sign, and the number of the step within the clip."""
    lengths = np.full(clips, FRAMES) if lengths is None else np.asarray(lengths)
    offset = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    steps = torch.cat([torch.arange(float(length)) for length in lengths])
    rows = torch.stack([torch.tensor(np.repeat(labels, lengths), dtype=torch.float32), steps], 1)
    stream = StreamRows((rows,), np.zeros(clips, np.int64), offset)
    return FeatureSet(np.arange(clips), np.asarray(labels), lengths, (stream,))


def test_streams_are_clips_whose_beginnings_are_cut_by_less_than_a_quarter():
    lengths = np.random.default_rng(0).integers(1, 20, 30)
    features = make_features(30, np.arange(30) % 3, lengths)
    streams = list(join_clips(features, [*range(2, 30)], seed=0))
    assert all(len(rows) == len(labels) for rows, labels in streams)
    begins = []
    for rows, labels in streams:
        assert rows[:, 0].tolist() == labels.tolist()
        starts = [0, *(np.flatnonzero(rows[1:, 1] != rows[:-1, 1] + 1) + 1).tolist()]
        assert len(starts) <= JOINED
        begins += [float(rows[start, 1]) for start in starts]
    assert set(begins) > {0.0, 1.0}
    assert max(begins) <= 20 // 4
    pieces = sum(len(rows) for rows, _ in streams)
    kept = lengths[2:].sum() * -(-FEWEST // 28)
    assert 0.8 * kept < pieces < kept, "each clip is taken equally often"
    again = list(join_clips(features, [*range(2, 30)], seed=0))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(streams, again, strict=True))
    other = list(join_clips(features, [*range(2, 30)], seed=1))
    assert not torch.equal(streams[0][0][:5], other[0][0][:5]) or len(streams[0][0]) != len(other[0][0])


def test_of_many_clips_some_are_left_out_and_of_none_there_is_no_stream():
    features = make_features(1000, np.arange(1000), np.ones(1000, int))
    labels = np.concatenate([labels for _, labels in join_clips(features, [*range(1000)], seed=0)])
    assert len(set(labels)) == len(labels) == LARGEST
    with pytest.raises(ValueError, match="no clips"):
        next(join_clips(features, [], seed=0))


@pytest.fixture(scope="module")
def asked():
    """A model that tells signs apart, its streams, and what it says of them."""
    features = make_features(40, np.arange(40) % 2)
    model = build_model({"type": "lmu", "units": 6, "order": 2, "theta": 4.0, "memory_d": 2}, 2, 3, seed=0).eval()
    with torch.no_grad():
        for part in model.parameters():
            part.mul_(6)  # so that it is sure of something
    streams = [*join_clips(features, [*range(40)], seed=0)]
    return model, streams


@pytest.mark.parametrize("score", ["maximum_softmax", "energy"])
def test_what_is_fitted_is_what_a_plain_loop_finds(asked, score):
    model, streams = asked
    found = calibrate_segments(model, iter(streams), FRAMES, 2, score)
    shares, truth, parts = [], [], []
    for rows, labels in streams:
        said = StaggeredRows(model, FRAMES, 2).advance(rows)
        for one in find_stretches(said.mean, choose_cost(FRAMES)):
            steps = range(int(one.start), int(one.end))
            shares.append(np.mean([said.shares[t, r] for t in steps for r in range(2)], 0, dtype=np.float64))
            truth.append(max(range(3), key=lambda k, steps=steps, labels=labels: sum(labels[t] == k for t in steps)))
            parts.append((said.shares[one.start : one.end], said.totals[one.start : one.end]))
    temperature = fit_temperature(np.array(shares), np.array(truth))
    assert found.temperature == pytest.approx(temperature, rel=1e-4)
    wanted = [
        1 - apply_temperature(mean, temperature).max()
        if score == "maximum_softmax"
        else measure_energy(*part, temperature).mean()
        for mean, part in zip(shares, parts, strict=True)
    ]
    assert len(wanted) > len(streams)
    assert set(truth) == {0, 1}
    np.testing.assert_allclose(found.known_scores, sorted(wanted), atol=1e-5)


def test_segments_of_a_background_class_set_no_threshold_unless_there_is_no_other(asked):
    model, streams = asked
    whole = calibrate_segments(model, iter(streams), FRAMES, 2, "maximum_softmax")
    part = calibrate_segments(model, iter(streams), FRAMES, 2, "maximum_softmax", background=0)
    assert part.temperature == whole.temperature
    assert 0 < len(part.known_scores) < len(whole.known_scores)
    one = [(rows, np.zeros_like(labels)) for rows, labels in streams]
    assert len(calibrate_segments(model, iter(one), FRAMES, 2, "energy", 0).known_scores) == len(whole.known_scores)
    with pytest.raises(ValueError, match="no stream"):
        calibrate_segments(model, iter(()), FRAMES, 2, "energy")


def test_a_share_of_known_segments_is_kept():
    fitted = SegmentCalibration(1.0, tuple(np.linspace(0, 1, 20).tolist()))
    threshold = fitted.find_threshold(0.9)
    assert sum(score <= threshold for score in fitted.known_scores) == 18
    assert fitted.to_content(0.9)["threshold"] == threshold


@pytest.mark.parametrize(("score", "value"), [("maximum_softmax", 1 - 0.36 / (0.36 + 0.09 + 0.01)), ("energy", -2.5)])
def test_a_judge(score, value):
    stretch = Stretch(0, 1.0, 2.0, 10, np.array([6.0, 3.0, 1.0]), -25.0)
    below, above = (SegmentCalibration(0.5, (value + by,)) for by in (1e-6, -1e-6))
    known = SegmentJudge("abc", below, score, 0.95, None)(stretch)
    unknown = SegmentJudge("abc", above, score, 0.95, None)(stretch)
    assert known.score == unknown.score == pytest.approx(value) == rate_stretch(stretch, score, 0.5)
    assert (known.name, known.is_unknown, unknown.name, unknown.is_unknown) == ("a", False, "a", True)
    assert known.confidence == pytest.approx(0.36 / 0.46)
    assert (known.start, known.end, known.threshold) == (1, 2, value + 1e-6)
    assert SegmentJudge("abc", below, score, 0.95, "a")(stretch).is_unknown
    assert not SegmentJudge("abc", below, score, 0.95, "b")(stretch).is_unknown


def test_the_energy_of_steps_is_that_of_the_logits(asked):
    model, streams = asked
    said = StaggeredRows(model, FRAMES, 2).advance(streams[0][0])
    with torch.inference_mode():
        logits, _ = model(streams[0][0][: FRAMES // 2].unsqueeze(0))  # before the first row begins anew
    wanted = -1.7 * (logits[0].double() / 1.7).logsumexp(-1)
    found = measure_steps(said, "energy", 1.7)
    assert len(found) == len(streams[0][0])
    np.testing.assert_allclose(found[: FRAMES // 2], wanted, atol=1e-5)
    assert not measure_steps(said, "maximum_softmax", 1.7).any()
