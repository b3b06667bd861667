"""Where actions begin and end: the best course of classes, step by step, and how much of it is right."""

import itertools

import numpy as np
import pytest

from snn_action.evaluation.segments import Segment, Segmenter, SegmentMatch, find_segments, match_segments
from snn_action.evaluation.stretches import LEAST, choose_cost

NAMES = ("a", "b", "c")


def make_evidence(labels, sure=0.8):
    evidence = np.full((len(labels), 3), (1 - sure) / 2)
    evidence[np.arange(len(labels)), labels] = sure
    return evidence


def find(labels, cost=3.0, sure=0.8):
    return find_segments(NAMES, np.arange(len(labels)) / 10, make_evidence(labels, sure), cost)


def best_course(evidence, cost):
    """By trying all courses of classes."""
    logs = np.log(np.maximum(evidence, LEAST))

    def score(course):
        changes = sum(a != b for a, b in itertools.pairwise(course))
        return logs[np.arange(len(course)), course].sum() - cost * changes

    return max(itertools.product(range(evidence.shape[1]), repeat=len(evidence)), key=score)


def test_segments_of_clear_evidence():
    found = find([0] * 10 + [1] * 20 + [2] * 10)
    assert [(one.name, one.start, one.end) for one in found] == [("a", 0, 1), ("b", 1, 3), ("c", 3, 4)]
    assert [one.confidence for one in found] == pytest.approx([0.8] * 3)
    assert found[1].seconds == 2


def test_a_short_flicker_is_no_segment_and_a_low_cost_makes_it_one():
    labels = [0] * 10 + [1] + [0] * 10
    (only,) = find(labels)
    assert only.confidence == pytest.approx((20 * 0.8 + 0.1) / 21)
    assert len(find(labels, cost=0.5)) == 3


def test_it_is_the_best_of_all_courses():
    rng = np.random.default_rng(0)
    for seed in range(20):
        evidence = rng.dirichlet([0.5] * 3, 8)
        course = best_course(evidence, 1.5)
        ends = [0, *(t for t in range(1, 8) if course[t] != course[t - 1]), 8]
        wanted = [(NAMES[course[begin]], begin, end) for begin, end in itertools.pairwise(ends)]
        found = find_segments(NAMES, [*range(8)], evidence, 1.5)
        assert [(one.name, one.start, one.end) for one in found] == wanted, seed


def test_segments_are_told_once_and_as_soon_as_all_courses_agree():
    segmenter = Segmenter(NAMES, 3.0)
    told = [segmenter.add(time / 10, now) for time, now in enumerate(make_evidence([0] * 10 + [1] * 20 + [2] * 10))]
    first = next(step for step, segments in enumerate(told) if segments)
    assert 10 < first < 15
    flat = [one for segments in told for one in segments] + segmenter.end()
    assert [one.name for one in flat] == ["a", "b", "c"]
    assert segmenter.end() == []


def test_nothing_is_held_without_end():
    """Two classes of equal evidence never agree; the time that is held is bounded all the same."""
    segmenter = Segmenter(NAMES, 0.5, patience=2.0)
    rng = np.random.default_rng(0)
    last, longest = 0.0, 0.0
    for step in range(3000):
        evidence = np.array([0.49, 0.49, 0.02]) + 0.3 * rng.uniform(-1, 1) * np.array([1, -1, 0])
        for segment in segmenter.add(step / 10, evidence):
            assert segment.start == pytest.approx(last)
            last = segment.end
        depth = [0 if course.before is None else course.before.depth for course in segmenter._finder._courses]
        longest = max(longest, max(depth) - min(depth))
    assert last > 290
    assert longest < 40


def test_a_class_of_which_nothing_is_thought_possible_counts_as_little():
    evidence = make_evidence([0] * 3 + [1] * 30, sure=1.0)
    assert [one.name for one in find_segments(NAMES, [*range(33)], evidence, 20.0)] == ["a", "b"]


def test_of_no_step_there_is_no_segment():
    assert Segmenter(NAMES, 1.0).end() == []


def test_a_single_step():
    (only,) = find([1])
    assert (only.name, only.start, only.end) == ("b", 0, 0)


def test_the_default_cost_goes_with_the_length_of_clips():
    assert choose_cost(32) == 2 * choose_cost(16) > 0


def judge(stretch):
    """Unknown where less than 0.7 speaks for the class."""
    share = stretch.evidence.max() / stretch.steps
    return Segment(NAMES[stretch.label], stretch.start, stretch.end, share, share < 0.7, 1 - share, 0.3)


def judged(labels, sure):
    evidence = np.concatenate([make_evidence([label], one) for label, one in zip(labels, sure, strict=True)])
    return evidence, find_segments(NAMES, np.arange(len(labels)) / 10, evidence, 3.0, judge=judge)


def test_a_judge_changes_no_border_and_unknown_neighbors_are_one_segment():
    labels = [0] * 20 + [1] * 30 + [2] * 40 + [0] * 20
    evidence, found = judged(labels, [0.9] * 20 + [0.6] * 70 + [0.9] * 20)
    assert [(one.name, one.start, one.end) for one in found] == [("a", 0, 2), ("c", 2, 9), ("a", 9, 11)]
    assert [one.is_unknown for one in found] == [False, True, False]
    mean = evidence[20:90].mean(0)
    assert found[1].confidence == pytest.approx(mean.max())
    assert (found[1].score, found[1].threshold) == (pytest.approx(1 - mean.max()), 0.3)
    assert [one.words for one in found] == ["a", "unknown, nearest: c", "a"]
    plain = find_segments(NAMES, np.arange(110) / 10, evidence, 3.0)
    assert [(one.start, one.end) for one in plain] == [(0, 2), (2, 5), (5, 9), (9, 11)]
    assert all(one.is_unknown is one.score is one.threshold is None for one in plain)


def test_a_known_neighbor_of_an_unknown_segment_stays():
    _, found = judged([0] * 20 + [1] * 20, [0.6] * 20 + [0.9] * 20)
    assert [(one.name, one.is_unknown, one.end) for one in found] == [("a", True, 2), ("b", False, 4)]


def test_an_unknown_stream_without_end_is_one_segment_that_takes_no_memory():
    segmenter = Segmenter(NAMES, 3.0, patience=2.0, judge=judge)
    told = []
    for step in range(2000):
        told += segmenter.add(step / 10, make_evidence([step // 20 % 3], 0.6)[0])
    assert told == []
    (only,) = segmenter.end()
    assert (only.is_unknown, only.start, only.end) == (True, 0, pytest.approx(200))
    assert segmenter.end() == []


def test_what_lasts_now_is_judged_as_far_as_it_goes():
    segmenter, evidence = Segmenter(NAMES, 3.0, judge=judge), make_evidence([0] * 20, 0.9)
    assert segmenter.look() is None
    for step, now in enumerate(np.concatenate([evidence, make_evidence([1] * 20, 0.6)])):
        segmenter.add(step / 10, now)
        if step == 19:
            assert (segmenter.look().name, segmenter.look().is_unknown) == ("a", False)
    last = segmenter.look()
    assert (last.name, last.is_unknown, last.start, last.end) == ("b", True, 2, 4)
    assert last.confidence == pytest.approx(0.6)


def segment(name, start, end):
    return Segment(name, start, end, 1.0)


def test_f1_counts_class_overlap_and_each_true_segment_once():
    true = [segment("a", 0, 10), segment("b", 10, 20), segment("a", 20, 30)]
    assert match_segments(true, true) == SegmentMatch(3, 3, 3)
    assert match_segments(true, true).f1 == 1
    half = [segment("a", 0, 5), segment("b", 10.1, 15), segment("b", 20, 30)]
    assert match_segments(half, true) == SegmentMatch(1, 3, 3)  # half of the first, less of the second, a wrong class
    twice = [segment("a", 0, 5), segment("a", 5, 10)]
    assert match_segments(twice, true[:1]) == SegmentMatch(1, 2, 1)
    assert match_segments([], true).f1 == 0
    total = match_segments(half, true) + match_segments(true, true)
    assert total.f1 == pytest.approx(2 * 4 / 12)
