"""A progress bar with videos per second and time left."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

logger = logging.getLogger(__name__)


class SpeedColumn(ProgressColumn):
    """Videos per second."""

    def render(self, task: Task) -> Text:
        """The speed over the last seconds, empty before the first video."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} videos/s")


class Tick:
    """Counts videos on a bar, and says beside it what else there is to say (in the log, where no bar is shown)."""

    def __init__(self, progress: Progress, description: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)
        self._said = self._description = description

    def __call__(self, videos: int = 1) -> None:
        """Count."""
        self._progress.advance(self._task, videos)

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
def track(description: str, total: int, show: bool) -> Iterator[Tick]:
    """Show a bar while inside, if ``show`` and there is something to do; what it gives counts one video when called."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        SpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not (show and total)) as progress:
        yield Tick(progress, description, total)
