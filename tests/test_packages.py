"""The way of the data has one direction: a module imports only from packages to its left."""

import ast
import subprocess
import sys
from pathlib import Path

import snn_action

PACKAGE = Path(snn_action.__file__).parent
PACKAGES = (
    *("core", "snn", "models", "backbones", "video", "datasets", "config", "features", "training", "evaluation"),
    *("report", "export", "runs", "original_2020", "cli", "app", "__main__"),
)
LIBRARY = {"core", "snn", "models"}


def imported_packages(path: Path) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        packages |= {name.split(".")[1] for name in names if name.startswith("snn_action.")}
    return packages & set(PACKAGES)


def modules() -> list[tuple[str, Path]]:
    found = [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in PACKAGE.rglob("*.py")]
    return [(package, path) for package, path in found if package != "__init__"]


def test_every_module_stands_in_a_package_and_imports_only_from_its_left():
    for package, path in modules():
        assert package in PACKAGES, f"{path} stands in no package"
        right = {name for name in imported_packages(path) if PACKAGES.index(name) > PACKAGES.index(package)}
        assert not right, f"{path} imports from {right}, to its right"


def test_snn_and_models_know_nothing_of_videos_files_and_configurations():
    for package, path in modules():
        if package in LIBRARY:
            assert imported_packages(path) <= LIBRARY, path


def test_the_2020_project_is_named_in_its_own_package_only():
    for package, path in modules():
        if package != "original_2020" and path.name != "registry.py":
            assert "original_2020" not in path.read_text(encoding="utf-8"), path


def test_modules_stay_short():
    for _, path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 320, f"{path} has {lines} lines; is it still one idea?"


def test_a_configuration_is_read_without_pytorch():
    code = (
        "import sys, snn_action.config\nassert not {'torch', 'av', 'lightning_fabric', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_needs_no_heavy_import():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom snn_action.cli.commands import app\n"
        "result = CliRunner().invoke(app, ['--help'])\nassert result.exit_code == 0, result\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'lightning', 'matplotlib', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
