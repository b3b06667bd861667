"""Puts several runs side by side: as rows, as a table for the terminal, and as ``comparison.html``."""

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.files import write_atomic
from snn_action.core.run_access import open_run
from snn_action.report.finished_run import FinishedRun, read_run
from snn_action.report.html import NO_VALUE, format_count, format_seconds, render_page, write_report
from snn_action.report.metrics import LEAKED, MARK

logger = logging.getLogger(__name__)

TEXT_HEADINGS = ("Run", "Dataset", "Features", "Model", "Seed")
HEADINGS = (*TEXT_HEADINGS, "Video %", "Baseline %", "Step %", "Spikes", "Model ops", "Backbone ops", "Training")
FOLDED = (
    "Dataset",
    "Features",
    "Seed",
    "Backbone ops",
)  # left out in the terminal, and told once, where all runs agree
PIPE_WIDTH = 160
PAGE = "comparison.html"
PAGE_MARK, PAGE_HEAD = "snn-action: a comparison of runs", 1000  # the first bytes of a page hold its mark
LEGEND = (
    "Video, Baseline: video accuracy (± standard deviation over folds). Step: every time step counts. Spikes: per "
    "neuron and time step. Ops: effective multiply-accumulates and accumulates of a clip (dense ones where the "
    "effective were not counted). Training: wall time."
)


@dataclass(frozen=True)
class Row:
    """One run in a comparison: accuracies are shares, operations counts of one clip; None where there is none."""

    run: str
    dataset: str
    features: str
    model: str
    seed: int | None
    test_videos: int
    video: float
    video_std: float | None
    baseline: float | None
    baseline_std: float | None
    timestep: float
    spikes: float | None
    model_operations: float
    backbone_operations: float | None
    train_seconds: float | None
    mark: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of ``HEADINGS``."""
        return (
            self.run,
            self.dataset,
            self.features,
            self.model,
            NO_VALUE if self.seed is None else str(self.seed),
            _show_share(self.video, self.video_std, self.mark),
            _show_share(self.baseline, self.baseline_std, self.mark),
            _show_share(self.timestep, None, self.mark),
            NO_VALUE if self.spikes is None else f"{self.spikes:.3g}",
            format_count(self.model_operations),
            format_count(self.backbone_operations),
            format_seconds(self.train_seconds),
        )


def compare_runs(folders: Sequence[str | Path]) -> list[Row]:
    """A row for each run, in the order given.

    Raises:
        ConfigError: a folder is missing or is not a run folder.
        WorkError: a run is not finished, or one of its files is broken.
    """
    return [_make_row(read_run(folder)) for folder in folders]


def make_table(rows: Sequence[Row]) -> Table:
    """The comparison for the terminal."""
    columns = list(zip(*(row.cells() for row in rows), strict=True))
    same = [h for h, cells in zip(HEADINGS, columns, strict=True) if h in FOLDED and len(set(cells)) == 1]
    told = "; ".join(f"{heading.lower()} {columns[HEADINGS.index(heading)][0]}" for heading in same)
    notes = (told and f"All runs: {told}.", LEGEND, _warn(rows))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="\n".join(filter(None, notes)), caption_justify="left")
    best = _find_best(rows)
    table.columns = [
        Column(h, overflow="fold", min_width=8) if h in TEXT_HEADINGS else Column(h, justify="right", no_wrap=True)
        for h in HEADINGS
        if h not in same
    ]
    for row in rows:
        cells = [Text(cell) for heading, cell in zip(HEADINGS, row.cells(), strict=True) if heading not in same]
        table.add_row(*cells, style="bold" if row in best else "")
    return table


def print_table(table: Table) -> None:
    """Print a table at the terminal's width, or wider where its numbers would be cut."""
    gap = 2  # of two columns: padding and divider
    least = gap + sum(gap + (column.min_width or _find_width(column)) for column in table.columns)
    Console(width=max(least, Console().width if sys.stdout.isatty() else PIPE_WIDTH)).print(table)


def _find_width(column: Column) -> int:
    return max(len(str(cell)) for cell in (column.header, *column.cells))


def write_comparison(rows: Sequence[Row], path: str | Path) -> Path:
    """Write the comparison as a self-contained page, in the place of an earlier one; return its path.

    Raises:
        ConfigError: something else is there.
        WorkError: the page cannot be written.
    """
    path = Path(path)
    best = _find_best(rows)
    page = render_page(
        "comparison.html.j2",
        mark=PAGE_MARK,
        headings=HEADINGS,
        first_number=len(TEXT_HEADINGS),
        rows=[(row.cells(), row in best) for row in rows],
        legend=LEGEND,
        warning=_warn(rows),
    )
    try:
        if os.path.lexists(path) and not _is_comparison(path):
            raise ConfigError(f"{path}: is there and no comparison of runs; name another file by --out FILE")
        write_atomic(path, page)
    except OSError as error:
        raise WorkError(f"{path}: cannot write the comparison: {error.strerror or error}; see --out FILE") from error
    return path


def _is_comparison(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return PAGE_MARK.encode() in file.read(PAGE_HEAD)


def show_runs(folders: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Rebuild the report of one run, or print and write a comparison of several; return the page's path.

    Args:
        folders: Of the runs.
        out: Where a comparison is written; None: ``comparison.html`` in the current folder.

    Raises:
        ConfigError: no folder is given, or one is missing or is not a run folder; or ``out`` is another kind of file.
        WorkError: a run is not finished, one of its files is broken, or the page cannot be written.
    """
    if not folders:
        raise ConfigError("which run? Name at least one run folder")
    if len(folders) > 1:
        folders = _leave_out_unfinished(folders)
    elif out is not None:
        raise ConfigError("--out is the place of a comparison of several runs; a run's report is in its folder")
    if len(folders) == 1:
        with open_run(Path(folders[0]), "report"):
            page = write_report(folders[0])
    else:
        rows = compare_runs(folders)
        print_table(make_table(rows))
        page = write_comparison(rows, PAGE if out is None else out)
    print(f"report: {page}")
    return page


def _leave_out_unfinished(folders: Sequence[str | Path]) -> list[str | Path]:
    """Of several names, as ``save/demo/*`` gives them, those of finished runs; the others are said."""
    finished: list[str | Path] = []
    for folder in folders:
        path = Path(folder)
        if path.exists() and not (path / "config.json").is_file():
            logger.warning("%s: left out, not a run folder", path)
        elif path.is_dir() and not (path / "metrics.json").is_file():
            logger.warning("%s: left out, this run is not finished", path)
        else:
            finished.append(folder)
    if not finished:
        raise WorkError(f"none of these {len(folders)} runs is finished; finish one with: snn-action run --resume RUN")
    return finished


def _make_row(run: FinishedRun) -> Row:
    metrics = run.metrics
    summary, spread = metrics.summary, metrics.std
    split, seed, streams = run.setting("dataset", "split"), run.config.get("seed"), run.setting("clip", "streams") or []
    backbone, gradient = metrics.operations.backbone, run.setting("model", "gradient")
    return Row(
        run=f"{run.name}/{run.folder.resolve().name}",
        dataset=str(run.setting("dataset", "type")) + ("" if split is None else f", split {split}"),
        features=f"{run.backbone}, {' + '.join(map(str, streams))}" if run.backbone else "given",
        model=str(run.setting("model", "type")) + (f" ({gradient})" if gradient else ""),
        seed=seed if isinstance(seed, int) else None,
        test_videos=metrics.test_videos,
        video=summary.accuracy.video,
        video_std=spread.accuracy.video if spread else None,
        baseline=summary.baseline.video if summary.baseline else None,
        baseline_std=spread.baseline.video if spread and spread.baseline else None,
        timestep=summary.accuracy.timestep,
        spikes=metrics.spikes.per_neuron_per_step if metrics.spikes else None,
        model_operations=metrics.operations.model.effective,
        backbone_operations=backbone.effective if backbone else None,
        train_seconds=metrics.seconds.train,
        mark=metrics.mark,
    )


def _find_best(rows: Sequence[Row]) -> list[Row]:
    """The best runs, where all were tested on the same videos."""
    if len(rows) < 2 or _warn(rows):
        return []
    best = max(row.video for row in rows)
    return [row for row in rows if row.video == best]


def _warn(rows: Sequence[Row]) -> str | None:
    """Why accuracies of these runs must not be compared, if so."""
    if marked := [row.run for row in rows if row.mark]:
        return f"{MARK} {LEAKED}: {', '.join(marked)}. Do not compare these accuracies with those of a clean test."
    if len({(row.dataset, row.test_videos) for row in rows}) > 1:
        return "These runs were tested on different videos: do not compare their accuracies."
    return None


def _show_share(share: float | None, spread: float | None, mark: str) -> str:
    if share is None:
        return NO_VALUE
    return f"{100 * share:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}") + mark
