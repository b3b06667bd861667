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


def ask(command: list[str]) -> dict[str, Any] | None:
    """The JSON that a process prints last; None, and why, where it does not end well (no memory, say)."""
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        print(" ".join(command), process.returncode, *process.stderr.splitlines()[-1:], file=sys.stderr)
        return None
    return json.loads(process.stdout.strip().splitlines()[-1])
