"""Renders a clip to frames: limbs are shaded capsules, drawn from the farthest to the nearest.

A point of the picture is a complex number here, right + 1j down: plain numbers are faster than small arrays.
"""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from snn_action.datasets.synthetic.casting import Clip, Person
from snn_action.datasets.synthetic.figure import INDEX, SIDES, Array, place_joints, project
from snn_action.datasets.synthetic.scenes import HORIZON, Color, draw_scene, mix

Frames = npt.NDArray[np.uint8]
Capsule = tuple[complex, complex, float, float, Color]  # from, to, and the radius at either end
Part = tuple[float, list[Capsule]]  # depth, larger is nearer

SUPERSAMPLING = 3  # pictures are drawn this much larger, then averaged
FLOOR = HORIZON + 0.17  # of the picture's height: where the figure stands
MARGIN = 0.14  # of the size: how far the camera may stray
WOOD, STEEL, RUBBER, BLACK = (150, 104, 62), (120, 124, 130), (48, 48, 52), (0, 0, 0)


def locate(clip: Clip) -> tuple[Array, Array, Array]:
    """Places of the joints ``(T, J, 2)`` and of the ground below the figure ``(T, 2)`` in the picture, and depths.

    Places count from the upper left corner, right and down, in sides of the picture; depths are ``(T, J)``.
    """
    joints = place_joints(clip.person.body, clip.action.motion(clip.phase, clip.style))
    plane, depth = project(joints, clip.yaw, clip.pitch)
    ground = np.array([0.5, FLOOR]) - clip.shake
    return ground[:, None] + plane * np.array([clip.person.height, -clip.person.height]), ground, depth


def render_clip(clip: Clip, size: int) -> tuple[Frames, Array]:
    """Frames ``(T, size, size, 3)`` of a clip, and the places of its joints ``(T, J, 2)`` in them, 0..1."""
    person, side = clip.person, size * SUPERSAMPLING
    places, ground, depth = locate(clip)
    wide = round((1 + 2 * MARGIN) * side)
    scene = draw_scene(wide, wide, person.place)
    rng = np.random.default_rng(clip.grain_seed)
    frames = np.empty((len(places), size, size, 3), np.uint8)
    for t in range(len(places)):
        left, top = ((MARGIN + clip.shake[t]) * side).round().astype(int).tolist()
        image = scene.crop((left, top, left + side, top + side))
        points = [complex(x, y) for x, y in (places[t] * side).tolist()]
        below, unit = complex(*ground[t] * side), person.height * side
        draw = ImageDraw.Draw(image)
        if clip.action.prop == "treadmill":
            _draw_treadmill(draw, clip, below, unit)
        _draw_shadow(ImageDraw.Draw(image, "RGBA"), points, below, unit)
        _draw_stool(draw, clip, below, unit)
        _draw_figure(draw, clip, points, depth[t].tolist(), unit)
        frames[t] = _develop(image.reduce(SUPERSAMPLING), person, rng)
    return frames[clip.order], places[clip.order]


def _develop(image: Image.Image, person: Person, rng: np.random.Generator) -> Frames:
    """What the camera makes of a picture: the light of the place and the sensor's grain."""
    grain = rng.standard_normal((image.height, image.width, 1), dtype=np.float32) * np.float32(person.grain)
    lit = np.asarray(image, np.float32) * np.float32(person.light) + grain
    return np.clip(lit, 0, 255).astype(np.uint8)


def _draw_shadow(draw: ImageDraw.ImageDraw, points: list[complex], ground: complex, unit: float) -> None:
    feet = [points[INDEX[f"{name}_{part}"]].real for name, _ in SIDES for part in ("ankle", "toe")]
    for grow, dark in ((1.5, 28), (1.0, 50)):
        wide, flat = 0.07 * unit * grow, 0.035 * unit * grow
        draw.ellipse((min(feet) - wide, ground.imag - flat, max(feet) + wide, ground.imag + flat), fill=(0, 0, 0, dark))


def _draw_treadmill(draw: ImageDraw.ImageDraw, clip: Clip, ground: complex, unit: float) -> None:
    """A belt below the figure, and a rail before it."""
    x, y, ahead = ground.real, ground.imag, math.copysign(0.46 * unit, math.cos(clip.yaw))
    draw.line((x + ahead, y, x + 1.08 * ahead, y - 0.5 * unit), STEEL, round(unit * 0.025))
    draw.line((x + 1.08 * ahead, y - 0.5 * unit, x + 0.9 * ahead, y - 0.52 * unit), STEEL, round(unit * 0.035))
    draw.rounded_rectangle((x - 0.48 * unit, y - 0.03 * unit, x + 0.48 * unit, y + 0.05 * unit), unit * 0.03, RUBBER)
    draw.line((x - 0.46 * unit, y + 0.045 * unit, x + 0.46 * unit, y + 0.045 * unit), STEEL, round(unit * 0.02))


def _draw_stool(draw: ImageDraw.ImageDraw, clip: Clip, ground: complex, unit: float) -> None:
    """The stool on which one sits (behind the figure), or one that only stands about."""
    place = -0.96 * clip.person.body.thigh * math.cos(clip.yaw) if clip.action.prop == "stool" else clip.stool
    if place is None:
        return
    tall, wide = (clip.person.body.shin - 0.035) * unit, 0.1 * unit
    x, y = ground.real + place * unit, ground.imag
    for leg in (-0.8, -0.3, 0.3, 0.8):
        foot = y + (0.01 if abs(leg) > 0.5 else -0.03) * unit
        draw.line((x + leg * wide * 0.8, y - tall, x + leg * wide, foot), mix(WOOD, BLACK, 0.3), round(unit * 0.02))
    draw.rounded_rectangle((x - wide, y - tall - unit * 0.035, x + wide, y - tall), unit * 0.015, fill=WOOD)


def _draw_figure(draw: ImageDraw.ImageDraw, clip: Clip, points: list[complex], depth: list[float], unit: float) -> None:
    light = -0.16 - 0.16j
    for _, capsules in sorted(_parts(clip, points, depth, unit), key=lambda part: part[0]):
        for start, end, wide, narrow, color in capsules:
            _draw_capsule(draw, start, end, wide, narrow, mix(color, BLACK, 0.14))
        for start, end, wide, narrow, color in capsules:
            _draw_capsule(draw, start + light * wide, end + light * narrow, 0.8 * wide, 0.8 * narrow, color)


def _parts(clip: Clip, points: list[complex], depth: list[float], unit: float) -> list[Part]:
    """The figure's parts with their depths; limbs on the far side are darker."""
    person = clip.person
    thick = unit * person.body.girth
    at = {name: points[i] for name, i in INDEX.items()}
    near = {name: depth[i] for name, i in INDEX.items()}
    parts: list[Part] = []
    for name, _ in SIDES:
        far = 0.22 if near[f"{name}_hip"] < near["pelvis"] - 0.02 else 0.0
        shirt, trousers = mix(person.shirt, BLACK, far), mix(person.trousers, BLACK, far)
        skin, shoes = mix(person.skin, BLACK, far), mix(person.shoes, BLACK, far)
        sleeve, leg = (shirt if person.long_sleeves else skin), (trousers if person.long_trousers else skin)
        hip, knee, ankle, toe = (at[f"{name}_{part}"] for part in ("hip", "knee", "ankle", "toe"))
        shoulder, elbow, hand = (at[f"{name}_{part}"] for part in ("shoulder", "elbow", "hand"))
        middle = (near[f"{name}_hip"] + near[f"{name}_knee"]) / 2
        parts.append(
            (
                middle,
                [
                    (ankle, toe, 0.028 * unit, 0.02 * unit, shoes),
                    (knee, ankle, 0.034 * thick, 0.025 * thick, leg),
                    (hip, knee, 0.052 * thick, 0.037 * thick, trousers),
                ],
            )
        )
        parts.append(
            (
                (near[f"{name}_elbow"] + near[f"{name}_hand"]) / 2 + (-0.03 if far else 0.03),
                [
                    (shoulder, elbow, 0.036 * thick, 0.027 * thick, shirt),
                    (elbow, hand, 0.026 * thick, 0.02 * thick, sleeve),
                    (hand, hand + (hand - elbow) * 0.12, 0.025 * unit, 0.023 * unit, skin),
                ],
            )
        )
    flat = 0.05 * thick
    trunk = [(at["left_hip"], at["right_hip"], flat, flat, person.trousers)]
    for share in (0.0, 0.33, 0.67, 1.0):
        shoulder = at["left_shoulder"] * share + at["right_shoulder"] * (1 - share)
        hip = at["left_hip"] * share + at["right_hip"] * (1 - share)
        trunk.append((shoulder, hip * 0.85 + shoulder * 0.15, 0.9 * flat, 1.08 * flat, person.shirt))
    trunk.append((at["chest"], at["chest"], 1.3 * flat, 1.3 * flat, person.shirt))
    parts.append((near["chest"], [(at["neck"], at["head"], 0.03 * thick, 0.03 * thick, person.skin)]))
    parts.append((near["chest"] + 1e-3, trunk))
    parts.append((near["head"] + 0.02, _head(person, at["head"], clip.yaw, person.body.head * unit)))
    return parts


def _head(person: Person, middle: complex, yaw: float, radius: float) -> list[Capsule]:
    """Hair, face, nose and the eyes that the camera sees."""

    def on(turn: float, out: float, down: float) -> complex:
        """A point on the head, turned from where the figure looks."""
        return middle + radius * complex(out * math.cos(yaw + turn), down)

    hair, face = on(0, -0.16, -0.2), on(0, 0.2, 0.14)
    capsules = [(hair, hair, radius, radius, person.hair), (face, face, 0.86 * radius, 0.86 * radius, person.skin)]
    capsules.append((on(0, 1.05, 0.2), on(0, 1.12, 0.22), 0.17 * radius, 0.14 * radius, person.skin))
    for turn in (-0.42, 0.42):
        if math.sin(yaw + turn) > 0.05:
            eye = on(turn, 0.8, 0.02)
            capsules.append((eye, eye, 0.11 * radius, 0.11 * radius, (25, 20, 20)))
    return capsules


def _draw_capsule(
    draw: ImageDraw.ImageDraw, start: complex, end: complex, wide: float, narrow: float, color: Color
) -> None:
    """Two discs and the band between them."""
    along = end - start
    if abs(along) > 0.5:
        normal = 1j * along / abs(along)
        a, b, c, d = start + normal * wide, end + normal * narrow, end - normal * narrow, start - normal * wide
        draw.polygon((a.real, a.imag, b.real, b.imag, c.real, c.imag, d.real, d.imag), fill=color)
        draw.ellipse((end.real - narrow, end.imag - narrow, end.real + narrow, end.imag + narrow), fill=color)
    draw.ellipse((start.real - wide, start.imag - wide, start.real + wide, start.imag + wide), fill=color)
