"""Which videos are copies of one another, told from their fingerprints (``data/perceptual.py``) alone.

1. Videos of the same content are copies, whatever they show.
2. Of the others a video is compared with those that it resembles most, by two frames that resemble each other coarsely:
   as they are, mirrored, or one of them without its border.
3. The one is laid over the other: shift and scale of each axis are sought at which these frames differ least, the tenth
   of the cells that differs most left out (least squares by Gauss and Newton). So crops, bars, another aspect and a
   logo do not matter.
4. Their frames are put in line: the start, the speed and the direction are sought at which their changes agree most.
   So a part cut out, another frame rate and a reversal do not matter.
5. A pair is a copy where, along that line, what changes in the one changes in the other: each picture less its blur
   and less the mean over the line, correlated over all cells and frames. Another person before the same wall, or the
   same person a minute later, has the same picture but not the same changes. Where the one lies on the other as it is,
   they must agree more than where its cells had to be made anew.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from snn_action.data.perceptual import SIDE, Fingerprint, Pictures

RESEMBLES = 0.85  # correlation of two coarse frames from which a pair is looked at
SAME_PICTURE = 0.8  # correlation of the two frames when one is laid over the other
SAME_CHANGES = 0.87  # correlation of what changes from which a pair is a copy, where the one lies on the other as it is
SAME_MOVED = 0.7  # and where it had to be moved or scaled by ``MOVED`` of half a side: cells are then made anew
MOVED = 0.015
STILL = 0.02  # share of a picture's contrast: changes below it count as none

CONTENT, LOOKS, MIRRORED = "same content", "looks alike", "looks alike, mirrored"

_COARSE, _INNER = 8, 0.85  # cells of a coarse frame's side; share of a side that is left without a border
_VIEWS = tuple((mirror, zoom) for mirror in (False, True) for zoom in ((1.0, 1.0), (_INNER, 1.0), (1.0, _INNER)))
_ZOOMS = len(_VIEWS) // 2  # views that are not mirrored come first
_CANDIDATES = 16  # videos, at most, that one video is laid over: those that it resembles most
_QUERIES = 8  # frames, at least, that one video is looked for by
_BLOCK = 4096  # frames that are compared with as many others at once
_BATCH = 128  # pairs that are laid over each other at once
_STEPS, _LONGEST = 8, 0.1  # of the search for shift and scale; a step's length in half sides
_KEPT = 0.9  # share of the cells that count while one is laid over the other
_SCALES, _SHIFT = (0.7, 1.43), 0.4  # within which they are sought
_SPEEDS = (1.0, 1 / 2, 2.0, 5 / 6, 6 / 5)  # at which the one may play beside the other
_LINE = 24  # frames of a line are enough
_LEAST, _SHARE = 6, 0.4  # frames, and share of the shorter video, that a line covers at least
_BLUR = 1.0  # cells
_REFINE = 4  # frames of a line that are laid over each other together
_PROMISING = 0.3  # changes that agree so much that the pair is laid over each other again

Array = npt.NDArray[np.float32]
_UNMOVED = np.array([1, 0, 1, 0], np.float32)
_GRID = np.asarray((2 * np.arange(SIDE) + 1) / SIDE - 1, np.float32)


@dataclass(frozen=True)
class Copy:
    """Places of a video of the left and one of the right side, and how they are known to be copies."""

    left: int
    right: int
    how: str


@dataclass(frozen=True)
class _Candidate:
    left: int
    right: int
    mirror: bool
    scale: float  # of left over right to begin with
    frame_left: int
    frame_right: int


def find_copies(
    left: Sequence[Fingerprint],
    right: Sequence[Fingerprint],
    skip: Callable[[int, int], bool] = lambda _, __: False,
    tick: Callable[[int], None] = lambda _: None,
) -> list[Copy]:
    """Pairs of a video of ``left`` and one of ``right`` that are copies, in order.

    Args:
        left: Fingerprints, of a run's training videos for example.
        right: Of other videos, or of the same.
        skip: Whether a pair of places need not be looked at.
        tick: Told how many videos of ``right`` were looked for.
    """
    owners: dict[str, list[int]] = {}
    for place, fingerprint in enumerate(left):
        if fingerprint.digest is not None:
            owners.setdefault(fingerprint.digest, []).append(place)
    found = {
        (i, j): CONTENT
        for j, fingerprint in enumerate(right)
        for i in owners.get(fingerprint.digest or "", ())
        if not skip(i, j)
    }
    with threadpool_limits(1, "blas"):  # many small products: threads would wait for each other
        _find_alike(left, right, skip, tick, found)
    return [Copy(i, j, how) for (i, j), how in sorted(found.items())]


def _find_alike(
    left: Sequence[Fingerprint],
    right: Sequence[Fingerprint],
    skip: Callable[[int, int], bool],
    tick: Callable[[int], None],
    found: dict[tuple[int, int], str],
) -> None:
    """Put pairs that look alike into ``found``."""
    batch: list[_Candidate] = []

    def examine() -> None:
        for candidate, (changes, moved) in zip(batch, compare(left, right, batch), strict=True):
            if changes >= (SAME_MOVED if moved >= MOVED else SAME_CHANGES):
                found.setdefault((candidate.left, candidate.right), MIRRORED if candidate.mirror else LOOKS)
        batch.clear()

    for candidate in _find_candidates(left, right, skip, tick):
        if (candidate.left, candidate.right) in found:
            continue
        batch.append(candidate)
        if len(batch) == _BATCH:
            examine()
    examine()


def compare(left: Sequence[Fingerprint], right: Sequence[Fingerprint], candidates: Sequence[_Candidate]) -> Array:
    """How much the changes of each pair agree, and how far the one was moved to lie on the other, ``(P, 2)``.

    Agreement is from -1 to 1; -1, too, where the one does not fit over the other.
    """
    result = np.tile(np.array([-1, 0], np.float32), (len(candidates), 1))
    if not candidates:
        return result
    pairs = [(_get(left[c.left]), _get(right[c.right], c.mirror)) for c in candidates]
    a = np.stack([x[c.frame_left][None] for c, (x, _) in zip(candidates, pairs, strict=True)]).astype(np.float32)
    b = np.stack([y[c.frame_right][None] for c, (_, y) in zip(candidates, pairs, strict=True)]).astype(np.float32)
    placements, fit = _lay_over(a, b, np.array([[c.scale, 0, c.scale, 0] for c in candidates], np.float32))
    for place in np.flatnonzero(fit >= SAME_PICTURE).tolist():
        (x, y), placement, candidate = pairs[place], placements[place], candidates[place]
        pace = right[candidate.right].stride / left[candidate.left].stride
        line, changes = _follow(x, y, placement, pace)
        if changes >= _PROMISING:
            i, j = line[:, np.unique(np.linspace(0, line.shape[1] - 1, _REFINE).round().astype(int))]
            better = _lay_over(x[i][None].astype(np.float32), y[j][None].astype(np.float32), placement[None])[0][0]
            again = _follow(x, y, better, pace)[1]
            if again > changes:
                changes, placement = again, better
        result[place] = changes, np.abs(placement - _UNMOVED).max()
    return result


def _get(fingerprint: Fingerprint, mirror: bool = False) -> Pictures:
    assert fingerprint.pictures is not None
    return fingerprint.pictures[:, :, ::-1] if mirror else fingerprint.pictures


def _find_candidates(
    left: Sequence[Fingerprint],
    right: Sequence[Fingerprint],
    skip: Callable[[int, int], bool],
    tick: Callable[[int], None],
) -> Iterator[_Candidate]:
    """For each video of ``right`` those of ``left`` that it resembles most, by the two frames that do most."""
    places = [[i for i, one in enumerate(side) if one.pictures is not None] for side in (left, right)]
    tick(len(right) - len(places[1]))
    blocks = [
        (rows, {zoom: _coarsen(left, rows, zoom) for zoom in (1.0, _INNER)}, _find_starts(rows))
        for rows in _cut([(i, _choose_half(len(_get(left[i])))) for i in places[0]])
    ]
    for columns in _cut([(j, _choose_queries(len(_get(right[j])))) for j in places[1]]):
        views = [_coarsen(right, columns, zoom[1], mirror) for mirror, zoom in _VIEWS]
        begin = _find_starts(columns)
        best: list[list[tuple[float, int, int, int]]] = [[] for _ in columns]  # score, block, view, row
        for number, (_, a, starts) in enumerate(blocks):
            scores = []
            for b, (_, zoom) in zip(views, _VIEWS, strict=True):
                most = np.maximum.reduceat(a[zoom[0]] @ b.T, starts[:-1], axis=0)
                scores.append(np.maximum.reduceat(most, begin[:-1], axis=1))
            of_mirror = [np.stack(scores[:_ZOOMS]), np.stack(scores[_ZOOMS:])]
            score = np.stack([part.max(0) for part in of_mirror])  # (mirror, rows, columns)
            view = np.stack([part.argmax(0) + mirror * _ZOOMS for mirror, part in enumerate(of_mirror)])
            for n, (place, _) in enumerate(columns):
                best[n] += _choose_best(score[:, :, n], view[:, :, n], number, blocks[number][0], place, skip)
        for n, (place, frames) in enumerate(columns):
            for _, number, v, m in sorted(best[n], reverse=True)[:_CANDIDATES]:
                (rows, a, starts), (mirror, zoom) = blocks[number], _VIEWS[v]
                own = a[zoom[0]][starts[m] : starts[m + 1]] @ views[v][begin[n] : begin[n + 1]].T
                s, t = divmod(int(own.argmax()), own.shape[1])
                yield _Candidate(rows[m][0], place, mirror, zoom[0] / zoom[1], int(rows[m][1][s]), int(frames[t]))
            tick(1)


def _find_starts(videos: Sequence[tuple[int, npt.NDArray[np.int64]]]) -> npt.NDArray[np.int64]:
    """Where the frames of each video begin, and where those of the last end."""
    return np.cumsum([0, *(len(frames) for _, frames in videos)])


def _choose_best(
    score: Array,
    view: npt.NDArray[np.int64],
    block: int,
    rows: Sequence[tuple[int, npt.NDArray[np.int64]]],
    place: int,
    skip: Callable[[int, int], bool],
) -> list[tuple[float, int, int, int]]:
    """Of scores ``(mirror, rows)`` of one video the highest, from ``RESEMBLES`` on: score, block, view, row."""
    chosen: list[tuple[float, int, int, int]] = []
    flat = score.ravel()
    for index in np.argsort(-flat, kind="stable").tolist():
        if flat[index] < RESEMBLES or len(chosen) == _CANDIDATES:
            break
        mirror, m = divmod(index, score.shape[1])
        if not skip(rows[m][0], place):
            chosen.append((float(flat[index]), block, int(view[mirror, m]), m))
    return chosen


def _choose_half(count: int) -> npt.NDArray[np.int64]:
    return np.arange(0, count, 2 if count > 2 * _QUERIES else 1)


def _choose_queries(count: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, max(_QUERIES, count // _QUERIES)).round().astype(np.int64))


def _cut(frames: Sequence[tuple[int, npt.NDArray[np.int64]]]) -> Iterator[list[tuple[int, npt.NDArray[np.int64]]]]:
    """Whole videos, in blocks of about ``_BLOCK`` frames."""
    block: list[tuple[int, npt.NDArray[np.int64]]] = []
    size = 0
    for video in frames:
        block.append(video)
        size += len(video[1])
        if size >= _BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def _coarsen(
    side: Sequence[Fingerprint], videos: Sequence[tuple[int, npt.NDArray[np.int64]]], zoom: float, mirror: bool = False
) -> Array:
    """Frames shrunk to ``_COARSE`` x ``_COARSE`` cells of their middle, of zero mean and unit length, ``(F, D)``."""
    pool = np.repeat(np.eye(_COARSE, dtype=np.float32), SIDE // _COARSE, 1) * (_COARSE / SIDE)
    shrink = pool @ _interpolate(np.array([zoom]), np.array([0.0]))[0][0]
    cells = [shrink @ _get(side[place], mirror)[frames].astype(np.float32) @ shrink.T for place, frames in videos]
    flat = np.concatenate(cells).reshape(-1, _COARSE**2)
    flat -= flat.mean(1, keepdims=True)
    length = np.sqrt((flat**2).sum(1, keepdims=True))
    return np.asarray(np.divide(flat, length, out=np.zeros_like(flat), where=length > 1), np.float32)


def _interpolate(scale: npt.NDArray[Any], shift: npt.NDArray[Any]) -> tuple[Array, npt.NDArray[Any]]:
    """Weights ``(P, SIDE, SIDE)`` of the cells at ``scale * x + shift``, x from -1 to 1; and which lie inside."""
    at = (scale[:, None] * _GRID + shift[:, None] + 1) * SIDE / 2 - 0.5
    weights: npt.NDArray[Any] = np.maximum(0, 1 - np.abs(np.clip(at, 0, SIDE - 1)[:, :, None] - np.arange(SIDE)))
    return weights.astype(np.float32), np.abs(at - (SIDE - 1) / 2) < SIDE / 2


def _move(frames: Array, placement: Array) -> tuple[Array, npt.NDArray[Any]]:
    """Frames ``(P, N, SIDE, SIDE)`` at a placement ``(P, 4)``, and which cells ``(P, SIDE, SIDE)`` they cover."""
    across, inside_x = _interpolate(placement[:, 0], placement[:, 1])
    down, inside_y = _interpolate(placement[:, 2], placement[:, 3])
    moved = down[:, None] @ frames @ across.transpose(0, 2, 1)[:, None]
    return np.asarray(moved, np.float32), inside_y[:, :, None] & inside_x[:, None, :]


def _lay_over(a: Array, b: Array, placement: Array) -> tuple[Array, Array]:
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
        one, other = (_standardise(part.reshape(pairs, -1), weights) for part in (picture, b))
        differences = np.where(weights > 0, np.abs(one - other), np.inf)
        kept = np.maximum((_KEPT * weights.sum(1)).astype(int) - 1, 0)
        weights *= differences <= np.take_along_axis(np.sort(differences, 1), kept[:, None], 1)
        one, other = (_standardise(part, weights) for part in (one, other))
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


def _standardise(values: Array, weights: Array) -> Array:
    """Values ``(P, D)`` of zero mean and unit variance where they have weight, zero elsewhere."""
    total = np.maximum(weights.sum(1, keepdims=True), 1)
    centred = (values - (values * weights).sum(1, keepdims=True) / total) * weights
    return np.asarray(centred / np.sqrt(np.maximum((centred**2).sum(1, keepdims=True) / total, 1e-6)), np.float32)


def _follow(x: Pictures, y: Pictures, placement: Array, pace: float = 1.0) -> tuple[npt.NDArray[np.int64], float]:
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
