"""What a run says while it works: a bar for each stage on a terminal, else a line.

Every stage also writes a line into the log, marked ``extra=LINE``: a terminal that shows bars leaves these lines out,
``run.log`` has them always.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

logger = logging.getLogger(__name__)

LINE = {"stands_for_bar": True}


class SpeedColumn(ProgressColumn):
    """Videos per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """The speed over the last seconds, empty before the first one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self._unit}/s")


class Tick:
    """Counts on a bar, and says beside it what else there is to say (in the log, where no bar is shown)."""

    def __init__(self, progress: Progress, description: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)
        self._said = self._description = description

    def __call__(self, count: int = 1) -> None:
        """Count."""
        self._progress.advance(self._task, count)

    def say(self, text: str = "") -> None:
        """Say it once, however often it is asked; nothing: the bar's own description again."""
        text = text or self._description
        if text == self._said:
            return
        self._said = text
        if not self._progress.disable:
            self._progress.update(self._task, description=text)
        elif text != self._description:
            logger.info(text)


@contextmanager
def track(description: str, total: int, show: bool, unit: str = "videos") -> Iterator[Tick]:
    """A stage that counts: a bar while inside, if ``show`` and there is anything to do. Call what it gives to count."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        SpeedColumn(unit),
        TimeRemainingColumn(),
    )
    if total:
        logger.info("%s: %d %s", description, total, unit, extra=LINE)
    with Progress(*columns, console=Console(stderr=True), disable=not (show and total)) as progress:
        yield Tick(progress, description, total)


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, nothing but warnings is logged: work that is done many times says too much."""
    ours = logging.getLogger("snn_action")
    before = ours.level
    ours.setLevel(logging.WARNING)
    try:
        yield
    finally:
        ours.setLevel(before)


@contextmanager
def stage(description: str, show: bool) -> Iterator[None]:
    """A stage whose length is not known: a moving bar and its seconds while inside, if ``show``."""
    logger.info("%s", description, extra=LINE)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not show) as progress:
        task = progress.add_task(description, total=None)
        yield
        progress.update(task, total=1, completed=1)
