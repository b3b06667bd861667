"""The figures of a run over classes: confusion matrix, accuracy of each class, and of pairs of classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from snn_action.report.metrics import ClassResult, Pair
from snn_action.report.style import COLORS, new_figure, shorten, show_share, styled

_MOST_NUMBERED = 20  # classes whose counts are still readable in the cells
_MOST_IN_COLUMN = 40
_MOST_SHOWN = 128  # classes of a matrix, and bars; memory and seconds would grow with the square of more
_MOST_CONFUSED = 60  # classes of a matrix that shows only some
_PAGE_WIDTH = 11.5
_ON_BAR = {"model": COLORS["on-model"], "baseline": "#12151a"}  # orange is light on every page
_SHARES = LinearSegmentedColormap.from_list("shares", [to_rgba(COLORS["model"], 0), to_rgba(COLORS["model"], 1)])


def choose_classes(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """The classes that a confusion matrix shows, in order: all, or of very many those that are confused most often.

    Of more than 128, those that were tested or predicted; of more than 128 of these, 60: those of the most frequent
    mistakes, and where there are not so many mistakes, those with the most test videos.
    """
    if len(counts) <= _MOST_SHOWN:
        return np.arange(len(counts))
    rows, columns = counts.sum(1), counts.sum(0)
    involved = np.flatnonzero((rows > 0) | (columns > 0))
    if len(involved) <= _MOST_SHOWN:
        return involved
    wrong = counts - np.diag(np.diag(counts))
    actual, predicted = wrong.nonzero()
    order = np.argsort(-wrong[actual, predicted], kind="stable")
    pairs = np.stack([actual[order], predicted[order]], 1).ravel()
    ranked = np.concatenate([pairs, np.argsort(-rows, kind="stable")])
    _, first = np.unique(ranked, return_index=True)
    return np.sort(ranked[np.sort(first)[:_MOST_CONFUSED]])


@styled
def draw_confusion(class_names: Sequence[str], counts: npt.NDArray[np.int64]) -> Figure:
    """Counts of actual (rows) against predicted classes (columns), colored by their share of the row.

    Of very many classes, those of ``choose_classes``.
    """
    shown = choose_classes(counts)
    totals, counts = counts.sum(1), counts[np.ix_(shown, shown)]
    class_names = [class_names[i] for i in shown]
    classes = len(shown)
    numbered = classes <= _MOST_NUMBERED
    names = [shorten(name) for name in class_names]
    label = 0.075 * max(map(len, names)) * (1 if numbered else 0.8)
    cell = 0.46 if numbered else float(np.clip((_PAGE_WIDTH - label - 0.5) / classes, 0.075, 0.24))
    side = classes * cell + label + 0.5
    figure = new_figure(side, side - (label * 0.25 if classes <= 12 else 0))
    axes = figure.subplots()
    rows = totals[shown, None]
    shares = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    axes.imshow(shares, cmap=_SHARES, vmin=0, vmax=1, interpolation="nearest")
    size = 8.5 if numbered else min(72 * cell * 0.85, 8.5)
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if classes <= 12 else {"rotation": 90}
    axes.set_xticks(range(classes), names, fontsize=size, **turned)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", linewidth=0.6 if numbered else 0.3)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("actual class")
    if numbered:
        for row, column in zip(*counts.nonzero(), strict=True):
            color = "white" if shares[row, column] > 0.8 else COLORS["ink"]
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=9)
    return figure


@styled
def draw_per_class(model: Mapping[str, ClassResult], baseline: Mapping[str, ClassResult]) -> Figure:
    """A bar for each class's accuracy, best first, with a mark where the baseline stands; of many, the ends."""
    tested = {name: result.accuracy for name, result in model.items() if result.accuracy is not None}
    order = sorted(tested, key=lambda name: (-tested[name], name))
    many = len(order) > _MOST_SHOWN
    titles = (f"the best {_MOST_IN_COLUMN} of {len(order):,} classes", f"the worst {_MOST_IN_COLUMN}")
    if many:
        order = order[:_MOST_IN_COLUMN] + order[-_MOST_IN_COLUMN:]
    columns = 1 if len(order) <= _MOST_IN_COLUMN else 2
    length = -(-len(order) // columns)
    pitch = 0.27 if len(order) <= 20 else 0.165
    figure = new_figure(11 if columns == 2 else 8.5, max(length * pitch, 0.4) + 0.75)
    for column, axes in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
        names = order[column * length : (column + 1) * length]
        axes.barh(range(len(names)), [tested[name] for name in names], height=0.68, color=COLORS["model"])
        for place, name in enumerate(names):
            other = baseline[name].accuracy if name in baseline else None
            if other is not None:
                ends = (place - 0.42, place + 0.42)
                axes.plot([other, other], ends, color=COLORS["baseline"], linewidth=3, clip_on=False)
        axes.set_yticks(range(len(names)), [shorten(name) for name in names], fontsize=8.5 if pitch > 0.2 else 7.5)
        axes.tick_params(axis="y", labelcolor=COLORS["ink"])
        axes.set_ylim(length - 0.4, -0.6)
        if many:
            axes.set_title(titles[column], fontsize=9)
        show_share(axes, "x")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("share of the class's test videos that are right")
    handles: list[Line2D | Patch] = [Patch(color=COLORS["model"], label="model")]
    if baseline:
        handles.append(Line2D([], [], color=COLORS["baseline"], linewidth=3, label="baseline"))
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


@styled
def draw_pairs(pairs: Sequence[Pair]) -> Figure:
    """Accuracy on each pair of classes that single frames cannot tell apart, model against baseline."""
    figure = new_figure(5.4, 0.62 * len(pairs) + 0.95)
    axes = figure.subplots()
    bars = [("model", "model", [pair.model for pair in pairs]), ("baseline", "baseline", [p.baseline for p in pairs])]
    bars = [bar for bar in bars if any(value is not None for value in bar[2])]
    height = 0.76 / max(len(bars), 1)
    for number, (label, color, values) in enumerate(bars):
        for place, value in enumerate(values):
            if value is None:
                continue
            up = place + (number - (len(bars) - 1) / 2) * height
            axes.barh(up, value, height=height * 0.9, color=COLORS[color], label=label if place == 0 else None)
            axes.annotate(
                f"{100 * value:.0f} %",
                (value, up),
                xytext=(-4, 0) if value > 0.15 else (4, 0),
                textcoords="offset points",
                ha="right" if value > 0.15 else "left",
                va="center",
                fontsize=8,
                color=_ON_BAR[color] if value > 0.15 else COLORS["ink"],
            )
    handles: list[Line2D | Patch] = [Patch(color=COLORS[color], label=label) for label, color, _ in bars]
    axes.axvline(0.5, color=COLORS["muted"], linestyle=":", linewidth=0.9)
    handles.append(Line2D([], [], color=COLORS["muted"], linestyle=":", linewidth=0.9, label="guessing of two"))
    names = [" /\n".join(shorten(name, 22) for name in pair.classes) for pair in pairs]
    axes.set_yticks(range(len(pairs)), names)
    axes.tick_params(axis="y", labelcolor=COLORS["ink"])
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    show_share(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("video accuracy")
    figure.legend(handles=handles, loc="outside upper left", ncols=3, columnspacing=1.2)
    return figure
