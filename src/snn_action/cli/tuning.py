"""``snn-action tune``."""

import re
from pathlib import Path
from typing import Annotated

import typer

from snn_action.cli.options import Device, Overrides, RunConfigFile, is_terminal, load
from snn_action.core.errors import ConfigError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def tune(
    config: RunConfigFile = None,
    override: Overrides = None,
    device: Device = None,
    budget: Annotated[str, typer.Option("--budget", help="Time to search: 90s, 10m, 2h.")] = "10m",
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="At most so many heads a split.")] = None,
    models: Annotated[
        str | None, typer.Option("--models", metavar="TYPE,...", help="Types of models to try; default: three.")
    ] = None,
    spiking: Annotated[bool, typer.Option("--spiking", help="Choose a spiking head.")] = False,
    folds: Annotated[int, typer.Option("--folds", min=2, max=20, help="Inner folds, of whole groups.")] = 4,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Folder of the search; a search there goes on.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="URL", help="Optuna's database; default: a file in the folder.")
    ] = None,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Train and test the chosen head, once.")] = True,
) -> None:
    """Choose a head and its settings on your training videos, then test it once."""
    settings = load(config, override, device)
    seconds = read_duration(budget)
    from snn_action.runs.tuning.tune import tune as tune_heads

    found = tune_heads(
        settings,
        out=out,
        models=None if models is None else [name.strip() for name in models.split(",") if name.strip()],
        spiking=spiking,
        seconds=seconds,
        trials=trials,
        inner_folds=folds,
        storage=storage,
        test=test,
        progress=is_terminal(),
    )
    typer.echo(found.summary)


def read_duration(text: str) -> float:
    """Seconds of a text such as ``90``, ``90s``, ``10m`` or ``1.5h``.

    Raises:
        ConfigError: it is none, or not more than 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds < 1e9:
        raise ConfigError(f"--budget {text!r}: expected a time such as 90s, 10m or 2h")
    return seconds
