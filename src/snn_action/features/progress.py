"""A progress bar with videos per second and time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class SpeedColumn(ProgressColumn):
    """Videos per second."""

    def render(self, task: Task) -> Text:
        """The speed over the last seconds, empty before the first video."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} videos/s")


@contextmanager
def track(description: str, total: int, show: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while inside, if ``show`` and there is something to do; the function it gives counts one video."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        SpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not (show and total)) as progress:
        task = progress.add_task(description, total=total)
        yield lambda: progress.advance(task)
