"""Runs under ``torchrun``: two processes give what one gives, and one that dies costs nothing that was finished."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snn_action.config import load_config
from snn_action.core import distributed
from snn_action.runs import pipeline

MODEL = {"type": "lmu", "units": 8, "order": 2, "theta": 6.0, "memory_d": 3, "dropout": 0.0}  # noise differs
TRAINING = {"epochs": 4, "batch_size": 9, "learning_rate": 0.02}  # 28 clips: the last batch holds one
DIES = """
import os, signal
from pathlib import Path
from snn_action.cli.commands import main
from snn_action.report import html
from snn_action.training.clips import EpochSampler

html._list_figures = lambda run: ()  # they take longer than the run
start = EpochSampler.set_epoch

def die(self, epoch):
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    start(self, epoch)

EpochSampler.set_epoch = die
if os.environ["RANK"] == "0" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "1":
    save = Path(os.environ["SAVE"])
    Path(os.environ["LEFT"]).write_text("\\n".join(path.name for path in save.rglob("*") if "one" not in path.parts))
main()
"""

LEAVES = """
import os, sys
from pathlib import Path
from snn_action.cli.commands import main
from snn_action.report import html

html._list_figures = lambda run: ()
try:
    main()
finally:
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
    left = " ".join(name for name in names if "gloo" in name or "pt_" in name)
    Path(os.environ["LEFT"], os.environ["RANK"]).write_text(left)
"""


def torchrun(*words: object, restarts: int = 0, **variables: object) -> subprocess.CompletedProcess[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in variables.items()}}
    command = [sys.executable, *launch, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def given(features_file, write_config) -> Path:
    return write_config({"type": "features", "path": str(features_file)}, model=MODEL, training=TRAINING)


@pytest.fixture
def alone(given) -> Path:
    """The folder of the run that one process makes."""
    return pipeline.run(load_config(given), run_id="one").folder


def assert_same_run(found: Path, wanted: Path) -> None:
    """Same predictions of the same videos, each once, and metrics that differ by rounding."""
    rows, expected = (
        list(csv.DictReader((run / "predictions.csv").read_text().splitlines())) for run in (found, wanted)
    )
    assert len({row["video"] for row in rows}) == len(rows) == 12
    for row, other in zip(rows, expected, strict=True):
        assert float(row.pop("probability")) == pytest.approx(float(other.pop("probability")), abs=1e-4)
        assert json.loads(row.pop("top5")) == pytest.approx(json.loads(other.pop("top5")), abs=1e-4)
        assert row == other
    metrics, other = (json.loads((run / "metrics.json").read_text()) for run in (found, wanted))
    for name in ("accuracy", "baseline", "per_class", "test_videos", "train_videos", "best_epoch", "anytime"):
        assert metrics[name] == other[name]
    epochs, others = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (found, wanted)
    )
    for line, other in zip(epochs, others, strict=True):
        for side in ("train", "validation", "test"):
            assert line[side] == pytest.approx(other[side], abs=1e-4)


def test_two_processes_give_what_one_gives_and_leave_no_thread_of_their_group(given, alone, tmp_path):
    (tmp_path / "leaves.py").write_text(LEAVES)
    done = torchrun(tmp_path / "leaves.py", "run", "-c", given, "--run-id", "two", LEFT=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("video accuracy") == 1  # one process prints
    assert done.stderr.count("training on") == 1
    assert "Traceback" not in done.stderr
    assert_same_run(alone.parent / "two", alone)
    assert json.loads((alone.parent / "two" / "environment.json").read_text())["processes"] == 2
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["", ""]  # empty where /proc lists no threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_a_process_that_dies_leaves_no_run_that_looks_finished_and_a_restart_goes_on(given, alone, tmp_path):
    script, left = tmp_path / "dies.py", tmp_path / "left.txt"
    script.write_text(DIES)
    again = torchrun(script, "run", "-c", given, restarts=1, SAVE=alone.parent, LEFT=left)
    assert again.returncode == 0, again.stderr
    assert "exitcode: -9" in again.stderr
    names = left.read_text().split()
    assert "last.ckpt" in names
    assert not {"trained", "metrics.json", "predictions.csv", "report.html"} & set(names)
    (new,) = set(alone.parent.iterdir()) - {alone}  # the restart went on with the run of the first start
    assert_same_run(new, alone)


def test_one_process_is_the_first_and_only_one(monkeypatch):
    monkeypatch.setenv("RANK", "3")  # of something else than torchrun
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    with distributed.group(), distributed.rank_zero_first():
        assert not torch.distributed.is_initialized()
        assert distributed.broadcast_object(lambda: 5) == 5
        assert distributed.all_gather_object(7) == [7]
