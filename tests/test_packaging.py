"""What is declared about the package is so: the files of a wheel, versions, imports."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def find_imports() -> set[str]:
    """Packages of others that modules under src/ import, by the name under which they are installed."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
    modules = {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"snn_action"}
    distributions = metadata.packages_distributions()
    return {canonicalize_name(distributions[module][0]) for module in modules}


IN_TESTS = ("timm", "transformers", "onnx", "nengo")  # extras of which the tests use the pinned versions


def read_requirements(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    assert find_imports() == set(read_requirements(PROJECT["dependencies"]))


def test_what_is_declared_is_pinned_within_its_range():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = read_requirements([line for line in lines if not line.startswith("#")])
    extras = [line for extra in IN_TESTS for line in PROJECT["optional-dependencies"][extra]]
    for name, wanted in read_requirements([*PROJECT["dependencies"], *extras]).items():
        (pin,) = pins[name].specifier
        assert pin.operator == "=="
        assert wanted.specifier.contains(pin.version), name
