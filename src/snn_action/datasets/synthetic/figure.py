"""An articulated figure: limb angles to joints in space, and joints to the picture's plane.

Space is the figure's own: x forward, y up, z to the figure's left, the floor at y = 0, the unit the figure's
height. A limb that hangs points down; ``flex`` swings it forward, ``spread`` away from the body:

    direction(flex, spread) = (cos(spread) sin(flex), -cos(spread) cos(flex), side sin(spread))
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

JOINTS = (
    "pelvis",
    "chest",
    "neck",
    "head",
    "left_shoulder",
    "left_elbow",
    "left_hand",
    "right_shoulder",
    "right_elbow",
    "right_hand",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_toe",
    "right_hip",
    "right_knee",
    "right_ankle",
    "right_toe",
)
INDEX = {name: i for i, name in enumerate(JOINTS)}
SIDES = (("left", 1.0), ("right", -1.0))


@dataclass(frozen=True)
class Body:
    """Lengths and radii of a figure, in units of its height."""

    torso: float = 0.29
    shoulders: float = 0.105
    hips: float = 0.055
    upper_arm: float = 0.165
    forearm: float = 0.16
    thigh: float = 0.235
    shin: float = 0.235
    foot: float = 0.085
    head: float = 0.072
    girth: float = 1.0


@dataclass(frozen=True)
class Limb:
    """Angles of an arm or a leg over time (T,), in radians; ``bend`` is the elbow's or the knee's."""

    flex: Array
    spread: Array
    bend: Array
    lower_spread: Array


@dataclass(frozen=True)
class Angles:
    """A figure's angles over time (T,): arms and legs are (left, right); ``hop`` and ``hold`` place it.

    ``hold`` says which feet stay where they are: the share of the left and the right ankle's way that the
    pelvis makes good (0, 0: the pelvis stays, as in a gait that the camera follows).
    """

    lean: Array
    tilt: Array
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]
    hop: Array
    hold: tuple[float, float] = field(default=(0.5, 0.5))


def place_joints(body: Body, angles: Angles) -> Array:
    """Joints ``(T, J, 3)`` of a body that holds ``angles``; its lowest foot is on the floor or ``hop`` above it."""
    steps = len(angles.lean)
    joints = np.zeros((steps, len(JOINTS), 3))
    up = np.stack(
        [np.sin(angles.lean) * np.cos(angles.tilt), np.cos(angles.lean) * np.cos(angles.tilt), np.sin(angles.tilt)], 1
    )
    across = np.stack([np.zeros(steps), -np.sin(angles.tilt), np.cos(angles.tilt)], 1)
    joints[:, INDEX["chest"]] = up * body.torso * 0.72
    joints[:, INDEX["neck"]] = up * body.torso * 1.06
    joints[:, INDEX["head"]] = up * (body.torso * 1.12 + body.head * 1.05) + np.array([0.012, 0, 0])
    for (name, side), arm, leg in zip(SIDES, angles.arms, angles.legs, strict=True):
        shoulder = up * body.torso * 0.93 + across * side * body.shoulders
        elbow = shoulder + body.upper_arm * _direction(arm.flex, arm.spread, side)
        hand = elbow + body.forearm * _direction(arm.flex + arm.bend, arm.lower_spread, side)
        hip = across * side * body.hips
        knee = hip + body.thigh * _direction(leg.flex, leg.spread, side)
        ankle = knee + body.shin * _direction(leg.flex - leg.bend, leg.lower_spread, side)
        sole = np.clip(leg.flex - leg.bend, -0.9, 0.35) + np.pi / 2 - 0.12
        toe = ankle + body.foot * _direction(sole, 0.25 + 0 * sole, side)
        for part, place in (("shoulder", shoulder), ("elbow", elbow), ("hand", hand)):
            joints[:, INDEX[f"{name}_{part}"]] = place
        for part, place in (("hip", hip), ("knee", knee), ("ankle", ankle), ("toe", toe)):
            joints[:, INDEX[f"{name}_{part}"]] = place
    feet = [INDEX[f"{name}_{part}"] for name, _ in SIDES for part in ("ankle", "toe")]
    joints[..., 1] += (angles.hop - joints[:, feet, 1].min(1) + 0.02)[:, None]
    ankles = joints[:, [INDEX[f"{name}_ankle"] for name, _ in SIDES], 0]
    joints[..., 0] -= (ankles @ np.array(angles.hold))[:, None]
    return joints


def project(joints: Array, yaw: float, pitch: float) -> tuple[Array, Array]:
    """Orthographic view: picture coordinates ``(..., 2)`` (right, up) and depth ``(...,)``, larger is nearer.

    ``yaw`` 0 shows the figure walking to the right, pi / 2 facing the camera; ``pitch`` is the camera's tilt.
    """
    x, y, z = joints[..., 0], joints[..., 1], joints[..., 2]
    right = x * np.cos(yaw) + z * np.sin(yaw)
    near = x * np.sin(yaw) - z * np.cos(yaw)
    return np.stack([right, y * np.cos(pitch) - near * np.sin(pitch)], -1), near * np.cos(pitch) + y * np.sin(pitch)


def _direction(flex: Array, spread: Array, side: float) -> Array:
    return np.stack([np.cos(spread) * np.sin(flex), -np.cos(spread) * np.cos(flex), side * np.sin(spread)], 1)
