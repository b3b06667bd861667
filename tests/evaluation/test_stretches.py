"""Stretches of the best course of classes: their sums, and what is joined."""

import itertools

import numpy as np
import pytest

from snn_action.evaluation.stretches import Stretch, StretchFinder, find_stretches


def test_sums_are_those_of_the_steps_of_a_stretch():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2, 1, 0], [30, 10, 25, 15])
    evidence = rng.dirichlet([0.7] * 3, 80) * 0.4
    evidence[np.arange(80), labels] += 0.6
    energies = rng.normal(size=80) - 5
    finder, found = StretchFinder(2.0), []
    for step, (now, energy) in enumerate(zip(evidence, energies, strict=True)):
        found += finder.add(step, now, energy)
    last = finder.look()
    found += finder.end()
    assert (last.label, last.start, last.end) == (found[-1].label, found[-1].start, found[-1].end)
    assert [one.label for one in found] == [0, 2, 1, 0]
    assert [one.end for one in found] == [30, 40, 65, 80]
    assert all(a.end == b.start for a, b in itertools.pairwise(found))
    for one in found:
        steps = slice(int(one.start), int(one.end))
        assert one.steps == one.end - one.start
        np.testing.assert_allclose(one.evidence, evidence[steps].sum(0))
        assert one.energy == pytest.approx(energies[steps].sum())
        assert one.confidence == pytest.approx(evidence[steps, one.label].mean())
    same = find_stretches(evidence, 2.0)
    assert [(one.label, one.start, one.end) for one in same] == [(one.label, one.start, one.end) for one in found]


def test_two_as_one():
    first = Stretch(0, 1.0, 3.0, 4, np.array([2.5, 1.5, 0.0]), -8.0)
    both = first.join(Stretch(2, 3.0, 8.0, 10, np.array([1.0, 3.0, 6.0]), -15.0))
    assert (both.label, both.start, both.end, both.steps, both.energy) == (2, 1, 8, 14, -23)
    assert both.evidence.tolist() == [3.5, 4.5, 6.0]
    assert both.confidence == pytest.approx(6 / 14)


def test_a_stream_of_one_step():
    (only,) = find_stretches(np.array([[0.2, 0.8]]), 1.0)
    assert (only.label, only.steps, only.evidence.tolist()) == (1, 1, [0.2, 0.8])
    assert find_stretches([], 1.0) == []
