"""Who acts, where, and how one clip goes: all of it drawn from seeds."""

from dataclasses import dataclass

import numpy as np

from snn_action.data.synthetic.figure import Array, Body
from snn_action.data.synthetic.motions import FRONT, Action, Style
from snn_action.data.synthetic.scenes import Colour, hsv, mix

STRIDE = 0.95  # heights of the figure that one period of the gait covers


@dataclass(frozen=True)
class Person:
    """One group: a body with its clothes, its own tempo (0 slow to 1 quick), a camera and a place."""

    body: Body
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
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
        phase: Of the action (T,), in radians.
        shake: How far the camera strays from the figure (T, 2), in sizes of the picture, right and down.
        travel: How far figure and camera have gone (T,), in sizes of the picture to the right.
        stool: Where a stool stands, from the middle, in heights of the figure; None: there is none.
    """

    person: Person
    action: Action
    style: Style
    phase: Array
    shake: Array
    travel: Array
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
    """How one clip goes. Actions of one motion share what is drawn, so a pair differs in its course in time only."""
    person = draw_person(seed, group)
    rng = np.random.default_rng([seed, group, 2, clip, *action.motion.__name__.encode()])
    seconds = frames / rate
    time = (np.arange(frames) + 0.5) / rate
    slow, quick = action.tempo
    tempo = slow + (quick - slow) * float(np.clip(0.75 * person.tempo + 0.25 * rng.uniform(), 0, 1))
    start = float(rng.uniform(0, 2 * np.pi))
    phase = 2 * np.pi * tempo * time + start
    if action.once:
        long = min(0.5 / tempo, 0.9 * seconds)
        begin = float(rng.uniform(0.2, 0.8)) * (seconds - long)
        phase = np.pi * np.clip((time - begin) / long, 0, 1)
    style = Style(size=float(rng.uniform(0.85, 1.1)), side=int(rng.integers(2)))
    yaw = action.view + float(rng.uniform(-0.3, 0.3))
    if action.view != FRONT and rng.uniform() < 0.5:
        yaw = np.pi - yaw
    shake = rng.uniform(-0.04, 0.04, (1, 2)) + person.shake * np.sum(
        np.sin(2 * np.pi * rng.uniform(0.3, 2.5, (3, 1, 2)) * time[:, None] + rng.uniform(0, 2 * np.pi, (3, 1, 2))), 0
    )
    travel = np.zeros(frames)
    if action.travels:
        travel = STRIDE * person.height * style.size * tempo * (time - time.mean()) * np.sign(np.cos(yaw))
    stool = float(rng.choice((-1, 1)) * rng.uniform(0.34, 0.6)) if rng.uniform() < 0.3 else None
    return Clip(
        person=person,
        action=action,
        style=style,
        phase=phase,
        shake=shake,
        travel=travel,
        stool=None if action.seat or action.travels else stool,
        yaw=yaw,
        pitch=float(rng.uniform(0.03, 0.16)),
        grain_seed=[seed, group, 3, clip],
    )
