"""A run that is killed anywhere goes on to the weights, metrics and predictions of one that was left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 64

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")


def test_a_run_that_is_killed_at_any_stage_goes_on_to_the_same_end(features_file, write_config):
    path = write_config(
        {"type": "features", "path": str(features_file)},
        training={"epochs": 3, "batch_size": 16, "learning_rate": 0.02},
        evaluation={"baseline": False},
    )
    words = [ROOT / "benchmarks" / "robustness" / "kills.py", path, "--kills", KILLS, "--quick"]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{KILLS} ended as the run that was left alone" in done.stdout
