"""Other times at which the steps of a clip are read: speed, jitter, dropped steps, frames drawn anew.

A sequence of ``length`` rows is read at times in rows, from 0 to ``length - 1``; between two rows it is interpolated.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.config import AugmentSettings
from snn_action.video.settings import ClipSettings

Times = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
ROUNDING = 1e-9


@dataclass(frozen=True)
class Pace:
    """How a clip goes through its rows at speed 1.

    Attributes:
        rows: Rows a step; None: as many as take it through all of them (one at least).
        steps: Most steps of a clip.
        whole: Rows are frames of a video: they are read as they are, wherever a step is one frame or more.
    """

    rows: float | None
    steps: int
    whole: bool


def find_pace(clip: ClipSettings, steps: int, redraw: bool) -> Pace:
    """The pace through the rows of a clip, or with ``redraw`` through those of all frames of its video.

    Args:
        clip: How clips are cut.
        steps: Those of the longest training clip.
        redraw: See ``training.augment``.
    """
    if not redraw:
        return Pace(1.0, steps, whole=False)
    return Pace(clip.stride if clip.sampling in ("first", "sliding") else None, clip.frames, whole=True)


def draw_times(length: int, pace: Pace, settings: AugmentSettings, rng: np.random.Generator) -> Times:
    """Times ``t_1 <= t_2 <= ...`` in rows, of at least one and at most ``pace.steps`` steps.

    At speed s a step takes s times as many rows. A clip that does not go through all rows begins anywhere. Where it is
    to go through all of them, each step is drawn within its own part. Jitter moves each step by up to ``jitter`` steps;
    each step is dropped with probability ``drop``, but one.

    Args:
        length: Rows that there are.
        pace: At speed 1.
        settings: What is drawn.
        rng: Draws it.
    """
    low, high = np.log(settings.speed)
    step = (pace.rows or max(1.0, length / pace.steps)) * float(np.exp(rng.uniform(low, high)))
    whole = pace.whole and step >= 1
    parts = whole and pace.rows is None
    reach = length if parts else length - 1 + step  # the last step needs no more than its own row
    steps = max(1, min(pace.steps, int(reach / step + ROUNDING)))
    left = max(0.0, reach - steps * step) + (1 if whole and not parts else 0)  # a frame is an interval of time
    times = rng.uniform(0, left) + step * np.arange(steps + 1)
    if parts:
        edges = np.floor(times + ROUNDING)
        times[:-1] = edges[:-1] + np.floor(rng.random(steps) * np.diff(edges))
    times = times[:-1]
    if settings.jitter:
        times = np.sort(times + step * rng.uniform(-settings.jitter, settings.jitter, steps))
    if settings.drop:
        kept = rng.random(steps) >= settings.drop
        kept[rng.integers(steps)] |= not kept.any()
        times = times[kept]
    return np.clip(np.floor(times + ROUNDING) if whole else times, 0, length - 1)


def interpolate(rows: npt.NDArray[Any], times: Times) -> Rows:
    """Rows (n, D) at times (m,): ``(1 - w) x_k + w x_{k + 1}`` at time ``k + w``; (m, D) float32."""
    before = np.floor(times).astype(np.int64)
    share = (times - before).astype(np.float32)[:, None]
    found = rows[before].astype(np.float32)
    if share.any():
        found += share * (rows[np.minimum(before + 1, len(rows) - 1)].astype(np.float32) - found)
    return found


def stretch(rows: Rows, steps: int) -> Rows:
    """Rows (n, D) in as many steps, the first and the last ones in place."""
    return rows if len(rows) == steps else interpolate(rows, np.linspace(0, len(rows) - 1, steps))
