"""Options that several commands share, and what they mean."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from snn_action.cli.examples import DEMO, find_example
from snn_action.core import distributed
from snn_action.core.errors import ConfigError

logger = logging.getLogger(__name__)

INTERRUPTED = 130  # the exit code that Typer makes of Ctrl-C
DEFAULT_CONFIG = Path("configs/config.json")  # where there is none: the demo that comes with the package
RunConfigFile = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", help=f"Configuration file (JSON); default: {DEFAULT_CONFIG} or, without it, the demo."
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("-o", "--override", help="section.key=value, put over the file; repeatable.")
]
Device = Annotated[
    str | None, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:1 or indices of GPUs such as 0,1.")
]


def _require_folder(path: Path | None) -> Path | None:
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(f"--json {path}: there is no folder {path.parent}")
    if path is not None and path.is_dir():
        raise ConfigError(f"--json {path}: a folder; name a file")
    return path


JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write all findings.", callback=_require_folder),
]


def load(path: Path | None, overrides: list[str] | None, device: str | None = None) -> Any:
    """The configuration in a file, or in the default one, with overrides and the device put over it."""
    from snn_action.config import load_config

    if path is None:
        path = DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else find_example(DEMO)
        logger.info("no -c: the configuration is %s", path)
    return load_config(path, put_device(overrides, device))


def put_device(overrides: list[str] | None, device: str | None) -> list[str]:
    """Overrides, the device among them."""
    return [*(overrides or []), *([] if device is None else [f"device={json.dumps(device)}"])]


def is_terminal() -> bool:
    """Whether somebody watches; of several processes they watch the first."""
    return sys.stderr.isatty() and distributed.is_main()
