"""The articulated figure: rigid limbs, feet on the floor, smooth motions, pairs that share their poses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_action.datasets.synthetic.casting import draw_clip, draw_person
from snn_action.datasets.synthetic.figure import INDEX, place_joints, project
from snn_action.datasets.synthetic.motions import ACTIONS, PAIRS, Style, sit
from snn_action.datasets.synthetic.render import locate, render_clip

BY_NAME = {action.name: action for action in ACTIONS}
every_action = pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)


def joints_of(action, seed=0, size=1.0, side=0, steps=200, turns=1.0):
    phase = np.linspace(0, 2 * np.pi * turns, steps)
    return place_joints(draw_person(seed, 1).body, action.motion(phase, Style(size, side)))


def test_at_least_ten_actions_in_the_order_of_their_names():
    names = [action.name for action in ACTIONS]
    assert len(names) >= 10
    assert names == sorted(set(names))
    assert {name for pair in PAIRS for name in pair} <= set(names)


@every_action
@pytest.mark.parametrize("side", [0, 1])
def test_limbs_keep_their_lengths(action, side):
    body = draw_person(3, 1).body
    joints = place_joints(body, action.motion(np.linspace(0, 6.3, 50), Style(1.1, side)))
    bones = [("elbow", "hand", body.forearm), ("hip", "knee", body.thigh), ("knee", "ankle", body.shin)]
    bones += [("shoulder", "elbow", body.upper_arm), ("ankle", "toe", body.foot)]
    for name in ("left", "right"):
        for upper, lower, length in bones:
            between = joints[:, INDEX[f"{name}_{upper}"]] - joints[:, INDEX[f"{name}_{lower}"]]
            np.testing.assert_allclose(np.linalg.norm(between, axis=1), length, rtol=1e-12)


@every_action
def test_the_lowest_foot_is_on_the_floor_or_the_hop_above_it(action):
    phase = np.linspace(0, 2 * np.pi, 50)
    angles = action.motion(phase, Style(1.0, 0))
    joints = place_joints(draw_person(0, 2).body, angles)
    np.testing.assert_allclose(joints[..., 1].min(1), angles.hop + 0.02, atol=1e-12)


@every_action
def test_motions_are_closed_loops_and_smooth_but_for_the_cut_of_sitting(action):
    joints = joints_of(action, steps=401)
    np.testing.assert_allclose(joints[0], joints[-1], atol=1e-9)
    step = 2 * np.pi / 400
    speed = np.abs(np.diff(joints, axis=0)).max((1, 2)) / step  # heights of the figure per radian
    jumps = speed > 2.0
    assert speed[~jumps].max() > 0.05
    assert np.flatnonzero(jumps).tolist() == ([399] if action.motion is sit else [])


@every_action
def test_a_clip_is_whole_loops_from_anywhere_between_two_stills(action):
    starts = []
    for group in range(1, 100):
        clip = draw_clip(0, group, 1, action, 32, 16)
        moved = np.flatnonzero(np.diff(clip.phase))
        turned = (clip.phase[-1] - clip.phase[0]) / (2 * np.pi)
        laps = round(turned)
        assert turned == pytest.approx(laps)
        assert laps >= 1
        before, after = moved[0], len(clip.phase) - 2 - moved[-1]  # frames after or before which nothing moves
        assert before >= 1
        assert after >= 1
        assert before + after < 16
        np.testing.assert_allclose(np.diff(clip.phase)[moved], 2 * np.pi * laps / len(moved))
        np.testing.assert_allclose(clip.shake[0], clip.shake[-1], atol=1e-12)
        assert (np.diff(clip.shake, axis=0)[[*range(before), *range(-after, 0)]] == 0).all()
        starts.append(clip.phase[0] / (2 * np.pi))
    counts, _ = np.histogram(starts, 4, (0, 1))
    assert counts.min() > 10  # of 99: uniform ones fall below that once in some ten thousand


def test_sitting_lowers_the_pelvis_to_the_stool_and_keeps_the_feet():
    action, body = BY_NAME["SitDown"], draw_person(0, 1).body
    joints = place_joints(body, action.motion(np.linspace(0, 2 * np.pi - 1e-9, 200), Style(1.0, 0)))
    assert joints[0, INDEX["pelvis"], 1] > 0.9 * (body.thigh + body.shin)
    assert joints[-1, INDEX["pelvis"], 1] == pytest.approx(body.shin, abs=0.1)
    assert (np.diff(joints[:, INDEX["pelvis"], 1]) < 1e-3).all()
    np.testing.assert_allclose(joints[:, INDEX["left_ankle"], 0], 0, atol=1e-12)


@pytest.mark.parametrize("side", [0, 1])
def test_the_wave_goes_over_the_head_from_the_pictures_left_to_its_right(side):
    joints = joints_of(BY_NAME["WaveLeftToRight"], side=side, steps=401)
    plane, _ = project(joints, np.pi / 2, 0.0)
    hand, shoulder = (INDEX[f"{('left', 'right')[side]}_{part}"] for part in ("hand", "shoulder"))
    above = plane[:, hand, 1] > plane[:, shoulder, 1]
    (begin,), (end,) = np.flatnonzero(np.diff(above.astype(int)) == 1), np.flatnonzero(np.diff(above.astype(int)) == -1)
    right = plane[begin + 1 : end + 1, hand, 0]
    assert right[0] < -0.1
    assert right[-1] > 0.1
    assert (np.diff(right) > -2e-3).all()
    assert 0.55 < above.mean() < 0.7  # most of the time is spent there


@given(yaw=st.floats(-7, 7), pitch=st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_a_view_is_a_rotation(yaw, pitch):
    joints = joints_of(BY_NAME["Kick"], steps=3)
    plane, depth = project(joints, yaw, pitch)
    seen = np.concatenate([plane, depth[..., None]], -1)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=-1), np.linalg.norm(joints, axis=-1), atol=1e-12)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("group", range(1, 6))
def test_a_pair_shows_the_same_frames_the_same_ones_first_and_last(pair, group):
    clips = [draw_clip(5, group, 2, BY_NAME[name], 16, 8) for name in pair]
    (one, places), (two, others) = (render_clip(clip, 48) for clip in clips)
    assert (one != two).any()
    (moving,) = np.nonzero(clips[0].order != clips[1].order)
    before, after = moving[0], len(one) - 1 - moving[-1]
    assert before >= 2  # a still one, and that from which the motion goes on
    assert after >= 1
    np.testing.assert_array_equal(one[:before], two[:before])
    np.testing.assert_array_equal(one[-after:], two[-after:])
    assert sorted(frame.tobytes() for frame in one) == sorted(frame.tobytes() for frame in two)
    assert sorted(place.tobytes() for place in places) == sorted(place.tobytes() for place in others)


@pytest.mark.parametrize(("forward", "backward"), [pair for pair in PAIRS if pair[1] != "Run"])
def test_what_moves_in_a_reversed_pair_is_reversed(forward, backward):
    clips = [draw_clip(5, 3, 2, BY_NAME[name], 16, 8) for name in (forward, backward)]
    (first, places), (second, back) = (render_clip(clip, 48) for clip in clips)
    (moving,) = np.nonzero(clips[0].order != clips[1].order)
    shown = slice(moving[0], moving[-1] + 1)
    np.testing.assert_array_equal(first[shown], second[shown][::-1])
    np.testing.assert_array_equal(places[shown], back[shown][::-1])


def test_running_is_three_times_as_fast_as_walking_whatever_the_group():
    for group in range(1, 100):
        walk, run = (draw_clip(1, group, 1, BY_NAME[name], 32, 16) for name in ("Walk", "Run"))
        np.testing.assert_array_equal(walk.phase, run.phase)
        walking, running = (np.diff(clip.phase[clip.order]) % (2 * np.pi) for clip in (walk, run))
        slow, quick = walking[walking > 1e-9], running[running > 1e-9]
        assert len(slow) == pytest.approx(len(quick), abs=1)
        np.testing.assert_allclose(slow, slow[0])
        np.testing.assert_allclose(quick[:-1], 3 * slow[0])
        assert 3 * slow[0] < np.pi  # the way that legs go can be seen


@given(
    seed=st.integers(0, 2**32 - 1),
    group=st.integers(1, 99),
    frames=st.integers(8, 1000),
    number=st.integers(0, len(ACTIONS) - 1),
)
@settings(max_examples=200, deadline=None)
def test_every_frame_of_the_loop_is_shown_once_whatever_the_length(seed, group, frames, number):
    clip = draw_clip(seed, group, 1, ACTIONS[number], frames, 16)
    assert sorted(clip.order) == list(range(frames))
    assert (clip.order[[0, 1, -1]] == [0, 1, frames - 1]).all()
    assert clip.phase[0] == clip.phase[1]
    assert np.cos(clip.phase[-1] - clip.phase[0]) == pytest.approx(1)


@every_action
def test_the_figure_stays_in_the_picture(action):
    for group in range(1, 100):
        places, _, _ = locate(draw_clip(2, group, 1, action, 32, 16))
        assert places.min() > 0
        assert places.max() < 1


def test_groups_differ_in_body_clothes_tempo_camera_and_place():
    persons = [draw_person(0, group) for group in range(1, 26)]
    for attribute in ("body", "shirt", "trousers", "tempo", "shake", "light", "height", "place"):
        assert len({str(getattr(person, attribute)) for person in persons}) == len(persons)


def test_frames_show_the_figure_where_its_joints_are():
    clip = draw_clip(0, 4, 1, BY_NAME["JumpingJack"], 8, 4)
    frames, places = render_clip(clip, 112)
    right, down = (places[0, INDEX["chest"]] * 112).astype(int)
    seen = frames[0, down, right].astype(float)
    shirt = np.array(clip.person.shirt) * clip.person.light
    assert np.abs(seen - np.minimum(shirt, 255)).max() < 0.2 * 255
