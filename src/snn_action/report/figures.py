"""The figures of a run over epochs and time steps: learning curves, the anytime curve and single clips."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snn_action.report.finished_run import Example
from snn_action.report.metrics import Epoch
from snn_action.report.style import COLORS, new_figure, shorten, show_share, styled

Quantity = Literal["video", "timestep", "loss"]
Curve = npt.NDArray[np.float64]

_QUANTITIES: dict[str, str] = {
    "video": "video accuracy",
    "timestep": "time-step accuracy",
    "loss": "loss (cross-entropy)",
}
_SIDES: dict[str, tuple[str, Literal["-", "--", "-."]]] = {
    "train": ("train", "--"),
    "validation": ("validation", "-."),
    "test": ("model", "-"),
}
_SHOWN_CLASSES = 5
_SHOWN_FRAMES = 8


def list_quantities(history: Sequence[Epoch]) -> list[Quantity]:
    """The quantities that were measured in at least one epoch, in the order of the report."""
    quantities: tuple[Quantity, ...] = ("video", "timestep", "loss")
    return [q for q in quantities if any(_curves(history, side, q) for side in _SIDES)]


@styled
def draw_learning(history: Sequence[Epoch], quantity: Quantity, best_epoch: int | None = None) -> Figure:
    """One quantity by epoch, for training, validation and test videos; several folds as thin lines and their mean."""
    figure = new_figure(3.7, 3.0)
    axes = figure.subplots()
    handles = []
    for side, (color, dashes) in _SIDES.items():
        curves = _curves(history, side, quantity)
        if not curves:
            continue
        for curve in curves if len(curves) > 1 else []:
            axes.plot(*curve, color=COLORS[color], linewidth=0.6, alpha=0.35)
        line = _mean(curves)
        marker = "o" if line.shape[1] <= 12 else ""
        axes.plot(*line, color=COLORS[color], linestyle=dashes, linewidth=1.8, marker=marker, markersize=3)
        handles.append(Line2D([], [], color=COLORS[color], linestyle=dashes, linewidth=1.8, label=side))
    if quantity == "loss":
        axes.grid(axis="y")
        axes.set_ylim(bottom=0)
    else:
        show_share(axes)
    if best_epoch is not None:
        axes.axvline(best_epoch + 1, color=COLORS["muted"], linewidth=0.9, linestyle=":")
        handles.append(Line2D([], [], color=COLORS["muted"], linewidth=0.9, linestyle=":", label="kept"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(_QUANTITIES[quantity])
    figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=8, columnspacing=1.0)
    return figure


def _curves(history: Sequence[Epoch], side: str, quantity: Quantity) -> list[Curve]:
    """For each fold, epochs (from 1) and values (2, E) where measured."""
    folds: dict[str, list[tuple[float, float]]] = {}
    for epoch in history:
        part = getattr(epoch, side)
        value = None if part is None else getattr(part, quantity)
        if value is not None:
            folds.setdefault(epoch.fold, []).append((epoch.epoch + 1, value))
    return [np.array(points, dtype=np.float64).T for points in folds.values()]


def _mean(curves: list[Curve]) -> Curve:
    """Mean over folds, at the epochs that every fold has (folds may stop early)."""
    common = sorted(set.intersection(*(set(curve[0]) for curve in curves)))
    values = [[value for epoch, value in curve.T if epoch in common] for curve in curves]
    return np.array([common, np.mean(values, axis=0)])


@styled
def draw_anytime(model: Sequence[float], baseline: Sequence[float], classes: int) -> Figure:
    """Video accuracy as a function of the time steps seen, model against baseline, above the level of guessing."""
    figure = new_figure(5.4, 3.3)
    axes = figure.subplots()
    handles = []
    for values, color, dashes, label in ((model, "model", "-", "model"), (baseline, "baseline", "--", "baseline")):
        if values:
            line = axes.plot(
                range(1, len(values) + 1),
                values,
                color=COLORS[color],
                linestyle=dashes,
                linewidth=2,
                marker="o" if len(values) <= 12 else "",
                markersize=3,
                label=label,
                clip_on=False,
            )
            handles += line
    handles.append(axes.axhline(1 / classes, color=COLORS["muted"], linewidth=0.9, linestyle=":", label="guessing"))
    show_share(axes)
    axes.set_xlim(1 if len(model) > 1 else 0, max(len(model), 2))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlabel("time steps seen")
    axes.set_ylabel("video accuracy")
    figure.legend(handles=handles, loc="outside upper left", ncols=3, columnspacing=1.2)
    return figure


@styled
def draw_clip(example: Example) -> Figure:
    """A clip's frames, the spikes of hidden units where known, and the probabilities of the likeliest classes."""
    steps = len(example.probabilities)
    width, margin_left, margin_right = 11.0, 0.62, 2.2
    inner = width - margin_left - margin_right
    strip = _strip_size(example, inner)
    raster = 0.0 if example.spikes is None else _raster_height(example.spikes.shape[1])
    heights = [part for part in (strip, raster, 2.0 if raster else 2.3) if part]
    gap, bottom, top = 0.12, 0.48, 0.08
    height = sum(heights) + gap * (len(heights) - 1) + bottom + top
    figure = new_figure(width, height)
    figure.set_layout_engine("none")  # a fixed frame, so that frames stand exactly above their time steps
    rows, up = [], height - top
    for part in heights:
        up -= part
        rows.append(figure.add_axes((margin_left / width, up / height, inner / width, part / height)))
        up -= gap
    for axes in rows:
        axes.set_xlim(0.5, steps + 0.5)
        axes.yaxis.set_label_coords(-0.46 / inner, 0.5)
    if strip:
        _draw_strip(rows[0], example)
    if example.spikes is not None:
        _draw_spikes(rows[-2], example)
    _draw_probabilities(rows[-1], example)
    rows[-1].xaxis.set_major_locator(MaxNLocator(min(steps, 14), integer=True, min_n_ticks=1))
    rows[-1].set_xlabel("time step")
    return figure


def _strip_size(example: Example, inner: float) -> float:
    """Height in inches of a strip of frames that fills the width."""
    if example.frames is None:
        return 0.0
    height, width = example.frames.shape[1:3]
    return float(min(inner / min(len(example.frames), _SHOWN_FRAMES) * height / width, 2.2))


def _draw_strip(axes: Axes, example: Example) -> None:
    """The middle frame of each of up to 8 stretches of the clip, over its stretch."""
    assert example.frames is not None
    steps, height, width = example.frames.shape[:3]
    box = axes.get_window_extent()
    half = box.height * width / height / (box.width / steps) / 2 * 0.98  # of a whole frame, in time steps
    edges = np.linspace(0, steps, min(steps, _SHOWN_FRAMES) + 1)
    for left, right in pairwise(edges):
        center = (left + right) / 2 + 0.5
        frame = example.frames[int((left + right) / 2)]
        reach = min(half, (right - left) / 2 * 0.98)
        axes.imshow(frame, extent=(center - reach, center + reach, 0, 1), aspect="auto", interpolation="antialiased")
    axes.set_xlim(0.5, steps + 0.5)
    axes.set_ylim(0, 1)
    axes.set_axis_off()


def _raster_height(units: int) -> float:
    """Height in inches of a raster of that many units."""
    return min(max(0.06 * units, 0.4), 2.5)


def _draw_spikes(axes: Axes, example: Example) -> None:
    """A row a unit, a dot a spike, several of one step side by side; rows in the order of their spikes' mean time.

    All dots are one line of short pieces with round ends (snapped to pixels they would vanish): a mark for each would
    make the page large.
    """
    assert example.spikes is not None
    steps, units = example.spikes.shape
    box = axes.get_window_extent()
    size = min(box.height / units, box.width / steps, 6.0) * 0.95
    most = 2 * math.ceil(box.width / steps / size)  # dots of one step: so many are a line already
    x, y = [], []
    for row, unit in enumerate(_sort_units(example.spikes)):
        for step, count in enumerate(example.spikes[:, unit].tolist()):
            count = min(count, most)
            for place in range(count):
                time = step + 0.5 + (place + 0.5) / count
                x += [time, time + 1e-3, np.nan]
                y += [row, row, np.nan]
    points = size / axes.figure.dpi * 72
    axes.plot(x, y, color=COLORS["ink"], linewidth=points, solid_capstyle="round", snap=False)
    axes.set_ylim(units - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(labelbottom=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_ylabel("spikes")
    axes.annotate(
        f"{units:,} of {example.hidden_units:,}\nhidden units",
        (1.012, 0.5),
        xycoords="axes fraction",
        va="center",
        color=COLORS["muted"],
        annotation_clip=False,
    )


def _sort_units(spikes: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.intp]:
    """Units of spikes (T, N) by the mean time of their spikes, silent ones last."""
    totals = spikes.sum(0)
    mean = np.arange(len(spikes)) @ spikes / np.maximum(totals, 1)
    return np.argsort(np.where(totals > 0, mean, np.inf), kind="stable")


def _draw_probabilities(axes: Axes, example: Example) -> None:
    """Lines of the actual class (thick) and the likeliest others, named at the right in the order of their ends."""
    likely = list(np.argsort(-example.probabilities.mean(0), kind="stable")[:_SHOWN_CLASSES])
    if example.label not in likely:
        likely[-1] = np.intp(example.label)
    others = iter(("second", "validation", "third", "fourth", "train"))
    steps = np.arange(1, len(example.probabilities) + 1)
    show_share(axes)
    axes.set_ylabel("probability")
    ends = []
    for index in likely:
        actual = index == example.label
        color = COLORS["model" if actual else next(others)]
        values = example.probabilities[:, index]
        axes.plot(
            steps,
            values,
            color=color,
            linewidth=2.6 if actual else 1.5,
            marker="o" if len(steps) == 1 else "",
            clip_on=False,
            zorder=3 if actual else 2,
        )
        name = shorten(example.class_names[index], 20) + (" (actual)" if actual else "")
        ends.append((float(values[-1]), name, color, actual))
    for height, (_, name, color, actual) in zip(_spread([end[0] for end in ends]), ends, strict=True):
        axes.annotate(
            name,
            (1.012, height),
            xycoords="axes fraction",
            va="center",
            color=color,
            fontsize=9,
            fontweight="bold" if actual else "normal",
            annotation_clip=False,
        )


def _spread(heights: list[float], gap: float = 0.095) -> list[float]:
    """Heights of labels (0 to 1) moved apart to at least ``gap``, in their order."""
    order = sorted(range(len(heights)), key=lambda i: (heights[i], -i))
    placed: list[float] = []
    for index in order:
        placed.append(max(heights[index], placed[-1] + gap if placed else 0.0))
    limit = 1.0
    for place in reversed(range(len(placed))):
        placed[place] = min(placed[place], limit)
        limit = placed[place] - gap
    return [placed[order.index(index)] for index in range(len(heights))]
