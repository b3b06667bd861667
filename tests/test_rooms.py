"""The way of the data has one direction: a module imports only from rooms to its left."""

import ast
import subprocess
import sys
from pathlib import Path

import snn_action

PACKAGE = Path(snn_action.__file__).parent
ROOMS = [
    *(
        "errors",
        "compat",
        "files",
        "tables",
        "reading",
        "archives",
        "memory",
        "progress",
        "processes",
        "registry",
        "seed_format",
        "config",
        "environment",
        "run_access",
        "run_folder",
        "data",
        "backbones",
        "features",
    ),
    *("kernels", "neurons", "models", "training", "evaluation", "report", "prediction", "export"),
    *("run_data", "run_results", "pipeline", "other_data", "options", "store_commands", "cli", "__main__"),
    "app",
]
LIBRARY_ROOMS = {"backbones", "kernels", "neurons", "models"}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("snn_action.")}
    return rooms & set(ROOMS)


def modules() -> list[tuple[str, Path]]:
    found = [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in PACKAGE.rglob("*.py")]
    return [(room, path) for room, path in found if room != "__init__"]


def test_every_module_stands_in_a_room_and_imports_only_from_its_left():
    for room, path in modules():
        assert room in ROOMS, f"{path} stands in no room"
        right = {name for name in imported_rooms(path) if ROOMS.index(name) > ROOMS.index(room)}
        assert not right, f"{path} imports from {right}, to its right"


def test_backbones_kernels_neurons_and_models_know_nothing_of_videos():
    for room, path in modules():
        if room in LIBRARY_ROOMS:
            assert not imported_rooms(path) & {"data", "features", "run_folder"}, path


def test_modules_stay_short():
    for _, path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 320, f"{path} has {lines} lines; is it still one idea?"


def test_help_needs_no_heavy_import():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom snn_action.cli import app\n"
        "result = CliRunner().invoke(app, ['--help'])\nassert result.exit_code == 0, result\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'lightning', 'matplotlib', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
