"""The figure of how honest confidences are."""

from matplotlib.figure import Figure

from snn_action.report.metrics import Calibration
from snn_action.report.style import COLORS, new_figure, show_share, styled


@styled
def draw_reliability(calibration: Calibration) -> Figure:
    """Share of right answers by confidence, a dot a bin and as large as its share of videos; the diagonal is honest."""
    figure = new_figure(4.2, 3.9)
    axes = figure.subplots()
    line = axes.plot([0, 1], [0, 1], color=COLORS["muted"], linewidth=0.9, linestyle=":", label="honest")
    handles = [*line]
    sides = (("before", calibration.before, "baseline", "--"), ("after", calibration.after, "model", "-"))
    for label, side, color, dashes in sides:
        if side is None:
            continue
        x, y = [part.confidence for part in side.bins], [part.accuracy for part in side.bins]
        handles += axes.plot(x, y, color=COLORS[color], linestyle=dashes, linewidth=1.2, label=f"{label} calibration")
        sizes = [10 + 150 * part.videos / calibration.videos for part in side.bins]
        axes.scatter(x, y, sizes, color=COLORS[color], alpha=0.75, linewidths=0, clip_on=False)
    show_share(axes)
    show_share(axes, "x")
    axes.set_xlabel("confidence")
    axes.set_ylabel("right answers")
    figure.legend(handles=handles, loc="outside upper left", ncols=3, columnspacing=1.0, fontsize=8)
    return figure
