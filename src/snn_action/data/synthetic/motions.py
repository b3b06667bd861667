"""The actions: how a figure's angles run in time.

All motions are smooth functions of the phase: periodic ones of ``sin`` and ``cos``, and those that happen once
of half a period of ``cos``. Three pairs of actions share their motion, so that no single frame tells them apart:
``StandUp`` is ``SitDown`` reversed, ``WaveRightToLeft`` is ``WaveLeftToRight`` reversed, and ``Run`` is ``Walk``
at a tempo that lies above every tempo of ``Walk``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from snn_action.data.synthetic.figure import Angles, Array, Limb

FRONT = np.pi / 2
SIDE = 0.0


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
        tempo: Range of periods a second; a motion that happens once takes half a period.
        view: Yaw of the camera about which clips vary.
        once: Happens once in a clip, from phase 0 to pi, and rests before and after.
        reverse: Frames are played backwards.
        travels: The camera follows the figure, so the place passes by.
        seat: A chair stands behind the figure.
    """

    name: str
    motion: Motion
    tempo: tuple[float, float]
    view: float
    once: bool = False
    reverse: bool = False
    travels: bool = False
    seat: bool = False


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
    """From standing (phase 0) to sitting (pi): thighs turn forward, the trunk leans forward on the way."""
    down = _rise(phase)
    leg = _limb(1.45 * down, 0.1, 1.45 * down + 0.03, 0.06)
    arm = _limb(0.05 + 0.35 * down, 0.14, 0.2 + 0.75 * down, 0.1)
    lean = 0.06 + (0.35 + 0.25 * style.size) * np.sin(phase) ** 2 - 0.03 * down
    return Angles(lean, 0 * phase, (arm, arm), (leg, leg), 0 * phase)


def wave(phase: Array, style: Style) -> Angles:
    """One arm sweeps over the head from the picture's left (phase 0) to its right (pi)."""
    sweep = (2 * _rise(phase) - 1) * 1.15 * style.size
    spread = np.pi - sweep * (1 - 2 * style.side)
    waving, still = _limb(0 * phase - 0.25, spread, 0.1, spread), _stand(phase)["arms"][0]
    arms = (waving, still) if style.side == 0 else (still, waving)
    return Angles(0 * phase + 0.03, 0.07 * sweep, arms, _stand(phase)["legs"], 0 * phase)


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


_WALKING, _RUNNING = (0.6, 0.9), (1.5, 2.1)

ACTIONS = (
    Action("Bow", bow, (0.45, 0.8), 0.35),
    Action("Clap", clap, (1.3, 2.0), FRONT - 0.4),
    Action("JumpingJack", jumping_jack, (0.8, 1.3), FRONT),
    Action("Kick", kick, (0.7, 1.1), 0.3),
    Action("Punch", punch, (0.9, 1.5), 0.45),
    Action("Run", walk, _RUNNING, 0.2, travels=True),
    Action("SitDown", sit, (0.4, 0.65), 0.35, once=True, seat=True),
    Action("Squat", squat, (0.5, 0.9), 0.5),
    Action("StandUp", sit, (0.4, 0.65), 0.35, once=True, seat=True, reverse=True),
    Action("Walk", walk, _WALKING, 0.2, travels=True),
    Action("WaveLeftToRight", wave, (0.45, 0.75), FRONT, once=True),
    Action("WaveRightToLeft", wave, (0.45, 0.75), FRONT, once=True, reverse=True),
)
PAIRS = (("SitDown", "StandUp"), ("Walk", "Run"), ("WaveLeftToRight", "WaveRightToLeft"))
