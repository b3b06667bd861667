import importlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from snn_action.core.compat import import_torchvision
from snn_action.evaluation import accuracy
from snn_action.evaluation.predictions import ClipPredictions
from snn_action.models import Population

import_torchvision()  # which torchmetrics imports
reference = importlib.import_module("torchmetrics").functional.classification


@st.composite
def made_predictions(draw):
    """Clips of unequal length, several of one video, with shares of 1/16: sums are exact, ties do occur."""
    clips = draw(st.integers(1, 8))
    classes, steps = draw(st.integers(2, 7)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    counts = random.multinomial(16, np.full(classes, 1 / classes), (clips, steps))
    length = random.integers(1, steps + 1, clips)
    length[0] = steps
    mask = np.arange(steps) < length[:, None]
    video = random.integers(0, 4, clips) * 7
    label = (video // 7) % classes
    return ClipPredictions((counts / 16 * mask[:, :, None]).astype(np.float32), mask, label, video, None)


def by_hand(predictions, seen=None):
    """Accuracies by loops over lists of rows, a row a real step."""
    clips = [
        [row.tolist() for row, real in zip(rows, mask, strict=True) if real]
        for rows, mask in zip(predictions.probabilities, predictions.mask, strict=True)
    ]
    labels, videos = predictions.label.tolist(), predictions.video.tolist()

    def mean(rows):
        return [sum(column) / len(rows) for column in zip(*rows, strict=True)]

    def right(row, label):
        return row.index(max(row)) == label

    steps = [right(row, label) for rows, label in zip(clips, labels, strict=True) for row in rows]
    last = [right(rows[-1], label) for rows, label in zip(clips, labels, strict=True)]
    means = [mean(rows[:seen]) for rows in clips]
    clip = [right(row, label) for row, label in zip(means, labels, strict=True)]
    video = []
    for name in sorted(set(videos)):
        own = [row for row, other in zip(means, videos, strict=True) if other == name]
        video.append(right(mean(own), labels[videos.index(name)]))
    kinds = {"timestep": steps, "last": last, "clip": clip, "video": video}
    return {kind: sum(values) / len(values) for kind, values in kinds.items()}


@given(made_predictions())
def test_the_four_accuracies_equal_loops(predictions):
    assert accuracy.measure_accuracy(predictions) == pytest.approx(by_hand(predictions))


@given(made_predictions())
def test_anytime_equals_a_loop_and_ends_at_video_accuracy(predictions):
    anytime = accuracy.measure_anytime(predictions)
    steps = predictions.mask.shape[1]
    assert anytime == pytest.approx([by_hand(predictions, t)["video"] for t in range(1, steps + 1)])
    assert anytime[-1] == accuracy.measure_accuracy(predictions)["video"]


@given(made_predictions(), st.floats(0, 1))
def test_padding_is_never_looked_at(predictions, garbage):
    dirty = np.where(predictions.mask[:, :, None], predictions.probabilities, np.float32(garbage))
    other = ClipPredictions(dirty, predictions.mask, predictions.label, predictions.video, None)
    assert accuracy.measure_loss(other) == accuracy.measure_loss(predictions)
    assert accuracy.measure_anytime(other) == accuracy.measure_anytime(predictions)


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(made_predictions(), st.randoms())
def test_the_order_of_clips_does_not_matter(predictions, random):
    order = list(range(len(predictions.label)))
    random.shuffle(order)
    mixed = ClipPredictions(
        *(part[order] for part in (predictions.probabilities, predictions.mask, predictions.label, predictions.video)),
        None,
    )
    assert accuracy.measure_loss(mixed) == pytest.approx(accuracy.measure_loss(predictions))
    shares = [accuracy.average_clips(predictions, t).probabilities for t in range(1, predictions.mask.shape[1] + 1)]
    assume(all((np.diff(np.sort(part, 1)[:, -2:]) > 1e-9).all() for part in shares))  # a tie falls by rounding
    assert accuracy.measure_anytime(mixed) == accuracy.measure_anytime(predictions)


@given(made_predictions())
def test_confusion_classes_and_video_accuracy_are_torchmetrics_own(predictions):
    videos = accuracy.average_clips(predictions)
    classes = videos.probabilities.shape[1]
    predicted, label = torch.from_numpy(videos.predicted), torch.from_numpy(videos.label)
    confusion = accuracy.count_confusion(videos)
    assert confusion.tolist() == reference.multiclass_confusion_matrix(predicted, label, classes).tolist()
    assert confusion.sum() == len(videos.video)
    whole = accuracy.measure_accuracy(predictions)["video"]
    assert whole == pytest.approx(float(reference.multiclass_accuracy(predicted, label, classes, average="micro")))
    recall = reference.multiclass_recall(predicted, label, classes, average=None)
    names = tuple(f"class {k}" for k in range(classes))
    for k, (name, found) in enumerate(accuracy.measure_classes(confusion, names).items()):
        assert name == names[k]
        assert found["videos"] == int((label == k).sum())
        assert found["correct"] == int(confusion[k, k])
        if found["videos"]:
            assert found["accuracy"] == pytest.approx(float(recall[k]))
        else:
            assert found["accuracy"] is None


@given(made_predictions(), st.integers(1, 8))
def test_top_k_equals_a_sort_and_grows_with_k(predictions, k):
    videos = accuracy.average_clips(predictions)
    hits = []
    for row, label in zip(videos.probabilities.tolist(), videos.label.tolist(), strict=True):
        hits.append(label in sorted(range(len(row)), key=lambda c: (-row[c], c))[:k])
    assert accuracy.measure_top(predictions, k) == pytest.approx(sum(hits) / len(hits))
    assert accuracy.measure_top(predictions, k) <= accuracy.measure_top(predictions, k + 1)
    assert accuracy.measure_top(predictions, 1) == accuracy.measure_accuracy(predictions)["video"]


def predictions_of(rows, label, video, spikes=None, mask=None):
    probabilities = np.array(rows, np.float32)
    mask = np.ones(probabilities.shape[:2], bool) if mask is None else np.array(mask, bool)
    return ClipPredictions(probabilities, mask, np.array(label), np.array(video), spikes)


def test_an_example_by_hand():
    sure, doubtful, wrong = [0.9, 0.1], [0.6, 0.4], [0.1, 0.9]
    predictions = predictions_of(
        [[sure, wrong, wrong], [sure, sure, doubtful], [doubtful, wrong, [0, 0]]],
        label=[0, 0, 1],
        video=[4, 4, 9],
        mask=[[1, 1, 1], [1, 1, 1], [1, 1, 0]],
    )
    found = accuracy.measure_loss(predictions)
    assert found["timestep"] == pytest.approx(5 / 8)  # 1 of 3, 3 of 3, 1 of 2
    assert found["last"] == pytest.approx(2 / 3)
    assert found["clip"] == pytest.approx(2 / 3)  # means 0.367, 0.8, 0.35 of class 0
    assert found["video"] == 1.0  # the sure clip outweighs the wrong one
    own = [[0.9, 0.1, 0.1], [0.9, 0.9, 0.6], [0.4, 0.9]]
    assert found["loss"] == pytest.approx(np.mean([-np.mean(np.log(clip)) for clip in own]), rel=1e-6)
    assert accuracy.measure_anytime(predictions) == [0.5, 1.0, 1.0]


def test_a_sure_and_wrong_prediction_has_a_finite_loss():
    assert 20 < accuracy.measure_loss(predictions_of([[[1.0, 0.0]]], [1], [0]))["loss"] < 1000


def test_videos_come_in_the_order_of_their_first_clip():
    rows = [[[0.2, 0.8]], [[1.0, 0.0]], [[0.4, 0.6]]]
    videos = accuracy.average_clips(predictions_of(rows, [1, 0, 1], [8, 3, 8]))
    assert videos.video.tolist() == [8, 3]
    assert videos.label.tolist() == [1, 0]
    np.testing.assert_allclose(videos.probabilities, [[0.3, 0.7], [1, 0]], rtol=1e-6)


def test_a_pair_is_judged_on_its_own_videos_only():
    rows = [[[0.1, 0.8, 0.1]], [[0.8, 0.1, 0.1]], [[0.1, 0.1, 0.8]], [[0.8, 0.1, 0.1]]]
    videos = accuracy.average_clips(predictions_of(rows, [1, 1, 2, 2], [0, 1, 2, 3]))
    assert accuracy.measure_pair(videos, (0, 1)) == 0.5
    assert accuracy.measure_pair(videos, (1, 2)) == 0.5
    assert accuracy.measure_pair(videos, (0, 7)) is None


def test_spikes_are_counted_by_neuron_and_real_step():
    rows = np.full((2, 4, 2), 0.5)
    mask = [[1, 1, 1, 1], [1, 1, 0, 0]]
    predictions = predictions_of(rows, [0, 1], [0, 1], np.array([[20.0, 10.0], [6.0, 0.0]]), mask)
    found = accuracy.measure_spikes(predictions, [Population("a", 6, 2), Population("b", 4, 1)])
    assert found is not None
    populations = found.pop("populations")
    assert found == {"per_neuron_per_step": 36 / 60, "per_clip": 18.0, "neurons": 10}
    assert populations["a"] == {"per_neuron_per_step": 26 / 36, "per_clip": 13.0, "neurons": 6, "fan_out": 2}
    assert populations["b"] == {"per_neuron_per_step": 10 / 24, "per_clip": 5.0, "neurons": 4, "fan_out": 1}
    assert accuracy.measure_spikes(predictions, ()) is None
    assert accuracy.measure_spikes(predictions_of(rows, [0, 1], [0, 1]), [Population("a", 6, 2)]) is None
