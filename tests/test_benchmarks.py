"""The benchmarks can be called, and their page names all of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.lib.index import BENCHMARKS, GROUPS, make_page

SCRIPTS = [path for group in GROUPS for path in sorted((BENCHMARKS / group).glob("*.py"))]


def test_the_page_is_current():
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert page == make_page(), "run: python benchmarks/lib/index.py"


@pytest.mark.parametrize("name", ["accuracy/ucf101_features", "speed/neurons", "robustness/faults"])
def test_a_script_is_found_from_anywhere(name, tmp_path):
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(name).name in done.stdout


def test_there_are_scripts_of_every_group():
    assert {path.parent.name for path in SCRIPTS} == set(GROUPS)
