"""The figure of accuracy against energy."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from snn_action.report.metrics import EnergyEstimate, Metrics
from snn_action.report.style import COLORS, new_figure, show_share, styled

TARGET = "45nm"  # bare arithmetic and memory, of which the literature's figures are


@styled
def draw_energy(metrics: Metrics, row: EnergyEstimate) -> Figure:
    """Video accuracy of the model and the baseline by the estimated energy of a clip, with the range of the estimate.

    The line is the same model without spikes, whose accuracy a run of its own would tell.
    """
    figure = new_figure(4.2, 3.4)
    axes = figure.subplots()
    points = [("model", "model", row.head, metrics.accuracy.video)]
    if metrics.baseline is not None:
        points.append(("baseline", "baseline", row.baseline, metrics.baseline.video))
    handles: list[Any] = []
    for label, color, energy, accuracy in points:
        if energy:
            reach = [[energy - energy / row.factor], [energy * row.factor - energy]]
            handles.append(
                axes.errorbar(energy, accuracy, xerr=reach, fmt="o", color=COLORS[color], capsize=3, label=label)
            )
    if row.twin:
        words = "model without spikes"
        handles.append(axes.axvline(row.twin, color=COLORS["muted"], linestyle=":", linewidth=1.0, label=words))
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    show_share(axes)
    axes.set_xlabel(f"estimated energy of a clip on {row.target}, µJ")
    axes.set_ylabel("video accuracy")
    figure.legend(handles=handles, loc="outside upper left", ncols=3, columnspacing=1.0, fontsize=8)
    return figure
