"""The folder of a run, ``save/<name>/<run id>/``: how it is made, found again and told apart from others."""

import hashlib
import json
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from snn_action.config import Config, load_config
from snn_action.core import distributed
from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.files import write_together
from snn_action.core.run_access import list_own, open_run, require_run
from snn_action.runs.environment import describe_environment

logger = logging.getLogger(__name__)

FAILED = "failed.log"
EXAMPLES = 3  # changes that a message names
OUTSIDE = ("wandb", "mlflow")  # loggers that write into ``save_dir`` or to a server
# sections and keys that say where data lies and how the work is done, but not what is learned or tested
FREE = frozenset(
    (
        *("name", "save_dir", "device", "features", "evaluation", "report"),
        *("dataset.max_bad_share", "backbone.weights", "backbone.batch_size", "backbone.engine"),
        "backbone.thresholds",
        *("training.workers", "training.pin_memory", "training.loggers"),
    )
)
_PLAIN = re.compile(r"[A-Za-z0-9_](?:[\w.-]{0,62}[\w-])?", re.ASCII)
_RUN_ID = re.compile(r"\w(?:[\w.-]{0,98}[\w-])?")
_HASHED = re.compile(r"-[0-9a-f]{8}$")


def create_run(config: Config, run_id: str | None = None) -> Path:
    """Make the folder of a new run, with its configuration and environment.

    ``run_id`` defaults to the time. Files are written when the run begins, so that a killed run can go on: a folder
    with a configuration is that of a run.

    Raises:
        ConfigError: a run of that name exists.
        WorkError: the folder cannot be written.
    """
    parent = config.save_dir / config.name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = _claim(parent, run_id)
        try:
            write_begin(folder, config)
        except OSError:
            _remove(folder)
            raise
    except OSError as error:
        what = f"{error.filename or parent}: cannot write the run's folder: {error.strerror}"
        raise WorkError(f"{what}; nothing was begun: when that is fixed, run it again") from error
    return folder


def write_begin(folder: Path, config: Config) -> None:
    """Write what a run's folder begins with, ``config.json`` last.

    Raises:
        OSError: a file cannot be written.
    """
    environment = json.dumps(describe_environment(), indent=2) + "\n"
    write_together({folder / "environment.json": environment, folder / "config.json": config.to_json()})


@contextmanager
def new_run(config: Config, run_id: str | None = None, command: str = "run --resume") -> Iterator[Path]:
    """``create_run``, for the work inside; a configuration that cannot be followed leaves no folder behind.

    The folder stays where weights are in it, and after any other failure, as ``command`` goes on from there. Of
    several processes the first makes it; started again by ``torchrun`` after one died, they go on with what they began.
    """

    def create() -> Path:
        begun = find_unfinished_run(config, run_id) if distributed.restarts() else None
        return begun or create_run(config, run_id)

    folder = distributed.broadcast_object(create)
    try:
        with open_run(folder, command):
            yield folder
    except ConfigError as error:
        if distributed.is_main() and not any(folder.rglob("*.ckpt")):
            _remove(folder)
            _note_failure(folder, error)
        raise


def _remove(folder: Path) -> None:
    """Remove a folder in which nothing was begun; what is not of ours stays, and the folder with it."""
    for path in [*list_own(folder)]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _note_failure(folder: Path, error: Exception) -> None:
    """Write why a run could not begin into ``failed.log`` beside the runs, as nothing else is left of it."""
    stamp = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    try:
        with open(folder.parent / FAILED, "a", encoding="utf-8", opener=_open_no_link) as file:
            file.write(f"{stamp} {folder.name}: {error}\n")
    except OSError as problem:
        logger.warning("%s: cannot be written: %s", folder.parent / FAILED, problem.strerror)


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def _claim(parent: Path, run_id: str | None) -> Path:
    if run_id is not None:
        if not _RUN_ID.fullmatch(run_id):
            raise ConfigError(
                f"run id {run_id!r} is not a plain folder name of letters, digits, '_', '-' and '.', 100 at most"
            )
        folder = parent / run_id
        try:
            folder.mkdir()
        except FileExistsError:
            if (folder / "config.json").exists():
                text = f"this run exists; continue it with --resume {folder}, or name another with --run-id"
            else:
                text = "this folder exists and no run has begun in it; remove it, or name another with --run-id"
            raise ConfigError(f"{folder}: {text}") from None
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

    A run's folder may come from anybody: it names no place outside for results (``DatasetSettings.without_outputs``),
    and where it does not lie where it says, no logger that writes there.

    Raises:
        ConfigError: the folder is not a run's, its configuration is broken, or an override does not fit.
    """
    require_run(folder)
    try:
        config = load_config(folder / "config.json")
    except ConfigError as error:
        raise ConfigError(f"{error}; restore it, or begin a new run with: snn-action run -c CONFIG") from None
    if overrides:
        config = load_config(folder / "config.json", overrides)
    config = config.model_copy(update={"dataset": config.dataset.without_outputs()})
    inside = [name for name in config.training.loggers if name not in OUTSIDE]
    if len(inside) < len(config.training.loggers) and not _lies_where_it_says(folder, config):
        logger.warning("%s: does not lie in its save_dir: %s are left out", folder, ", ".join(OUTSIDE))
        config = config.model_copy(update={"training": config.training.model_copy(update={"loggers": inside})})
    return config


def _lies_where_it_says(folder: Path, config: Config) -> bool:
    try:
        return (config.save_dir / config.name / folder.resolve().name).samefile(folder)
    except OSError:
        return False


def find_latest_run(config: Config) -> Path:
    """The newest run of this configuration: of its name, and of the same keys that decide what is learned and tested.

    Raises:
        ConfigError: there is none; says what the newest run of that name has otherwise.
    """
    parent = config.save_dir / config.name
    runs = [path.parent for path in parent.glob("*/config.json") if path.is_file()]
    if not runs:
        raise ConfigError(f"{parent}: no run there yet; train one first")
    runs.sort(key=lambda run: ((run / "config.json").stat().st_mtime_ns, run.name), reverse=True)
    wanted, others = learned_settings(config), []
    for run in runs:
        try:
            changes = find_changes(learned_settings(read_run_config(run)), wanted)
        except ConfigError as error:
            changes = [str(error)]
        if not changes:
            return run
        others.append(f"{run}: {'; '.join(changes[:EXAMPLES])}")
    raise ConfigError(
        f"{parent}: no run of this configuration there; the newest differs:\n  {others[0]}\n"
        "name the run that you want to test: snn-action evaluate RUN"
    )


def learned_settings(config: Config) -> dict[str, Any]:
    """The keys that decide what is learned and what is tested, ``{"section.key": value}``.

    Paths are not among them (data may move: its content is compared), nor is what only says how the work is done.
    """
    learned: dict[str, Any] = {}

    def walk(node: Any, place: tuple[str, ...]) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, (*place, key))
        elif not isinstance(node, Path) and not _is_free(".".join(place)):
            learned[".".join(place)] = json.loads(json.dumps(node))

    walk(config.model_dump(), ())
    return learned


def _is_free(key: str) -> bool:
    return key.partition(".")[0] in FREE or key in FREE


def find_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two ``learned_settings``, in words; a key that only one has is one of another version."""
    both = sorted(then.keys() & now.keys())
    return [f"{key} is {json.dumps(now[key])}, was {json.dumps(then[key])}" for key in both if then[key] != now[key]]


def find_unfinished_run(config: Config, run_id: str | None = None) -> Path | None:
    """The newest run of exactly this configuration that did not come to its report, or the one of that id."""
    begun = [
        path
        for path in (config.save_dir / config.name).glob("*/config.json")
        if run_id in (None, path.parent.name)
        and path.is_file()
        and path.read_bytes() == config.to_json().encode()
        and not (path.parent / "report.html").exists()
    ]
    return max(begun, key=lambda path: path.stat().st_mtime_ns).parent if begun else None


def fold_folder(folder: Path, fold: str, folds: Sequence[str]) -> Path:
    """Where one fold's checkpoints and metrics lie: the run's folder, or one in ``folds/`` where there are several.

    Args:
        folder: Of the run.
        fold: Name of the fold.
        folds: Names of all the run's folds.
    """
    return folder if len(folds) == 1 else folder / "folds" / plain_names(folds)[list(folds).index(fold)]


def plain_names(names: Sequence[str]) -> list[str]:
    """A folder name for each name, whatever text it is: one plain part of a path, no two of them the same.

    A name of letters, digits, ``_``, ``-`` and ``.`` stays as it is. Others, and those that differ in case only, keep
    their plain letters and get eight digits of their SHA-256.
    """
    folded = Counter(name.casefold() for name in names)
    return [
        name if _PLAIN.fullmatch(name) and not _HASHED.search(name) and folded[name.casefold()] == 1 else _hash(name)
        for name in names
    ]


def _hash(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return "-".join((*re.findall(r"[A-Za-z0-9_]+", name), digest))[-60:].lstrip("-")
