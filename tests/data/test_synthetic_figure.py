"""The articulated figure: rigid limbs, feet on the floor, smooth motions, pairs that share their poses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_action.data.synthetic.casting import draw_clip, draw_person
from snn_action.data.synthetic.figure import INDEX, place_joints, project
from snn_action.data.synthetic.motions import ACTIONS, PAIRS, Style
from snn_action.data.synthetic.render import locate, render_clip

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
def test_motions_are_periodic_and_smooth(action):
    joints = joints_of(action, steps=401)
    np.testing.assert_allclose(joints[0], joints[-1], atol=1e-9)
    step = 2 * np.pi / 400
    speed = np.abs(np.diff(joints, axis=0)).max() / step
    assert 0.05 < speed < 2.0  # heights of the figure per radian: it moves, and nothing jumps


def test_what_happens_once_rests_at_both_ends():
    for name in ("SitDown", "WaveLeftToRight"):
        clip = draw_clip(0, 1, 1, BY_NAME[name], 64, 16)
        assert clip.phase[0] == 0
        assert clip.phase[-1] == np.pi
        assert (np.diff(clip.phase) >= 0).all()


def test_sitting_lowers_the_pelvis_to_the_stool_and_keeps_the_feet():
    joints = joints_of(BY_NAME["SitDown"], turns=0.5)
    body = draw_person(0, 1).body
    assert joints[0, INDEX["pelvis"], 1] > 0.9 * (body.thigh + body.shin)
    assert joints[-1, INDEX["pelvis"], 1] == pytest.approx(body.shin, abs=0.1)
    np.testing.assert_allclose(joints[:, INDEX["left_ankle"], 0], 0, atol=1e-12)


@pytest.mark.parametrize("side", [0, 1])
def test_the_wave_goes_from_the_pictures_left_to_its_right(side):
    joints = joints_of(BY_NAME["WaveLeftToRight"], side=side, turns=0.5)
    plane, _ = project(joints, np.pi / 2, 0.0)
    hand = INDEX[("left_hand", "right_hand")[side]]
    assert plane[0, hand, 0] < -0.1
    assert plane[-1, hand, 0] > 0.1
    assert (np.diff(plane[:, hand, 0]) > -1e-3).all()


@given(yaw=st.floats(-7, 7), pitch=st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_a_view_is_a_rotation(yaw, pitch):
    joints = joints_of(BY_NAME["Kick"], steps=3)
    plane, depth = project(joints, yaw, pitch)
    seen = np.concatenate([plane, depth[..., None]], -1)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=-1), np.linalg.norm(joints, axis=-1), atol=1e-12)


@pytest.mark.parametrize(("forward", "backward"), [pair for pair in PAIRS if pair[1] != "Run"])
def test_a_reversed_pair_has_the_same_frames_in_reverse(forward, backward):
    first, places = render_clip(draw_clip(5, 3, 2, BY_NAME[forward], 8, 4), 48)
    second, back = render_clip(draw_clip(5, 3, 2, BY_NAME[backward], 8, 4), 48)
    np.testing.assert_array_equal(first, second[::-1])
    np.testing.assert_array_equal(places, back[::-1])
    assert (first != second).any()


def test_walk_and_run_share_all_but_their_tempo_whatever_the_group():
    walking, running = [], []
    for group in range(1, 100):
        walk, run = (draw_clip(1, group, 1, BY_NAME[name], 32, 16) for name in ("Walk", "Run"))
        assert walk.action.motion is run.action.motion
        assert (walk.style, walk.yaw, walk.pitch, walk.person) == (run.style, run.yaw, run.pitch, run.person)
        np.testing.assert_array_equal(walk.shake, run.shake)
        walking.append(np.diff(walk.phase).mean())
        running.append(np.diff(run.phase).mean())
    assert max(walking) * 1.5 < min(running)


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
