"""A progress bar over epochs, with what the last one gave."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def show_epochs(total: int, show: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a bar while inside, if ``show``; the function it gives takes a line of ``metrics.jsonl``."""
    columns = (
        TextColumn("Training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as progress:
        task = progress.add_task("", total=total)

        def tell(line: dict[str, Any]) -> None:
            words = [f"loss {line['train']['loss']:.3f}"]
            if "validation" in line:
                words.append(f"validation {100 * line['validation']['video']:.1f} %")
            progress.update(task, completed=line["epoch"] + 1, description=", ".join(words))

        yield tell
