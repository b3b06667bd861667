"""Work in a run's folder: alone, inside it, with all that is said in ``run.log``."""

import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from snn_action.core import distributed
from snn_action.core.errors import ConfigError, WorkError
from snn_action.core.files import remove_asides
from snn_action.core.locks import NoLocksError, try_lock

logger = logging.getLogger(__name__)

LOCK, LOG = ".lock", "run.log"
BEGUN = (
    *("config.json", "environment.json", "splits.json", "timing.json", "metrics.jsonl"),
    *("trained", "calibration.json", LOCK, LOG),
)
RESULTS = ("predictions.csv", "confusion.csv", "metrics.json", "examples.npz", "report.html")
FOLDERS = ("checkpoints", "calibration", "figures", "folds", "on", "tensorboard", "csv")
_OWN_FILE = re.compile(
    "|".join(map(re.escape, (*BEGUN, *RESULTS, "best.ckpt", "last.ckpt")))
    + r"|(learning_[a-z]+|anytime|reliability|energy|pairs|per_class|confusion|clip_\d+)\.png"
)


@contextmanager
def open_run(folder: Path, command: str) -> Iterator[None]:
    """Work in a run's folder that exists; of several processes the first holds its lock and writes its log.

    Args:
        folder: Of the run.
        command: What to do again after a failure, such as ``run --resume``.

    Raises:
        ConfigError: the folder is no run's, or a file of it leads elsewhere.
        WorkError: another process works in it, or a file cannot be read or written: names it, what is kept and
            ``command``.
    """
    require_run(folder)
    with hold(folder) if distributed.is_main() else nullcontext(), log_to(folder / LOG):
        try:
            yield
        except OSError as error:
            what = f"{error.filename or folder}: {error.strerror or error}"
            raise WorkError(
                f"{what}; what was finished is kept: when that is fixed, go on with: snn-action {command} {folder}"
            ) from error


def require_run(folder: Path) -> None:
    """Nothing, where a run has begun in the folder.

    Raises:
        ConfigError: nothing has.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such run folder")
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{folder}: not the folder of a run (it has no config.json): there is nothing to continue; begin a new run "
            "with: snn-action run -c CONFIG"
        )


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder. A kill releases the lock, with whatever had been written aside.

    Raises:
        ConfigError: a file of the folder leads elsewhere.
        WorkError: another process holds it.
    """
    check_inside(folder)
    try:
        lock = try_lock(folder / LOCK)
    except (OSError, NoLocksError) as error:
        logger.warning("%s: cannot be locked (%s): see to it that no other process works in this run", folder, error)
        yield
        return
    if lock is None:
        raise WorkError(
            f"{folder}: another process is at work in this run and holds its lock {LOCK}; wait until it ends, or end it"
        )
    try:
        for place in {folder, *(path.parent for path in list_own(folder))}:
            remove_asides(place, _OWN_FILE.fullmatch)
        yield
    finally:
        lock.release()


def check_inside(folder: Path) -> None:
    """Nothing, where all that commands write in a run's folder stays in it; the folder itself may be a link.

    Raises:
        ConfigError: what has the name of a file of ours, or lies in a folder of ours, is a link, a pipe or a device.
    """
    for path in list_own(folder):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
            raise ConfigError(f"{path}: {kind}, where this command would write; remove it")


def list_own(folder: Path) -> Iterator[Path]:
    """What is there of a run's own: files and folders of its names, and all that lies in these folders."""
    for name in (*BEGUN, *RESULTS, *FOLDERS):
        if os.path.lexists(folder / name):
            yield folder / name
    for name in FOLDERS:
        if not (folder / name).is_symlink():
            for place, folders, files in os.walk(folder / name):
                yield from (Path(place, inner) for inner in (*folders, *files))


class _LogFile(logging.FileHandler):
    """A log on a disk that may be full: what cannot be written is left out."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Nothing: else each line would be a traceback in the terminal."""

    def close(self) -> None:
        """Close it, though what is left in its buffer cannot be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Also write what the package logs, and why the work ends, to a file; of several processes the first does."""
    if not distributed.is_main():
        yield
        return
    try:
        handler: logging.Handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        logger.warning("%s: cannot be written: %s", path, error.strerror)
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    package = logging.getLogger("snn_action")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    except BaseException as error:
        text = str(error) or "interrupted"
        handler.handle(
            logger.makeRecord(logger.name, logging.ERROR, "", 0, f"{type(error).__name__}: {text}", (), None)
        )
        raise
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()
