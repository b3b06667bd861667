"""A progress bar over epochs, with what the last one gave, and a line in the log for each."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from snn_action.core.progress import LINE

logger = logging.getLogger(__name__)


@contextmanager
def show_epochs(total: int, show: bool, done: int = 0) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a bar while inside, if ``show``; the function it gives takes a line of ``metrics.jsonl``.

    ``done`` epochs of a resumed training count as done.
    """
    columns = (
        TextColumn("Training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as progress:
        task = progress.add_task("", total=total, completed=done)

        def tell(line: dict[str, Any]) -> None:
            words = [f"loss {line['train']['loss']:.3f}"]
            if "validation" in line:
                words.append(f"validation {100 * line['validation']['video']:.1f} %")
            text, epoch = ", ".join(words), line["epoch"] + 1
            progress.update(task, completed=epoch, description=text)
            logger.info("epoch %d of %d: %s, %.1f s", epoch, total, text, line["seconds"], extra=LINE)

        yield tell
