import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_action.config import AugmentSettings
from snn_action.training.resampling import Pace, draw_times, find_pace, interpolate, stretch
from snn_action.video.settings import ClipSettings

speeds = st.tuples(st.floats(0.25, 4), st.floats(0.25, 4)).map(lambda pair: tuple(sorted(pair)))
any_settings = st.builds(
    AugmentSettings, speed=speeds, jitter=st.sampled_from([0.0, 0.5, 3.0]), drop=st.sampled_from([0.0, 0.4, 0.99])
)
any_pace = st.builds(Pace, st.none() | st.integers(1, 5).map(float), st.integers(1, 20), st.booleans()).filter(
    lambda pace: pace.whole or pace.rows
)


def draw(length, pace, seed=0, **settings):
    return draw_times(length, pace, AugmentSettings(**settings), np.random.default_rng(seed))


@given(st.integers(1, 60), any_pace, any_settings, st.integers(0, 2**32))
def test_times_are_in_order_within_the_rows_and_not_too_many(length, pace, settings, seed):
    times = draw_times(length, pace, settings, np.random.default_rng(seed))
    assert 1 <= len(times) <= pace.steps
    assert times.min() >= 0
    assert times.max() <= length - 1
    assert (np.diff(times) >= 0).all()


@given(st.integers(1, 40), st.integers(0, 9))
def test_with_nothing_switched_on_a_clip_is_as_it_is(length, seed):
    assert draw(length, Pace(1.0, 40, whole=False), seed).tolist() == list(range(length))


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 9))
def test_frames_are_drawn_anew_one_of_each_equal_part(length, steps, seed):
    times = draw(length, Pace(None, steps, whole=True), seed)
    if length <= steps:
        assert times.tolist() == list(range(length))
        return
    edges = np.arange(steps + 1) * length // steps
    assert (edges[:-1] <= times).all()
    assert (times < edges[1:]).all()
    assert (np.diff(times) > 0).all()


def test_all_frames_of_a_part_are_drawn_about_equally():
    times = np.concatenate([draw(20, Pace(None, 2, whole=True), seed) for seed in range(2000)])
    counts = np.bincount(times.astype(int), minlength=20)
    assert (abs(counts - 200) < 6 * np.sqrt(200)).all()


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 20), st.integers(0, 9))
def test_a_clip_at_a_stride_begins_anywhere_and_keeps_its_stride(length, stride, steps, seed):
    times = draw(length, Pace(float(stride), steps, whole=True), seed)
    assert len(times) == min(steps, (length - 1) // stride + 1)
    assert (np.diff(times) == stride).all()
    assert (times == np.floor(times)).all()


def test_every_begin_of_a_clip_is_drawn_about_equally():
    starts = [int(draw(14, Pace(2.0, 5, whole=True), seed)[0]) for seed in range(2000)]
    counts = np.bincount(starts, minlength=6)
    assert len(counts) == 6
    assert (abs(counts - 2000 / 6) < 6 * np.sqrt(2000 / 6)).all()


@pytest.mark.parametrize(("speed", "steps"), [(0.5, 19), (2.0, 5), (1.0, 10), (4.0, 3)])
def test_speed_lengthens_and_shortens(speed, steps):
    times = draw(10, Pace(1.0, 40, whole=False), speed=(speed, speed))
    assert len(times) == steps
    np.testing.assert_allclose(np.diff(times), speed)
    assert len(draw(10, Pace(1.0, 10, whole=False), speed=(speed, speed))) == min(steps, 10)


def test_half_the_speed_shows_half_of_a_whole_video():
    times = draw(80, Pace(None, 20, whole=True), speed=(0.5, 0.5))
    assert len(times) == 20
    assert times.max() - times.min() < 40
    assert len(draw(80, Pace(None, 20, whole=True), speed=(2.0, 2.0))) == 10


def test_a_short_video_is_lengthened_between_its_frames():
    times = draw(5, Pace(None, 20, whole=True), speed=(0.5, 0.5))
    np.testing.assert_allclose(times, np.arange(9) / 2)


def test_dropped_steps_are_about_that_share():
    kept = [len(draw(40, Pace(1.0, 40, whole=False), seed, drop=0.25)) for seed in range(300)]
    assert abs(np.mean(kept) - 30) < 6 * np.sqrt(40 * 0.25 * 0.75 / 300)
    assert min(len(draw(3, Pace(1.0, 3, whole=False), seed, drop=0.99)) for seed in range(50)) == 1


def test_jitter_moves_steps_by_no_more_than_it_says():
    moved = draw(30, Pace(1.0, 30, whole=False), jitter=0.4) - np.arange(30)
    assert 0 < abs(moved).max() <= 0.4


@given(st.integers(1, 9), st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_rows_between_rows_are_interpolated(length, places):
    rows = np.random.default_rng(length).normal(size=(length, 3)).astype(np.float32)
    times = np.array(places) * (length - 1)
    wanted = np.stack([np.interp(times, np.arange(length), column) for column in rows.T], 1)
    np.testing.assert_allclose(interpolate(rows, times), wanted, atol=1e-5)


def test_stretching_keeps_both_ends():
    rows = np.arange(5.0, dtype=np.float32)[:, None]
    assert stretch(rows, 9)[:, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    assert stretch(rows, 1).tolist() == [[0]]
    assert stretch(rows[:1], 3).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("sampling", "rows"), [("first", 3), ("sliding", 3), ("uniform", None), ("segments", None), ("random", None)]
)
def test_the_pace_follows_the_sampling(sampling, rows):
    clip = ClipSettings(sampling=sampling, stride=3, frames=7)
    assert find_pace(clip, 5, redraw=True) == Pace(rows, 7, whole=True)
    assert find_pace(clip, 5, redraw=False) == Pace(1.0, 5, whole=False)
