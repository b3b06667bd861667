"""What the accuracy benchmarks share: run a configuration over seeds, print a table, put it into docs/results.md."""

import os
import re
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from snn_action.config import load_config
from snn_action.runs import pipeline

ROOT = Path(__file__).parents[2]
SET = "8 of 101 classes of UCF101, 297 test videos"  # stands in the heading of every table on this file of features
FEATURES = "Data: features of a frozen VGG16, 8 classes of UCF101, official split 1, 772 training and 297 test videos."
RESULTS = ROOT / "docs" / "results.md"


def run_seeds(config: str, overrides: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    """``metrics.json`` of one run for each seed 0, 1, ..."""
    runs = []
    for seed in range(seeds):
        settings = load_config(ROOT / "configs" / config, [*overrides, f"seed={seed}"])
        runs.append(pipeline.run(settings).metrics)
        print(f"{config} {' '.join(overrides)} seed {seed}: {headline(runs[-1]):.3f}", file=sys.stderr, flush=True)
    return runs


def headline(metrics: dict[str, Any], kind: str = "video", of: str = "accuracy") -> float:
    """An accuracy of a run, over several folds their mean."""
    return float(metrics.get("mean", metrics)[of][kind])


def show(values: Sequence[float]) -> str:
    """Mean and, of several values, standard deviation, in per cent."""
    percent = [100 * value for value in values]
    spread = f" ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else ""
    return f"{statistics.mean(percent):.1f}{spread}"


def make_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def wrap(text: str) -> str:
    """Lines of a page of documentation: a paragraph of at most 120 characters a line."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def find_commit() -> str:
    """Of this working tree, in short."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def write_section(title: str, text: str, table: str) -> None:
    """Print a section and put it into docs/results.md in the place of the last one of that title."""
    command = f"python {Path(sys.argv[0]).resolve().relative_to(ROOT)}"
    stamp = f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, commit {find_commit()}, {os.cpu_count()} CPU cores."
    section = f"## {title}\n\n{wrap(text)}\n\n{table}\n\n{stamp}\n"
    print(section)
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n\nWritten by the scripts named.\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    new = pattern.sub(lambda _: f"{section}\n", old) if pattern.search(old) else f"{old.rstrip()}\n\n{section}"
    RESULTS.write_text(f"{new.rstrip()}\n", encoding="utf-8")
