"""The actions: how a figure's angles run in time.

Every motion is a closed loop of the phase, entered anywhere. Three pairs of actions show the same frames of one loop
in another order (``Action.step``): ``StandUp`` is ``SitDown`` backwards, ``WaveRightToLeft`` is ``WaveLeftToRight``
backwards, and ``Run`` takes every third frame of ``Walk``, three times around. So neither a frame nor the set of all
frames tells the two of a pair apart, and both begin and end with the same frames; only their order differs.

Who only sits down begins high and ends low, which the first frame gives away. So the loop of sitting down is closed
by a cut, from the seated figure back to the standing one, and a clip may begin at any place of it. All other loops
are smooth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from snn_action.datasets.synthetic.figure import Angles, Array, Limb

FRONT = np.pi / 2
SIDE = 0.0
REST = 0.15  # share of the loop of sitting down that the figure stands still, and as much that it sits still


@dataclass(frozen=True)
class Style:
    """What differs from clip to clip of one action: ``size`` of the movement (near 1) and the leading ``side``."""

    size: float
    side: int


Motion = Callable[[Array, Style], Angles]


@dataclass(frozen=True)
class Action:
    """One class of the set.

    Attributes:
        name: The class name.
        motion: Phase (T,) in radians to angles.
        tempo: Loops of the motion a second where ``step`` is 1, about: a clip shows whole ones.
        view: Yaw of the camera about which clips vary.
        step: In which order the frames of the loop are shown: 1 as they come, -1 backwards, 3 every third.
        prop: What the figure needs: a stool behind it, or a treadmill, on which it walks in one place.
    """

    name: str
    motion: Motion
    tempo: float
    view: float
    step: Literal[1, -1, 3] = 1
    prop: Literal["none", "stool", "treadmill"] = "none"


def _limb(
    flex: Array, spread: Array | float = 0.0, bend: Array | float = 0.0, lower: Array | float | None = None
) -> Limb:
    zero = np.zeros_like(flex)
    return Limb(flex, zero + spread, zero + bend, zero + (spread if lower is None else lower))


def _stand(phase: Array) -> dict[str, tuple[Limb, Limb]]:
    zero = np.zeros_like(phase)
    arm, leg = _limb(zero + 0.05, 0.14, 0.2), _limb(zero, 0.06, 0.03)
    return {"arms": (arm, arm), "legs": (leg, leg)}


def _rise(phase: Array) -> Array:
    """0 at phase 0, 1 at pi, 0 again at 2 pi."""
    return (1 - np.cos(phase)) / 2


def walk(phase: Array, style: Style) -> Angles:
    """A gait: thighs in antiphase, the knee bent while its leg swings forward, arms against the legs."""

    def leg(at: Array) -> Limb:
        return _limb(0.12 + 0.55 * style.size * np.sin(at), 0.03, 0.15 + 1.05 * _rise(at + np.pi - 0.5) ** 2)

    def arm(at: Array) -> Limb:
        return _limb(-0.05 + 0.65 * style.size * np.sin(at), 0.12, 1.0 + 0.25 * np.sin(at), 0.05)

    other = phase + np.pi
    hop = 0.012 * (1 + np.cos(2 * phase))
    legs = (leg(phase), leg(other))
    arms = (arm(other), arm(phase))
    return Angles(0.12 + 0.03 * np.sin(2 * phase), 0.02 * np.sin(phase), arms, legs, hop, (0.0, 0.0))


def sit(phase: Array, style: Style) -> Angles:
    """Down from standing (phase 0) to sitting, at rest at both ends; a cut at 2 pi leads back to standing.

    Thighs turn forward, the trunk leans forward on the way.
    """
    phase = np.pi * np.clip((phase / (2 * np.pi) % 1 - REST) / (1 - 2 * REST), 0, 1)
    down = _rise(phase)
    leg = _limb(1.45 * down, 0.1, 1.45 * down + 0.03, 0.06)
    arm = _limb(0.05 + 0.35 * down, 0.14, 0.2 + 0.75 * down, 0.1)
    lean = 0.06 + (0.35 + 0.25 * style.size) * np.sin(phase) ** 2 - 0.03 * down
    return Angles(lean, 0 * phase, (arm, arm), (leg, leg), 0 * phase)


def wave(phase: Array, style: Style) -> Angles:
    """One arm goes round, hanging at phase 0: over the head from the picture's left to its right, quicker below."""
    sweep = phase - np.pi + 0.4 * np.sin(phase)
    spread = np.pi - sweep * (1 - 2 * style.side)
    waving, still = _limb(0.3 * np.cos(spread), spread, 0.1, spread), _stand(phase)["arms"][0]
    arms = (waving, still) if style.side == 0 else (still, waving)
    tilt = 0.08 * style.size * np.sin(sweep)
    return Angles(0 * phase + 0.03, tilt, arms, _stand(phase)["legs"], 0 * phase)


def jumping_jack(phase: Array, style: Style) -> Angles:
    """Arms and legs open and close together, with a hop between."""
    out = _rise(phase)
    arm, leg = _limb(0 * phase, 0.15 + 2.6 * style.size * out, 0.1), _limb(0 * phase, 0.03 + 0.42 * out, 0.05)
    return Angles(0 * phase, 0 * phase, (arm, arm), (leg, leg), 0.06 * np.sin(phase) ** 2)


def clap(phase: Array, style: Style) -> Angles:
    """Hands meet before the chest and part."""
    apart = _rise(phase)
    arm = _limb(0.75 + 0 * phase, 0.25 + 0.35 * apart, 0.85, -0.55 + (0.55 + 0.45 * style.size) * apart)
    return Angles(0.03 + 0.02 * apart, 0 * phase, (arm, arm), _stand(phase)["legs"], 0 * phase)


def punch(phase: Array, style: Style) -> Angles:
    """Fists thrust forward in turn from a guard before the chin."""

    def arm(at: Array) -> Limb:
        out = _rise(at) ** 2 * style.size
        return _limb(0.45 + 1.05 * out, 0.15 - 0.1 * out, 2.0 - 1.95 * out, -0.1)

    front, back = _limb(0.3 + 0 * phase, 0.08, 0.2), _limb(-0.3 + 0 * phase, 0.08, 0.2)
    legs = (front, back) if style.side == 0 else (back, front)
    lean = 0.12 + 0.06 * np.cos(2 * phase)
    return Angles(lean, 0 * phase, (arm(phase), arm(phase + np.pi)), legs, 0 * phase)


def kick(phase: Array, style: Style) -> Angles:
    """One leg swings back with a bent knee, then forward and up."""
    out = _rise(phase)
    kicking = _limb(-0.35 + 1.75 * style.size * out, 0.05, 0.15 + 0.75 * np.sin(np.pi * (1 - out)) ** 2)
    standing = _limb(0 * phase, 0.04, 0.08)
    near, far = _limb(0.5 - 0.9 * out, 0.35, 0.6), _limb(-0.4 + 0.8 * out, 0.35, 0.6)
    arms, legs, hold = (near, far), (kicking, standing), (0.0, 1.0)
    if style.side == 1:
        arms, legs, hold = (far, near), (standing, kicking), (1.0, 0.0)
    return Angles(0.1 - 0.3 * out, 0 * phase, arms, legs, 0 * phase, hold)


def squat(phase: Array, style: Style) -> Angles:
    """Knees bend and stretch with the arms held forward."""
    down = _rise(phase) * style.size
    leg = _limb(1.55 * down, 0.16, 2.05 * down, 0.08)
    arm = _limb(0.2 + 1.25 * down, 0.12, 0.12)
    return Angles(0.6 * down, 0 * phase, (arm, arm), (leg, leg), 0 * phase)


def bow(phase: Array, style: Style) -> Angles:
    """The trunk bends forward over straight legs and rises."""
    down = _rise(phase) * style.size
    arm, leg = _limb(0.05 + 0.75 * down, 0.1, 0.15), _limb(0.18 * down, 0.05, 0.03 + 0.02 * down)
    return Angles(1.35 * down, 0 * phase, (arm, arm), (leg, leg), 0 * phase)


ACTIONS = (
    Action("Bow", bow, 0.65, 0.35),
    Action("Clap", clap, 1.6, FRONT - 0.4),
    Action("JumpingJack", jumping_jack, 1.1, FRONT),
    Action("Kick", kick, 0.9, 0.3),
    Action("Punch", punch, 1.2, 0.45),
    Action("Run", walk, 0.65, 0.2, step=3, prop="treadmill"),
    Action("SitDown", sit, 0.65, 0.35, prop="stool"),
    Action("Squat", squat, 0.7, 0.5),
    Action("StandUp", sit, 0.65, 0.35, step=-1, prop="stool"),
    Action("Walk", walk, 0.65, 0.2, prop="treadmill"),
    Action("WaveLeftToRight", wave, 0.65, FRONT),
    Action("WaveRightToLeft", wave, 0.65, FRONT, step=-1),
)
PAIRS = (("SitDown", "StandUp"), ("Walk", "Run"), ("WaveLeftToRight", "WaveRightToLeft"))
