"""Training curves for TensorBoard, Weights & Biases, MLflow or a CSV file, by Lightning's loggers.

A logger is imported only where ``training.loggers`` names it. ``metrics.jsonl`` is written in any case.
"""

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from snn_action.config import Config
from snn_action.core import distributed
from snn_action.core.errors import ConfigError

Log = Callable[[dict[str, Any]], None]


def check_loggers(config: Config) -> None:
    """Check that the packages of ``training.loggers`` are installed.

    Raises:
        ConfigError: one is not; names it and the way to install it.
    """
    for name in config.training.loggers:
        try:
            importlib.metadata.version(name if name != "csv" else "pytorch-lightning")
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(
                f"training.loggers: the package {name} is not installed; pip install 'snn-action[{name}]'"
            ) from None


@contextmanager
def log_epochs(config: Config, folder: Path, lines: Sequence[dict[str, Any]] = ()) -> Iterator[Log]:
    """Open the loggers of ``training.loggers`` for a run or fold; only the first of several processes has any.

    The function it gives takes a line of ``metrics.jsonl``. Its curves have names such as ``validation/video``; their
    step is the number of epochs trained. A continued training begins its curves anew, with the ``lines`` so far: no
    epoch is missing or, after a kill, logged twice.

    Raises:
        ConfigError: the package of a logger is not installed, or the logger cannot be opened.
    """
    check_loggers(config)
    names = config.training.loggers if distributed.is_main() else []
    with ExitStack() as stack:
        loggers = [_open(name, config, folder, stack) for name in names]

        def log(line: dict[str, Any]) -> None:
            curves = {
                f"{side}/{key}": value
                for side in line
                if isinstance(line[side], dict)
                for key, value in line[side].items()
            }
            if "learning_rate" in line:
                curves["learning_rate"] = line["learning_rate"]
            for logger in loggers:
                logger.log_metrics(curves, step=line["epoch"] + 1)

        for line in lines:
            log(line)
        yield log


def _open(name: str, config: Config, folder: Path, stack: ExitStack) -> Any:
    try:
        return stack.enter_context(_LOGGERS[name](config, folder))
    except Exception as error:  # of any kind: no server, no key, no room
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"training.loggers: {name} cannot be opened: {reason}") from error


@contextmanager
def _finalizing(logger: Any) -> Iterator[None]:
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        logger.finalize(status)


@contextmanager
def _open_tensorboard(config: Config, folder: Path) -> Iterator[Any]:
    """Into the folder ``tensorboard``."""
    del config
    from snn_action.core.compat import lightning_fabric

    logger = lightning_fabric.loggers.tensorboard.TensorBoardLogger(folder, name="tensorboard", version="")
    with _finalizing(logger):
        yield logger


@contextmanager
def _open_csv(config: Config, folder: Path) -> Iterator[Any]:
    """Into ``csv/metrics.csv``."""
    del config
    from snn_action.core.compat import lightning_fabric

    (folder / "csv" / "metrics.csv").unlink(missing_ok=True)  # written anew
    logger = lightning_fabric.loggers.csv_logs.CSVLogger(folder, name=None, version="csv", flush_logs_every_n_steps=1)
    with _finalizing(logger):
        yield logger


@contextmanager
def _open_wandb(config: Config, folder: Path) -> Iterator[Any]:
    """Into the project of the configuration's name, or ``WANDB_PROJECT``; its files lie in ``save_dir/wandb``."""
    from snn_action.core.compat import pytorch_lightning

    project = os.environ.get("WANDB_PROJECT", config.name)
    config.save_dir.mkdir(parents=True, exist_ok=True)
    logger = pytorch_lightning.loggers.WandbLogger(name=folder.as_posix(), project=project, save_dir=config.save_dir)
    logger.log_hyperparams(config.model_dump(mode="json"))
    with _finalizing(logger):
        try:
            yield logger
        finally:
            logger.experiment.finish()  # or the next fold would go on with this run


@contextmanager
def _open_mlflow(config: Config, folder: Path) -> Iterator[Any]:
    """Into the experiment of the configuration's name, at ``MLFLOW_TRACKING_URI`` or in ``save_dir/mlflow.db``."""
    from snn_action.core.compat import pytorch_lightning

    place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(config.save_dir / 'mlflow.db').absolute()}"
    config.save_dir.mkdir(parents=True, exist_ok=True)
    logger = pytorch_lightning.loggers.MLFlowLogger(config.name, folder.as_posix(), tracking_uri=place)
    logger.log_hyperparams(config.model_dump(mode="json"))
    with _finalizing(logger):
        yield logger


_LOGGERS = {"tensorboard": _open_tensorboard, "wandb": _open_wandb, "mlflow": _open_mlflow, "csv": _open_csv}
