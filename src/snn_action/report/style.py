"""How figures look: one palette, one font size, and a way to PNG files and to SVG that follows the page's colors.

The colors are those of Okabe and Ito, which color-blind readers can tell apart. Figures are made with Matplotlib's
object-oriented interface; nothing here touches pyplot.
"""

import io
import math
import re
import unicodedata
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Literal, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from snn_action.report.metrics import LEAKED

COLORS = {
    "ink": "#1c2128",
    "muted": "#5d6673",
    "line": "#d5dae1",
    "model": "#0072b2",
    "on-model": "#fefefe",
    "baseline": "#e08e0b",
    "validation": "#009e73",
    "train": "#7f8894",
    "second": "#d55e00",
    "third": "#b0619a",
    "fourth": "#56a8d9",
}
LONGEST_LABEL = 26
_RC: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["line"],
    "axes.labelcolor": COLORS["muted"],
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": COLORS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,  # new_figure asks for it
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": COLORS["line"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.labelcolor": COLORS["ink"],
    "lines.solid_capstyle": "round",
    "text.color": COLORS["ink"],
    "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
    "xtick.color": COLORS["muted"],
    "xtick.labelsize": 8.5,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": COLORS["muted"],
    "ytick.labelsize": 8.5,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A drawing function that runs in this style, whatever the user's Matplotlib settings are."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _style():
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """A figure of that size in inches whose parts keep clear of each other."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def show_share(axes: Axes, axis: Literal["x", "y"] = "y") -> None:
    """Make an axis one of shares, 0 to 100 %, with grid lines."""
    (axes.set_ylim if axis == "y" else axes.set_xlim)(0, 1)
    part = axes.yaxis if axis == "y" else axes.xaxis
    part.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.grid(axis=axis)


def shorten(name: str, longest: int = LONGEST_LABEL) -> str:
    """A name that fits on an axis: one line, printable, with an ellipsis where it is cut."""
    text = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in name)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def mark_leakage(figure: Figure) -> None:
    """Write across a figure that its test was not clean."""
    width, height = figure.get_size_inches()
    figure.text(
        0.5,
        0.5,
        LEAKED,
        ha="center",
        va="center",
        rotation=min(30.0, math.degrees(math.atan2(height, width))),
        fontsize=min(4.5 * width, 24),
        fontweight="bold",
        color=COLORS["second"],
        alpha=0.35,
        in_layout=False,
    )


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file on white."""
    return _save(figure, format="png", dpi=150, facecolor="white", metadata={"Software": None})


def to_svg(figure: Figure, name: str) -> str:
    """The figure as SVG to stand inside a page: colors are the page's variables, text is text, ids begin anew."""
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    svg = _save(figure, salt=name, format="svg", dpi=144, transparent=True, metadata=metadata).decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # would repeat in every figure of the page; nothing refers to them
    svg = re.sub(r"<style.*?</style>", "", svg, count=1, flags=re.DOTALL)  # would style the whole page
    for key, color in COLORS.items():
        svg = svg.replace(color, f"var(--{key})")
    return svg.strip()


def _style(**extra: str) -> AbstractContextManager[None]:
    settings: Any = {**_RC, **extra}
    return matplotlib.rc_context(settings)


def _save(figure: Figure, salt: str = "", **kwargs: Any) -> bytes:
    buffer = io.BytesIO()
    with _style(**{"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # class names in any script
        if engine := figure.get_layout_engine():  # once: savefig would do it twice, for each file
            engine.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(buffer, **kwargs)
    return buffer.getvalue()
