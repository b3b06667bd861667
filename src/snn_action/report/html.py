"""Writes ``report.html`` of a run: one file that needs no network and no script, and the figures as PNG files."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from snn_action.core.errors import WorkError
from snn_action.core.files import write_atomic
from snn_action.report.examples import say_left_out
from snn_action.report.finished_run import FinishedRun, read_run
from snn_action.report.metrics import LEAKED, EnergyEstimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACCURACIES = {
    "video": "the mean softmax of all clips of a video decides: one answer a video",
    "clip": "the softmax averaged over a clip's time steps decides: one answer a clip",
    "last": "the prediction at a clip's last real time step counts",
    "timestep": "every time step of every clip is a prediction of its own",
}
NO_VALUE = "\N{EN DASH}"
MOST_MISTAKES = 12
MOST_BAD_VIDEOS = 100


@dataclass(frozen=True)
class Panel:
    """A figure as it stands in the page: its SVG, and its words for those who cannot see it."""

    svg: Markup
    words: str


def write_report(folder: str | Path) -> Path:
    """Write ``figures/*.png`` and then ``report.html`` of a finished run; return the path of the page.

    A figure that cannot be drawn is left out; the log and the page say so.

    Raises:
        ConfigError: the folder is missing or is not a run folder.
        WorkError: the run is not finished, one of its files is broken, or the report cannot be written.
    """
    run = read_run(folder)
    page = run.folder / "report.html"
    panels: dict[str, Panel] = {}
    left_out = list(run.left_out)
    try:
        (run.folder / "figures").mkdir(exist_ok=True)
        for name, words, draw in _list_figures(run):
            try:
                png, panels[name] = _draw(draw, name, words, bool(run.metrics.mark))
            except Exception as error:  # the results are there: no picture ends the run
                left_out.append(say_left_out(f"figure {name}", error))
                (run.folder / "figures" / f"{name}.png").unlink(missing_ok=True)
            else:
                write_atomic(run.folder / "figures" / f"{name}.png", png)
        write_atomic(page, _render(run, panels, left_out))
    except Exception as error:
        what = f"{page}: cannot write the report: {type(error).__name__}: {error}"
        if isinstance(error, OSError):
            what = f"{error.filename or page}: cannot write the report: {error.strerror or error}"
        raise WorkError(f"{what}; the results are kept, make it with: snn-action report {run.folder}") from error
    return page


def render_page(template: str, **values: Any) -> str:
    """A template of this package, filled in; every value is escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    """Templates are compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("snn_action.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "percent": format_percent,
        "points": format_points,
        "count": format_count,
        "seconds": format_seconds,
        "crossover": format_crossover,
    }
    environment.filters.update(filters)
    return environment


def format_percent(share: float | None, digits: int = 1) -> str:
    """A share as percent; a dash where there is none."""
    return NO_VALUE if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def format_points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+z.1f}".replace("-", "\N{MINUS SIGN}")


def format_count(number: float | None) -> str:
    """A number with three figures and k, M, G, T; a dash where there is none."""
    if number is None or math.isnan(number):
        return NO_VALUE
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(number) >= size * 0.9995:
            return f"{number / (1e3 if unit == ' k' else size):.3g}{unit}"
    return f"{number:,.0f}" if number == int(number) or abs(number) >= 1000 else f"{number:.3g}"


def format_crossover(row: EnergyEstimate) -> str:
    """The rate of spikes below which they pay; a dash where nothing spikes."""
    if row.rate is None:
        return NO_VALUE
    if row.crossover is None:
        return "at no rate"
    return "at any rate" if row.crossover >= 1 else f"{row.crossover:.3g}"


def format_seconds(seconds: float | None) -> str:
    """A time in seconds, minutes or hours; a dash where there is none."""
    if seconds is None or math.isnan(seconds):
        return NO_VALUE
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _list_figures(run: FinishedRun) -> Iterator[tuple[str, str, Callable[[], "Figure"]]]:
    """Names, words and drawings, one after the other, so that only one is in memory."""
    from snn_action.report import class_figures, energy_figure, figures, reliability_figure

    metrics, baseline = run.metrics, run.metrics.baseline
    for quantity in figures.list_quantities(run.history):
        words = f"{quantity} of training, validation and test videos by epoch"
        draw = partial(figures.draw_learning, run.history, quantity, metrics.best_epoch)
        yield f"learning_{quantity}", words, draw
    if metrics.anytime:
        other = baseline.anytime if baseline else ()
        draw = partial(figures.draw_anytime, metrics.anytime, other, len(run.class_names))
        yield "anytime", "video accuracy by time steps seen", draw
    if metrics.pairs:
        yield "pairs", "accuracy on pairs of classes", partial(class_figures.draw_pairs, metrics.pairs)
    draw = partial(class_figures.draw_per_class, metrics.per_class, baseline.per_class if baseline else {})
    yield "per_class", "accuracy of each class", draw
    words = "confusion matrix" + describe_shown(run)
    yield "confusion", words, partial(class_figures.draw_confusion, run.class_names, run.confusion)
    if metrics.calibration:
        words = "share of right answers by confidence"
        yield "reliability", words, partial(reliability_figure.draw_reliability, metrics.calibration)
    if metrics.energy and (estimate := metrics.energy.on(energy_figure.TARGET)):
        draw = partial(energy_figure.draw_energy, metrics, estimate)
        yield "energy", "video accuracy by estimated energy of a clip", draw
    for number, example in enumerate(run.examples, 1):
        yield f"clip_{number}", f"prediction over time for {example.name}", partial(figures.draw_clip, example)


def describe_shown(run: FinishedRun) -> str:
    """Which classes the confusion matrix shows, where not all."""
    from snn_action.report import class_figures

    shown = class_figures.choose_classes(run.confusion)
    if len(shown) == len(run.class_names):
        return ""
    every = run.confusion.sum() == run.confusion[shown][:, shown].sum()
    which = "that were tested or predicted" if every else "of the most frequent mistakes"
    return f" of {len(shown)} of {len(run.class_names):,} classes, those {which}"


def _draw(draw: Callable[[], "Figure"], name: str, words: str, leaked: bool) -> tuple[bytes, Panel]:
    """A figure as PNG, and as a part of the page."""
    from snn_action.report.style import mark_leakage, to_png, to_svg

    figure = draw()
    if leaked:
        mark_leakage(figure)
    return to_png(figure), Panel(Markup(to_svg(figure, name)), words)  # Matplotlib escapes the text in it


def _render(run: FinishedRun, panels: dict[str, Panel], left_out: Sequence[str]) -> str:
    metrics = run.metrics
    correct = sum(result.correct for result in metrics.per_class.values())
    videos = sum(result.videos for result in metrics.per_class.values())
    return render_page(
        "report.html.j2",
        run=run,
        metrics=metrics,
        summary=metrics.summary,
        kinds=ACCURACIES,
        leaked=LEAKED,
        facts=_list_facts(run),
        chance=1 / len(run.class_names),
        interval=estimate_interval(correct, videos) if videos and not metrics.folds else None,
        panels=panels,
        test_curve=any(epoch.test for epoch in run.history),
        clips=[
            (example, f"clip_{number}", example.class_names[example.label], _rank(example.probabilities))
            for number, example in enumerate(run.examples, 1)
        ],
        left_out=left_out,
        spikes_shown=any(example.spikes is not None for example in run.examples),
        confused=_list_confused(run),
        shown_classes=describe_shown(run),
        mistakes=sorted(
            (p for p in run.predictions if p.label != p.predicted), key=lambda p: (-p.probability, p.video)
        )[:MOST_MISTAKES],
        most_bad_videos=MOST_BAD_VIDEOS,
        config=json.dumps(run.config, indent=2, ensure_ascii=False),
        environment=list(_flatten(run.environment)),
    )


def estimate_interval(correct: int, videos: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, ``(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)``, z = 1.96."""
    z, share = 1.959964, correct / videos
    center = share + z * z / (2 * videos)
    reach = z * math.sqrt(share * (1 - share) / videos + z * z / (4 * videos * videos))
    low, high = ((center + side * reach) / (1 + z * z / videos) for side in (-1, 1))
    return (low if correct else 0.0), (high if correct < videos else 1.0)  # exact at the ends


def _list_facts(run: FinishedRun) -> list[tuple[str, str]]:
    """What was run, in a few words each."""
    metrics = run.metrics
    split = run.setting("dataset", "split")
    streams = run.setting("clip", "streams") or []
    validation = f", {metrics.validation_videos:,} validation" if metrics.validation_videos else ""
    facts = [
        ("Dataset", str(run.setting("dataset", "type")) + (f", split {split}" if split is not None else "")),
        ("Videos", f"{metrics.train_videos:,} training{validation}, {metrics.test_videos:,} test"),
        ("Classes", str(len(run.class_names))),
        ("Backbone", f"{run.backbone} ({', '.join(map(str, streams))})" if run.backbone else "none: features given"),
        ("Model", str(run.setting("model", "type"))),
        ("Gradient", run.setting("model", "gradient")),
        ("Seed", run.config.get("seed")),
        ("Started", _format_date(run.environment.get("started"))),
        ("Version", run.environment.get("snn_action")),
        ("Commit", run.environment.get("commit")),
    ]
    return [(name, str(value)) for name, value in facts if value is not None]


def _format_date(text: Any) -> str | None:
    try:
        date = datetime.fromisoformat(str(text))
    except ValueError:
        return None if text is None else str(text)
    return f"{date.day} {date:%B %Y, %H:%M}"


def _rank(probabilities: Any) -> tuple[int, float]:
    """Likeliest class of a clip and its mean probability."""
    mean = probabilities.mean(0)
    return int(mean.argmax()), float(mean.max())


def _list_confused(run: FinishedRun) -> list[tuple[str, str, int, int]]:
    """The most frequent mistakes: actual class, predicted class, how often, of how many."""
    rows = run.confusion.sum(1)
    wrong = [(int(n), i, j) for (i, j), n in _cells(run.confusion) if i != j and n]
    wrong.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    return [(run.class_names[i], run.class_names[j], n, int(rows[i])) for n, i, j in wrong[:MOST_MISTAKES]]


def _cells(matrix: Any) -> Iterator[tuple[tuple[int, int], int]]:
    for i, j in zip(*matrix.nonzero(), strict=True):
        yield (int(i), int(j)), int(matrix[i, j])


def _flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested keys and values as rows."""
    for key, entry in value.items():
        if isinstance(entry, dict):
            yield from _flatten(entry, f"{prefix}{key} · ")
        elif isinstance(entry, list):
            yield f"{prefix}{key}", ", ".join(map(str, entry)) or "none"
        else:
            yield f"{prefix}{key}", "unknown" if entry is None else str(entry)
