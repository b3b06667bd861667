"""``snn-action calibrate-coding``."""

from pathlib import Path
from typing import Annotated

import typer

from snn_action.cli.options import Device, Overrides, RunConfigFile, is_terminal, load


def calibrate_coding(
    out: Annotated[Path, typer.Option("--out", "-f", metavar="FILE", help="The file of thresholds to write (.json).")],
    config: RunConfigFile = None,
    override: Overrides = None,
    device: Device = None,
    max_error: Annotated[
        float, typer.Option("--max-error", help="Of the features, as a share of their deviation over frames.")
    ] = 0.1,
    videos: Annotated[int, typer.Option("--videos", help="Training videos to choose on.")] = 4,
) -> None:
    """Choose thresholds for backbone.coding 'sigma_delta' on training videos."""
    settings = load(config, override, device)
    from snn_action.runs import coding

    found = coding.calibrate_coding(settings, out, max_error=max_error, videos=videos, progress=is_terminal())
    typer.echo(f"{len(found.thresholds)} thresholds, error of the features {100 * found.error:.1f} %: {out}")
    typer.echo(f"use them: -o backbone.coding=sigma_delta -o backbone.thresholds={out}")
