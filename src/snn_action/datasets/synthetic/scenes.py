"""The places where figures act: pictures of a room, a park, a street, a gym and a beach, drawn from a seed."""

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
HORIZON = 0.72  # of the height: where the floor begins


def mix(a: Color, b: Color, share: float) -> Color:
    """The color ``share`` of the way from ``a`` to ``b``."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def hsv(hue: float, saturation: float, value: float) -> Color:
    """A color of hue, saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_scene(width: int, height: int, seed: list[int]) -> Image.Image:
    """A place as an RGB picture, the same for the same seed; the horizon lies at ``HORIZON`` of the height."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height))
    SCENES[int(rng.integers(len(SCENES)))](image, rng)
    return image


def _gradient(image: Image.Image, top: int, bottom: int, upper: Color, lower: Color) -> None:
    rows = np.linspace(0, 1, max(bottom - top, 1))[:, None, None]
    band = np.array(upper) * (1 - rows) + np.array(lower) * rows
    column = Image.fromarray(band.round().astype(np.uint8))
    image.paste(column.resize((image.width, band.shape[0]), Image.Resampling.NEAREST), (0, top))


def _places(rng: np.random.Generator, image: Image.Image, spacing: float) -> list[float]:
    """Places along the picture, about ``spacing`` heights apart."""
    step, places, at = spacing * image.height, [], -float(rng.uniform(0, spacing)) * image.height
    while at < image.width:
        places.append(at)
        at += step * float(rng.uniform(0.7, 1.4))
    return places


def _room(image: Image.Image, rng: np.random.Generator) -> None:
    w, h, line = image.width, image.height, round(image.height * HORIZON)
    wall, floor = hsv(rng.uniform(), 0.22, rng.uniform(0.65, 0.95)), hsv(rng.uniform(0.05, 0.12), 0.45, 0.6)
    _gradient(image, 0, line, mix(wall, (255, 255, 255), 0.25), mix(wall, (0, 0, 0), 0.1))
    _gradient(image, line, h, mix(floor, (0, 0, 0), 0.25), floor)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, line - h * 0.025, w, line), fill=mix(wall, (255, 255, 255), 0.6))
    for x in _places(rng, image, 0.75):
        kind, top = rng.integers(3), h * rng.uniform(0.1, 0.18)
        if kind == 0:  # a window
            box = (x, top, x + h * 0.3, top + h * 0.34)
            draw.rectangle(box, fill=(178, 212, 236), outline=(245, 245, 240), width=max(1, h // 60))
            draw.line((x + h * 0.15, top, x + h * 0.15, top + h * 0.34), fill=(245, 245, 240), width=max(1, h // 90))
        elif kind == 1:  # a picture
            box = (x, top, x + h * 0.2, top + h * 0.16)
            draw.rectangle(box, fill=hsv(rng.uniform(), 0.5, 0.75), outline=(70, 52, 40), width=max(1, h // 70))
        else:  # a cupboard
            wood = hsv(rng.uniform(0.04, 0.11), 0.5, rng.uniform(0.35, 0.7))
            draw.rectangle((x, line - h * 0.3, x + h * 0.26, line + h * 0.01), fill=wood)
            draw.line((x + h * 0.13, line - h * 0.29, x + h * 0.13, line), fill=mix(wood, (0, 0, 0), 0.4), width=2)


def _park(image: Image.Image, rng: np.random.Generator) -> None:
    h, line = image.height, round(image.height * HORIZON)
    grass = hsv(rng.uniform(0.22, 0.36), 0.55, rng.uniform(0.45, 0.7))
    _gradient(image, 0, line, hsv(rng.uniform(0.54, 0.62), rng.uniform(0.3, 0.6), 0.92), (226, 236, 240))
    draw = ImageDraw.Draw(image)
    for x in _places(rng, image, 0.9):
        high = h * rng.uniform(0.12, 0.25)
        draw.ellipse((x - h * 0.5, line - high, x + h * 0.8, line + high), fill=mix(grass, (150, 175, 190), 0.45))
    _gradient(image, line, h, mix(grass, (0, 0, 0), 0.15), mix(grass, (255, 255, 200), 0.12))
    for x in _places(rng, image, 0.6):
        top, spread = h * rng.uniform(0.2, 0.42), h * rng.uniform(0.11, 0.17)
        draw.rectangle((x - h * 0.018, top, x + h * 0.018, line + h * 0.03), fill=(92, 68, 48))
        crown = mix(grass, hsv(rng.uniform(0.1, 0.4), 0.7, 0.35), 0.7)
        for dx, dy in ((-0.6, 0.3), (0.6, 0.3), (0, -0.4), (0, 0.4)):
            cx, cy = x + dx * spread, top + dy * spread
            draw.ellipse((cx - spread, cy - spread, cx + spread, cy + spread), fill=mix(crown, grass, 0.2 - dy * 0.2))


def _street(image: Image.Image, rng: np.random.Generator) -> None:
    w, h, line = image.width, image.height, round(image.height * HORIZON)
    _gradient(image, 0, line, hsv(0.6, rng.uniform(0.1, 0.4), rng.uniform(0.75, 0.95)), (235, 228, 215))
    paving = hsv(rng.uniform(), 0.06, rng.uniform(0.5, 0.75))
    _gradient(image, line, h, mix(paving, (0, 0, 0), 0.2), paving)
    draw = ImageDraw.Draw(image)
    lit = mix((250, 226, 150), (120, 150, 170), rng.uniform())
    for x in _places(rng, image, 0.42):
        house = hsv(rng.uniform(0, 0.16), rng.uniform(0.15, 0.5), rng.uniform(0.4, 0.8))
        top = h * rng.uniform(0.04, 0.4)
        wide = h * rng.uniform(0.36, 0.5)
        draw.rectangle((x, top, x + wide, line), fill=house)
        for row in np.arange(top + h * 0.05, line - h * 0.1, h * 0.12):
            for column in np.arange(x + h * 0.04, x + wide - h * 0.07, h * 0.105):
                shade = lit if rng.uniform() < 0.6 else mix(house, (20, 30, 45), 0.6)
                draw.rectangle((column, row, column + h * 0.05, row + h * 0.065), fill=shade)
    draw.rectangle((0, line, w, line + h * 0.02), fill=mix(paving, (255, 255, 255), 0.4))


def _gym(image: Image.Image, rng: np.random.Generator) -> None:
    w, h, line = image.width, image.height, round(image.height * HORIZON)
    hue = rng.uniform()
    upper, lower = hsv(hue, 0.12, 0.9), hsv(hue, rng.uniform(0.35, 0.65), rng.uniform(0.45, 0.75))
    _gradient(image, 0, line, upper, mix(upper, lower, 0.2))
    floor = hsv(rng.uniform(0.06, 0.1), 0.5, rng.uniform(0.65, 0.82))
    _gradient(image, line, h, mix(floor, (0, 0, 0), 0.2), mix(floor, (255, 255, 255), 0.1))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, line - h * 0.27, w, line), fill=lower)
    for x in _places(rng, image, 0.9):  # wall bars
        for rung in np.arange(0.1, 0.68, 0.07):
            draw.line((x, h * rung, x + h * 0.28, h * rung), fill=(170, 125, 80), width=max(1, h // 70))
        for post in (x, x + h * 0.28):
            draw.line((post, h * 0.06, post, line), fill=(140, 98, 60), width=max(1, h // 55))
    stripe = hsv(rng.uniform(), 0.7, 0.8)
    draw.line((0, line + h * 0.14, w, line + h * 0.14), fill=stripe, width=max(1, h // 70))


def _beach(image: Image.Image, rng: np.random.Generator) -> None:
    w, h, line = image.width, image.height, round(image.height * HORIZON)
    sky, glow = hsv(rng.uniform(0.55, 0.75), 0.5, rng.uniform(0.5, 0.9)), hsv(rng.uniform(0.03, 0.13), 0.45, 0.98)
    sea = round(h * rng.uniform(0.48, 0.6))
    _gradient(image, 0, sea, sky, glow)
    draw = ImageDraw.Draw(image)
    for x in _places(rng, image, 1.6):
        y, radius = sea - h * rng.uniform(0.0, 0.3), h * 0.07
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=mix(glow, (255, 250, 225), 0.7))
    _gradient(image, sea, line, mix(sky, (20, 60, 100), 0.5), mix(sky, (120, 190, 200), 0.5))
    sand = hsv(rng.uniform(0.09, 0.13), rng.uniform(0.25, 0.45), rng.uniform(0.75, 0.92))
    _gradient(image, line, h, mix(sand, (90, 70, 50), 0.25), sand)
    for _ in range(round(10 * w / h)):
        x, y, long = rng.uniform(0, w), rng.uniform(sea + 2, line), h * rng.uniform(0.03, 0.1)
        draw.line((x, y, x + long, y), fill=(225, 235, 240), width=max(1, h // 140))


SCENES: tuple[Callable[[Image.Image, np.random.Generator], None], ...] = (_room, _park, _street, _gym, _beach)
