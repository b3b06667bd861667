"""The command that makes one file of a trained model."""

from pathlib import Path
from typing import Annotated

import typer

from snn_action.cli.options import Overrides


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a trained recognizer.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as model.snn.")],
    fold: Annotated[str | None, typer.Option("--fold", help="Which fold's model; default: the first.")] = None,
    with_backbone: Annotated[
        bool, typer.Option("--with-backbone/--without-backbone", help="Also pack the weights of the backbone.")
    ] = True,
    license_note: Annotated[
        str | None, typer.Option("--license", metavar="TEXT", help="What may be done with the weights, for its card.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    override: Overrides = None,
) -> None:
    """Pack a trained model into one file, to hand it on; predict takes it in the place of a run folder."""
    from snn_action.runs.model_card import NO_LICENSE
    from snn_action.runs.packing import write_pack

    digest = write_pack(
        run,
        file,
        fold=fold,
        with_backbone=with_backbone,
        license_note=license_note or NO_LICENSE,
        overrides=override or (),
        replace=force,
    )
    typer.echo(f"packed: {file} ({file.stat().st_size / 1e6:.1f} MB, digest {digest[:16]})")
    typer.echo(f"use it: snn-action predict {file} VIDEO")
