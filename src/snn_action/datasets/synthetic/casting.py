"""Who acts, where, and how one clip goes: all of it drawn from seeds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_action.datasets.synthetic.figure import Array, Body
from snn_action.datasets.synthetic.motions import FRONT, Action, Style
from snn_action.datasets.synthetic.scenes import Color, hsv, mix

STILL = (0.2, 0.4)  # share of a clip in which the figure holds still, at its beginning and end, a second at most
SHAKE = 1.5  # quickest part of the camera's shake, times a second


@dataclass(frozen=True)
class Person:
    """One group: a body with its clothes, its own tempo (0 slow to 1 quick), a camera and a place."""

    body: Body
    skin: Color
    hair: Color
    shirt: Color
    trousers: Color
    shoes: Color
    long_sleeves: bool
    long_trousers: bool
    tempo: float
    height: float
    shake: float
    grain: float
    light: float
    place: list[int]


@dataclass(frozen=True)
class Clip:
    """What is rendered.

    Attributes:
        phase: Of the action (T,), in radians, frame by frame of the loop.
        order: In which order these frames are shown (T,), a permutation.
        shake: How far the camera strays from the figure (T, 2), in sizes of the picture, right and down; closed, too.
        stool: Where a stool stands, from the middle, in heights of the figure; None: there is none.
    """

    person: Person
    action: Action
    style: Style
    phase: Array
    order: npt.NDArray[np.int64]
    shake: Array
    stool: float | None
    yaw: float
    pitch: float
    grain_seed: list[int]


def draw_person(seed: int, group: int) -> Person:
    """The person, camera and place of a group."""
    rng = np.random.default_rng([seed, group, 0])

    def vary(value: float, share: float) -> float:
        return value * float(rng.uniform(1 - share, 1 + share))

    plain = Body()
    limb = vary(1.0, 0.08)
    body = Body(
        torso=vary(plain.torso, 0.08),
        shoulders=vary(plain.shoulders, 0.15),
        hips=vary(plain.hips, 0.15),
        upper_arm=vary(plain.upper_arm * limb, 0.05),
        forearm=vary(plain.forearm * limb, 0.05),
        thigh=vary(plain.thigh * limb, 0.05),
        shin=vary(plain.shin * limb, 0.05),
        foot=vary(plain.foot, 0.1),
        head=vary(plain.head, 0.1),
        girth=vary(1.0, 0.2),
    )
    return Person(
        body=body,
        skin=mix((247, 213, 183), (96, 60, 42), float(rng.beta(1, 1.3))),
        hair=hsv(rng.uniform(0.02, 0.13), rng.uniform(0.2, 0.8), rng.uniform(0.08, 0.75)),
        shirt=hsv(rng.uniform(), rng.uniform(0.3, 0.95), rng.uniform(0.35, 0.95)),
        trousers=hsv(rng.uniform(), rng.uniform(0.1, 0.7), rng.uniform(0.15, 0.7)),
        shoes=hsv(rng.uniform(), rng.uniform(0.0, 0.8), rng.uniform(0.15, 0.95)),
        long_sleeves=bool(rng.uniform() < 0.5),
        long_trousers=bool(rng.uniform() < 0.65),
        tempo=float(rng.uniform()),
        height=float(rng.uniform(0.63, 0.74)),
        shake=float(rng.uniform(0.0, 0.018)),
        grain=float(rng.uniform(0.5, 3.0)),
        light=float(rng.uniform(0.8, 1.1)),
        place=[seed, group, 1],
    )


def draw_clip(seed: int, group: int, clip: int, action: Action, frames: int, rate: int) -> Clip:
    """How one clip goes: a still figure, whole loops of the motion from there, and the still figure again.

    Actions of one motion share all that is drawn, so the two of a pair show the same frames in another order: first
    and last ones alike, and of the M moving ones frame ``step * k mod M`` in place k.
    """
    person = draw_person(seed, group)
    rng = np.random.default_rng([seed, group, 2, clip, *action.motion.__name__.encode()])
    quickness = 0.75 * person.tempo + 0.25 * float(rng.uniform())
    still = min(max(2, round(frames * (STILL[0] + (STILL[1] - STILL[0]) * quickness))), rate)
    moving = frames - still
    if moving % 3 == 0:  # every third frame, around and around, then meets each frame once
        moving -= 1
    begin = max(1, round(float(rng.uniform(0.35, 0.65)) * (frames - moving)))
    turn = np.clip((np.arange(frames) - begin) / moving, 0, 1)
    laps = max(1, round(action.tempo * moving / rate))
    phase = float(rng.uniform(0, 2 * np.pi)) + 2 * np.pi * laps * turn
    order = np.arange(frames)
    order[begin : begin + moving] = begin + action.step * np.arange(moving) % moving
    style = Style(size=float(rng.uniform(0.85, 1.1)), side=int(rng.integers(2)))
    yaw = action.view + float(rng.uniform(-0.3, 0.3))
    if action.view != FRONT and rng.uniform() < 0.5:
        yaw = np.pi - yaw
    waves = rng.integers(1, 1 + max(1, round(SHAKE * moving / rate)), (3, 1, 2), endpoint=True)
    shake = rng.uniform(-0.04, 0.04, (1, 2)) + person.shake * np.sum(
        np.sin(2 * np.pi * (waves * turn[:, None] + rng.uniform(0, 1, (3, 1, 2)))), 0
    )
    stool = float(rng.choice((-1, 1)) * rng.uniform(0.34, 0.6)) if rng.uniform() < 0.3 else None
    return Clip(
        person=person,
        action=action,
        style=style,
        phase=phase,
        order=order,
        shake=shake,
        stool=stool if action.prop == "none" else None,
        yaw=yaw,
        pitch=float(rng.uniform(0.03, 0.16)),
        grain_seed=[seed, group, 3, clip],
    )
