"""What each configuration is for, what it reached, how long it took and how much memory: ``configs/README.md``.

    python benchmarks/accuracy/configs.py [NAME ...] [-o dataset.path=PATH ...]

Each NAME (a file of ``configs/`` without ``.json``) is run once, in a process of its own, with the overrides put over
it; its row is replaced. The rows of all others stay as they are, so machines with other data can add theirs. Without
NAME nothing is run: the page is written anew from the files and the rows that it has.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import ROOT, find_commit, headline, make_table
from snn_action.cli.examples import describe

CONFIGS = ROOT / "configs"
PAGE = CONFIGS / "README.md"
HEADER = ("configuration", "what for", "video %", "baseline %", "test videos", "seconds", "CPU seconds", "GiB", "run")
NOT_RUN = "not run here"
NO_FIGURES = [*["-"] * (len(HEADER) - 3), NOT_RUN]
TEXT = f"""# Configurations

Each file here runs as it is where its data are: `snn-action run -c configs/NAME.json`. Outside the repository,
`snn-action init --example NAME` writes a copy. Every key is described in `schema.json` and in
[docs/reference/configuration.md](../docs/reference/configuration.md).

- **video %**: the share of test videos that are recognized, with the seed of the file, over several splits their mean.
- **baseline %**: the same of a logistic regression on the mean of the features.
- **test videos**: of all splits together, and how many classes they have.
- **seconds**: of the whole command, feature extraction, controls and report included, on the machine named. **CPU
  seconds**: of all cores together; a machine that does other work too takes longer, not more of these.
- **GiB**: the most memory of the largest process.
- **run**: the day, the commit, the machine, and what was put over the file (`-o`). One run each; the tables over
  several seeds are in [docs/results.md](../docs/results.md). *{NOT_RUN}*: nobody has run it by this script yet; the
  videos of UCF101 and the weights of ResNet-152 were not on the machine.

`schema.json` is no configuration: it is the JSON schema of all of them, for editors (`snn-action schema`).

"""


def read_rows() -> dict[str, list[str]]:
    """The columns from ``video %`` on of the page as it is, by the configuration's name."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    rows = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[2:] for row in rows}


def explain(name: str) -> str:
    """The column ``what for``."""
    return describe(json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8")))


def measure(name: str, overrides: list[str]) -> list[str]:
    """Run a configuration; the columns from ``video %`` on."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"save_dir={folder}", f"features.store={folder}/features", *overrides]
        command = [sys.executable, "-m", "snn_action", "run", "-c", str(CONFIGS / f"{name}.json"), "--run-id", "one"]
        command += [word for option in options for word in ("-o", option)]
        started = time.perf_counter()
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            sys.exit(f"{name} did not run to its end")
        (run,) = (path.parent for path in Path(folder).glob("*/one/metrics.json"))
        metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        machine: dict[str, Any] = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    given = ", ".join(f"`{re.sub(r'=.*/', '=', override)}`" for override in overrides)  # a file's name, not its place
    device = ", ".join(machine["gpus"]) or f"{machine['cpus']} CPU cores"
    return [
        f"{100 * headline(metrics):.1f}",
        f"{100 * headline(metrics, of='baseline'):.1f}",
        f"{metrics['test_videos']} in {len(metrics['per_class'])} classes",
        f"{seconds:.0f}",
        f"{usage.ru_utime + usage.ru_stime:.0f}",
        f"{usage.ru_maxrss / 2**20:.2f}",  # KiB on Linux
        ", ".join(filter(None, [f"{datetime.now(UTC):%Y-%m-%d}", find_commit(), device, given])),
    ]


def make_page(rows: dict[str, list[str]]) -> str:
    """The page, given the columns from ``video %`` on of the configurations that have been run."""
    table = [[f"`{name}`", explain(name), *rows.get(name, NO_FIGURES)] for name in list_names()]
    return f"{TEXT}{make_table(HEADER, table)}\n\nWritten by `python benchmarks/accuracy/configs.py`.\n"


def list_names() -> list[str]:
    """All configurations: files without ``.json``."""
    return sorted(path.stem for path in CONFIGS.glob("*.json") if path.name != "schema.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    PAGE.write_text(make_page(read_rows()), encoding="utf-8")
    for name in arguments.names:  # the page is whole after each run
        PAGE.write_text(make_page(read_rows() | {name: measure(name, arguments.override)}), encoding="utf-8")


if __name__ == "__main__":
    main()
