"""What is declared about the package is so: the files of a wheel, versions, imports."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import snn_action

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "snn_action"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the working tree, taken apart; built from a copy, because a build writes into its source."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("src", "configs"):
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    code = "import sys\nfrom setuptools import build_meta\nbuild_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=source, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "contents")
    return folder / "contents"


def test_a_wheel_holds_every_file_of_the_package_but_pages_for_readers(wheel):
    there = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if path.is_file()}
    there |= {Path("configs") / path.name for path in (ROOT / "configs").iterdir()}
    wanted = {path for path in there if path.suffix not in (".md", ".pyc")}
    packed = {path.relative_to(wheel / "snn_action") for path in (wheel / "snn_action").rglob("*") if path.is_file()}
    assert packed == wanted
    for path in packed:
        assert (wheel / "snn_action" / path).read_bytes() == (PACKAGE / path).read_bytes()


def test_an_installed_package_writes_a_configuration(wheel, tmp_path):
    command = [sys.executable, "-m", "snn_action", "init"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(wheel)}, check=True)
    assert (tmp_path / "config.json").is_file()


def test_the_version_is_one():
    assert PROJECT["version"] == snn_action.__version__
