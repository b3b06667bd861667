"""Which videos are copies of one another, told from their fingerprints (``video/perceptual.py``) alone.

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

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from snn_action.video.alignment import Array, follow, interpolate, lay_over
from snn_action.video.perceptual import SIDE, Fingerprint, Pictures

RESEMBLES = 0.85  # correlation of two coarse frames from which a pair is looked at
SAME_PICTURE = 0.8  # correlation of the two frames when one is laid over the other
SAME_CHANGES = 0.87  # correlation of what changes from which a pair is a copy, where the one lies on the other as it is
SAME_MOVED = 0.7  # and where it had to be moved or scaled by ``MOVED`` of half a side: cells are then made anew
MOVED = 0.015

CONTENT, LOOKS, MIRRORED = "same content", "looks alike", "looks alike, mirrored"

_COARSE, _INNER = 8, 0.85  # cells of a coarse frame's side; share of a side that is left without a border
_VIEWS = tuple((mirror, zoom) for mirror in (False, True) for zoom in ((1.0, 1.0), (_INNER, 1.0), (1.0, _INNER)))
_ZOOMS = len(_VIEWS) // 2  # views that are not mirrored come first
_CANDIDATES = 16  # videos, at most, that one video is laid over: those that it resembles most
_QUERIES = 8  # frames, at least, that one video is looked for by
_BLOCK = 4096  # frames that are compared with as many others at once
_BATCH = 128  # pairs that are laid over each other at once
_REFINE = 4  # frames of a line that are laid over each other together
_PROMISING = 0.3  # changes that agree so much that the pair is laid over each other again

_UNMOVED = np.array([1, 0, 1, 0], np.float32)


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
    placements, fit = lay_over(a, b, np.array([[c.scale, 0, c.scale, 0] for c in candidates], np.float32))
    for place in np.flatnonzero(fit >= SAME_PICTURE).tolist():
        (x, y), placement, candidate = pairs[place], placements[place], candidates[place]
        pace = right[candidate.right].stride / left[candidate.left].stride
        line, changes = follow(x, y, placement, pace)
        if changes >= _PROMISING:
            i, j = line[:, np.unique(np.linspace(0, line.shape[1] - 1, _REFINE).round().astype(int))]
            better = lay_over(x[i][None].astype(np.float32), y[j][None].astype(np.float32), placement[None])[0][0]
            again = follow(x, y, better, pace)[1]
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
    shrink = pool @ interpolate(np.array([zoom]), np.array([0.0]))[0][0]
    cells = [shrink @ _get(side[place], mirror)[frames].astype(np.float32) @ shrink.T for place, frames in videos]
    flat = np.concatenate(cells).reshape(-1, _COARSE**2)
    flat -= flat.mean(1, keepdims=True)
    length = np.sqrt((flat**2).sum(1, keepdims=True))
    return np.asarray(np.divide(flat, length, out=np.zeros_like(flat), where=length > 1), np.float32)
