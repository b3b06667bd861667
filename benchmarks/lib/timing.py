"""What the speed benchmarks share; the peers' Python uses it too, so it needs no more than Python."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

REPETITIONS = 5


def time_of(work: Callable[[], object]) -> float:
    """Median seconds of ``REPETITIONS`` runs, after one that warms up."""
    seconds = []
    for _ in range(REPETITIONS + 1):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def turns_of(works: dict[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each of ``works`` in each of ``turns``, where all have their turn; before them, one that warms up.

    What slows the machine for a while slows all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns + 1):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - begin)
    return {name: values[1:] for name, values in seconds.items()}


def ask(command: list[str]) -> dict[str, Any] | None:
    """The JSON that a process prints last; None, and why, where it does not end well (no memory, say)."""
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        print(" ".join(command), process.returncode, *process.stderr.splitlines()[-1:], file=sys.stderr)
        return None
    return json.loads(process.stdout.strip().splitlines()[-1])
