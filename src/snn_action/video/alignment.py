"""Lays pictures of one video over those of another, and puts their frames in line (``copies`` tells what follows)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.video.perceptual import SIDE, Pictures

STILL = 0.02  # share of a picture's contrast: changes below it count as none
_STEPS, _LONGEST = 8, 0.1  # of the search for shift and scale; a step's length in half sides
_KEPT = 0.9  # share of the cells that count while one is laid over the other
_SCALES, _SHIFT = (0.7, 1.43), 0.4  # within which they are sought
_SPEEDS = (1.0, 1 / 2, 2.0, 5 / 6, 6 / 5)  # at which the one may play beside the other
_LINE = 24  # frames of a line are enough
_LEAST, _SHARE = 6, 0.4  # frames, and share of the shorter video, that a line covers at least
_BLUR = 1.0  # cells
_GRID = np.asarray((2 * np.arange(SIDE) + 1) / SIDE - 1, np.float32)

Array = npt.NDArray[np.float32]


def interpolate(scale: npt.NDArray[Any], shift: npt.NDArray[Any]) -> tuple[Array, npt.NDArray[Any]]:
    """Weights ``(P, SIDE, SIDE)`` of the cells at ``scale * x + shift``, x from -1 to 1; and which lie inside."""
    at = (scale[:, None] * _GRID + shift[:, None] + 1) * SIDE / 2 - 0.5
    weights: npt.NDArray[Any] = np.maximum(0, 1 - np.abs(np.clip(at, 0, SIDE - 1)[:, :, None] - np.arange(SIDE)))
    return weights.astype(np.float32), np.abs(at - (SIDE - 1) / 2) < SIDE / 2


def _move(frames: Array, placement: Array) -> tuple[Array, npt.NDArray[Any]]:
    """Frames ``(P, N, SIDE, SIDE)`` at a placement ``(P, 4)``, and which cells ``(P, SIDE, SIDE)`` they cover."""
    across, inside_x = interpolate(placement[:, 0], placement[:, 1])
    down, inside_y = interpolate(placement[:, 2], placement[:, 3])
    moved = down[:, None] @ frames @ across.transpose(0, 2, 1)[:, None]
    return np.asarray(moved, np.float32), inside_y[:, :, None] & inside_x[:, None, :]


def lay_over(a: Array, b: Array, placement: Array) -> tuple[Array, Array]:
    """Where to move frames ``a`` of each pair so that they differ least from ``b``, both ``(P, K, SIDE, SIDE)``.

    Returns:
        Scale and shift across, scale and shift down, ``(P, 4)``, and the correlation there, ``(P,)``.
    """
    pairs, count = a.shape[:2]
    slope_down, slope_across = np.gradient(a, 2 / SIDE, axis=(2, 3))
    stack = np.concatenate([a, slope_across, slope_down], 1)
    best, fit = placement.copy(), np.full(pairs, -1, np.float32)
    for step in range(_STEPS + 1):
        moved, inside = _move(stack, placement)
        picture, across, down = (moved[:, k * count : (k + 1) * count] for k in range(3))
        weights = np.repeat(inside[:, None], count, 1).reshape(pairs, -1).astype(np.float32)
        one, other = (_standardize(part.reshape(pairs, -1), weights) for part in (picture, b))
        differences = np.where(weights > 0, np.abs(one - other), np.inf)
        kept = np.maximum((_KEPT * weights.sum(1)).astype(int) - 1, 0)
        weights *= differences <= np.take_along_axis(np.sort(differences, 1), kept[:, None], 1)
        one, other = (_standardize(part, weights) for part in (one, other))
        correlation = (one * other).sum(1) / np.maximum(weights.sum(1), 1)
        better = correlation > fit
        best[better], fit[better] = placement[better], correlation[better]
        if step == _STEPS:
            break
        columns = [picture, np.ones_like(b), across * _GRID, across, down * _GRID[:, None], down]
        matrix = np.stack([(column.reshape(pairs, -1) * weights) for column in columns], 1)
        square = matrix @ matrix.transpose(0, 2, 1)
        square[:, range(6), range(6)] = 1.0001 * square[:, range(6), range(6)] + 1e-3  # never singular
        target = matrix @ (b.reshape(pairs, -1) * weights)[..., None]
        solution = np.linalg.solve(square.astype(np.float64), target.astype(np.float64))[..., 0]
        delta = solution[:, 2:] / np.maximum(solution[:, :1], 0.2)
        placement = placement + np.clip(delta, -_LONGEST, _LONGEST).astype(np.float32)
        placement[:, ::2] = np.clip(placement[:, ::2], *_SCALES)
        placement[:, 1::2] = np.clip(placement[:, 1::2], -_SHIFT, _SHIFT)
    return best, fit


def _standardize(values: Array, weights: Array) -> Array:
    """Values ``(P, D)`` of zero mean and unit variance where they have weight, zero elsewhere."""
    total = np.maximum(weights.sum(1, keepdims=True), 1)
    centered = (values - (values * weights).sum(1, keepdims=True) / total) * weights
    return np.asarray(centered / np.sqrt(np.maximum((centered**2).sum(1, keepdims=True) / total, 1e-6)), np.float32)


def follow(x: Pictures, y: Pictures, placement: Array, pace: float = 1.0) -> tuple[npt.NDArray[np.int64], float]:
    """The line of frames of ``x`` and ``y`` along which their changes agree most, and how much they agree.

    ``pace`` frames of ``x`` take as long as one of ``y``, where both play as fast.
    """
    moved, inside = _move(x[None].astype(np.float32), placement[None])
    a, b = (_sharpen(frames)[:, inside[0]] for frames in (moved[0], y.astype(np.float32)))
    change_a, change_b = a - a.mean(0), b - b.mean(0)
    product = change_a @ change_b.T
    energy_a, energy_b = (change_a**2).sum(1), (change_b**2).sum(1)
    best, line = -2.0, np.empty((2, 0), np.int64)
    for ratio in (sign * speed * pace for speed in _SPEEDS for sign in (1, -1)):
        # of the coarser video all frames have a place in the finer one
        turned = abs(ratio) < 1
        grid, fine, coarse = (product.T, energy_b, energy_a) if turned else (product, energy_a, energy_b)
        i, j, agreement = _find_line(grid, fine, coarse, 1 / ratio if turned else ratio)
        if agreement > best:
            best, line = agreement, np.stack([j, i] if turned else [i, j])
    if not line.size:
        return line, -1.0
    a, b = a[line[0]], b[line[1]]
    picture, whole = (a * b).sum(), np.sqrt((a**2).sum() * (b**2).sum())
    change_a, change_b = a - a.mean(0), b - b.mean(0)
    changes, joint = (change_a * change_b).sum(), np.sqrt((change_a**2).sum() * (change_b**2).sum())
    return line, float((changes + STILL**2 * picture) / max(joint + STILL**2 * whole, 1e-6))


def _find_line(product: Array, fine: Array, coarse: Array, ratio: float) -> tuple[Any, Any, float]:
    """Frames ``i = ratio * j + start`` of which the changes agree most, by their products ``(I, J)`` and energies."""
    count_i, count_j = product.shape
    j = np.arange(0, count_j, max(1, int(min(count_j, count_i / abs(ratio))) // _LINE))
    reach = ratio * (count_j - 1)
    starts = np.arange(np.floor(min(0.0, -reach)), count_i + max(0.0, -reach), 0.5)
    i = np.rint(ratio * j + starts[:, None]).astype(np.int64)
    there = (i >= 0) & (i < count_i)
    count = there.sum(1)
    share = count / len(j) * max(1.0, abs(ratio) * count_j / count_i)
    enough = (count >= min(_LEAST, len(j))) & (share >= _SHARE)
    there, i = there[enough], i[enough].clip(0, count_i - 1)
    if not len(i):
        return i, j, -2.0
    joint = np.sqrt((fine[i] * there).sum(1) * (coarse[j] * there).sum(1))
    agreement = (product[i, j] * there).sum(1) / np.maximum(joint, 1e-6)
    most = int(agreement.argmax())
    return i[most][there[most]], j[there[most]], float(agreement[most])


def _sharpen(frames: Array) -> Array:
    """Frames less their blur."""
    distance = np.arange(SIDE)[:, None] - np.arange(SIDE)
    weights = np.exp(-0.5 * (distance / _BLUR) ** 2)
    blur = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return np.asarray(frames - blur @ frames @ blur.T, np.float32)
