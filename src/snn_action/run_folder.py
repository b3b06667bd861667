"""The folder of a run, ``save/<name>/<run id>/``: how it is made, found again and told apart from others."""

import importlib.metadata
import json
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from snn_action import processes
from snn_action.config import Config, load_config
from snn_action.errors import ConfigError, WorkError
from snn_action.files import write_atomic

REPORTED_PACKAGES = ("torch", "torchvision", "lightning", "av", "numpy", "numba", "safetensors", "pydantic")


def create_run(config: Config, run_id: str | None = None) -> Path:
    """Make the folder of a new run, with its configuration and environment.

    ``run_id`` defaults to the time. Files are written when the run begins, so that a killed run can go on.

    Raises:
        ConfigError: a run of that name exists.
        WorkError: the folder cannot be written.
    """
    parent = config.save_dir / config.name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = _claim(parent, run_id)
        write_atomic(folder / "config.json", config.to_json())
        write_atomic(folder / "environment.json", json.dumps(describe_environment(), indent=2) + "\n")
    except OSError as error:
        raise WorkError(f"{parent}: cannot write the run's folder: {error.strerror}") from error
    return folder


@contextmanager
def new_run(config: Config, run_id: str | None = None) -> Iterator[Path]:
    """``create_run``, for the work inside; a configuration that cannot be followed leaves no folder behind.

    The folder stays where weights are in it, and after any other failure, as ``--resume`` goes on from there. Of
    several processes the first makes it; started again by ``torchrun`` after one died, they go on with what they began.
    """

    def create() -> Path:
        begun = find_unfinished_run(config, run_id) if processes.restarts() else None
        return begun or create_run(config, run_id)

    folder = processes.tell(create)
    try:
        yield folder
    except ConfigError:
        if processes.is_main() and not any(folder.rglob("*.ckpt")):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _claim(parent: Path, run_id: str | None) -> Path:
    if run_id is not None:
        if not run_id or Path(run_id).name != run_id or run_id in {".", ".."}:
            raise ConfigError(f"run id {run_id!r} is not a plain folder name")
        folder = parent / run_id
        try:
            folder.mkdir()
        except FileExistsError:
            raise ConfigError(
                f"{folder}: this run exists; continue it with --resume {folder}, or name another with --run-id"
            ) from None
        return folder
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
        try:
            (parent / f"{stamp}{suffix}").mkdir()
        except FileExistsError:
            continue
        return parent / f"{stamp}{suffix}"
    raise WorkError(f"{parent}: no free name for a run left")


def read_run_config(folder: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration that a run was started with, with overrides put over it.

    Raises:
        ConfigError: the folder is not a run's.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: not the folder of a run (it has no config.json)")
    return load_config(folder / "config.json", overrides)


def write_splits(folder: Path, splits: dict[str, Any]) -> None:
    """Write ``splits.json``: class names, and which videos train, validate and test in each fold."""
    write_atomic(folder / "splits.json", json.dumps(splits, indent=1) + "\n")


def read_splits(folder: Path) -> dict[str, Any]:
    """What ``write_splits`` wrote.

    Raises:
        ConfigError: the run has not begun to train.
    """
    try:
        splits: dict[str, Any] = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{folder}: this run has not begun to train; continue it with --resume {folder}") from None
    return splits


def find_latest_run(config: Config) -> Path:
    """The newest run of a configuration's name.

    Raises:
        ConfigError: there is none.
    """
    parent = config.save_dir / config.name
    runs = [path.parent for path in parent.glob("*/config.json")] if parent.is_dir() else []
    if not runs:
        raise ConfigError(f"{parent}: no run there yet; train one first")
    return max(runs, key=lambda run: ((run / "config.json").stat().st_mtime_ns, run.name))


def find_unfinished_run(config: Config, run_id: str | None = None) -> Path | None:
    """The newest run of exactly this configuration that did not come to its report, or the one of that id."""
    begun = [
        path
        for path in (config.save_dir / config.name).glob("*/config.json")
        if run_id in (None, path.parent.name)
        and path.read_text(encoding="utf-8") == config.to_json()
        and not (path.parent / "report.html").exists()
    ]
    return max(begun, key=lambda path: path.stat().st_mtime_ns).parent if begun else None


def fold_folder(folder: Path, fold: str, folds: int) -> Path:
    """Where one fold's checkpoints and metrics lie: the run's folder, or ``folds/<name>`` where there are several."""
    return folder if folds == 1 else folder / "folds" / fold


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Also write what the package logs to a file, while inside; of several processes the first does."""
    if not processes.is_main():
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    package = logging.getLogger("snn_action")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()


def describe_environment() -> dict[str, Any]:
    """Versions, commit and hardware, for ``environment.json``."""
    import torch

    versions = {}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "snn_action": importlib.metadata.version("snn-action"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes.world_size(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    source = Path(__file__).parent
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        tracked = subprocess.run(
            ["git", "-C", str(source), "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True,
            check=False,
        )
        if tracked.returncode:  # installed elsewhere: a repository around it would not be ours
            return None
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
