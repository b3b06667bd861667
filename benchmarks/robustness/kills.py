"""Kills a run before every file that it makes, renames or removes, lets it go on, and compares it with one left alone.

    python benchmarks/robustness/kills.py CONFIG [-o section.key=value] [--kills 0] [--lanes 2] [--quick]

``--kills`` is how many moments are tried, evenly spread over all; 0: every one. Compared are weights, epochs, metrics
without times, predictions and confusion. ``--quick`` leaves figures undrawn (their files are written), as the test
does. The exit code is 1 where a run did not end as the other.
"""

import argparse
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from snn_action.config import Config, load_config
from snn_action.core.errors import ConfigError
from snn_action.report import html
from snn_action.runs import pipeline
from snn_action.training import loop  # noqa: F401 - Fabric, which would else be imported by each run
from snn_action.training.checkpoints import read_checkpoint

EVENTS = frozenset(["open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate"])
TIMES = ("seconds", "videos_per_second")


def apart(work: Callable[[], object]) -> int:
    """Do the work in a process of its own; how it ended: a signal is negative."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def watch(places: tuple[Path, ...], tell: Callable[[], None]) -> None:
    """From now on, tell before each change of a file in these places."""
    roots = tuple(map(str, places))

    def hook(event: str, words: tuple[Any, ...]) -> None:
        if event in EVENTS and any(str(word).startswith(roots) for word in words[:2]):
            writes = event != "open" or words[2] is None or words[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes:
                tell()

    sys.addaudithook(hook)


def configure(config: Config, run_id: str) -> Config:
    """The configuration with a store of the run's own: each run extracts all videos."""
    features = config.features.model_copy(update={"store": config.save_dir / "stores" / run_id})
    return config.model_copy(update={"features": features})


def list_places(config: Config) -> tuple[Path, ...]:
    return (config.save_dir.absolute() / config.name, config.features.store.absolute())


def count_moments(config: Config, told: Path) -> int:
    """How many changes a run makes that is left alone; it is the one to compare with, ``whole``."""

    def run() -> None:
        number = 0

        def count() -> None:
            nonlocal number
            number += 1

        watch(list_places(config), count)
        pipeline.run(config, run_id="whole")
        found = number
        told.write_text(str(found))

    if apart(run):
        raise SystemExit("the run that is left alone failed")
    return int(told.read_text())


def run_killed(config: Config, moment: int, run_id: str) -> int:
    def run() -> None:
        left = moment

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        watch(list_places(config), count)
        pipeline.run(config, run_id=run_id)

    return apart(run)


def go_on(config: Config, run_id: str) -> Path:
    """As a user would: by ``--resume``, or anew where that says that nothing has begun."""
    folder = config.save_dir / config.name / run_id
    try:
        return pipeline.resume(folder).folder
    except ConfigError as error:
        if "this run is finished" in str(error):
            return folder
        if not any(words in str(error) for words in ("begin a new run with", "there is no such run folder")):
            raise
    return pipeline.run(config, run_id=f"{run_id}-anew").folder


def read_outcome(folder: Path) -> dict[str, Any]:
    """All that is to be equal."""
    metrics = json.loads((folder / "metrics.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    outcome: dict[str, Any] = {
        "metrics.json": {key: value for key, value in metrics.items() if key not in TIMES},
        "metrics.jsonl": [{key: value for key, value in line.items() if key not in TIMES} for line in lines],
        "files": sorted(files),
        "predictions.csv": (folder / "predictions.csv").read_text(),
        "confusion.csv": (folder / "confusion.csv").read_text(),
    }
    for path in sorted(folder.rglob("*.ckpt")):
        weights = read_checkpoint(path)["state_dict"]
        outcome[path.relative_to(folder).as_posix()] = {key: value.tolist() for key, value in weights.items()}
    return outcome


def attempt(config: Config, moment: int, told: Path) -> None:
    """Kill a run at a moment, let it go on, and write down what differs from the whole one."""
    run_id = f"kill{moment}"
    config = configure(config, run_id)
    if (code := run_killed(config, moment, run_id)) not in (0, -signal.SIGKILL):  # 0: it had a change less to make
        told.write_text(f"not killed: exit code {code}")
        return
    found = read_outcome(go_on(config, run_id))
    whole = read_outcome(config.save_dir / config.name / "whole")
    told.write_text(", ".join(key for key in whole.keys() | found.keys() if whole.get(key) != found.get(key)))


def try_moments(config: Config, moments: list[int], lanes: int, told: Path) -> dict[int, str]:
    """What differs for each moment; nothing where all is equal."""
    running: dict[int, int] = {}
    codes: dict[int, int] = {}

    def await_one() -> None:
        pid, status = os.wait()
        codes[running.pop(pid)] = os.waitstatus_to_exitcode(status)

    for moment in moments:
        if len(running) == lanes:
            await_one()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                attempt(config, moment, told / f"{moment}.txt")
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        running[pid] = moment
    while running:
        await_one()
    return {m: (told / f"{m}.txt").read_text() if code == 0 else "did not go on" for m, code in sorted(codes.items())}


def leave_figures_undrawn() -> None:
    html._draw = lambda *_: (b"png", html.Panel(Markup("<svg></svg>"), ""))  # type: ignore[assignment]


def main() -> None:
    """Try the moments and say what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("-o", "--override", action="append", default=[])
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    html._environment().get_template("report.html.j2")  # compiled here, it is for all the runs
    gc.freeze()  # what was imported is no garbage of the many short runs
    if options.quick:
        leave_figures_undrawn()
    config = load_config(options.config, options.override)
    told = config.save_dir / "told"
    told.mkdir(parents=True, exist_ok=True)
    number = count_moments(configure(config, "whole"), told / "number.txt")
    kills = min(options.kills or number, number)
    moments = sorted({1 + k * (number - 1) // max(kills - 1, 1) for k in range(kills)})
    differ = {moment: text for moment, text in try_moments(config, moments, options.lanes, told).items() if text}
    for moment, text in differ.items():
        print(f"killed before change {moment} of {number}: {text}")
    print(
        f"{len(moments)} kills at {number} moments: {len(moments) - len(differ)} ended as the run that was left alone"
    )
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
