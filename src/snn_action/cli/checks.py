"""``check-videos`` and ``check-split``: what is wrong with a data set, before anything is trained."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from snn_action.cli.options import JsonFile, Overrides, is_terminal
from snn_action.core.errors import printable


def check_videos(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A video, or a folder with videos at any depth.")],
    json_file: JsonFile = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one a processor.")] = None,
    pixels: Annotated[int | None, typer.Option(min=1, help="Most pixels of a frame.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.001, help="Longest video.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds until a video is given up.")] = None,
) -> None:
    """Decode every video to its end and say which cannot be used, and why (then the exit code is 1).

    Defaults of the limits are those of features.limits.
    """
    from snn_action.core.files import write_atomic
    from snn_action.core.progress import track
    from snn_action.datasets import check
    from snn_action.video.settings import LimitSettings

    given = {"pixels": pixels, "seconds": seconds, "timeout": timeout}
    limits = LimitSettings(**{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
    found, checks = check.find_all_videos(path), []
    coming = check.check_videos(found, limits, workers or os.cpu_count() or 1)
    with track("Checking videos", len(found), is_terminal()) as tick:
        for one in coming:
            checks.append(one)
            tick()
    checks = check.mark_duplicates(checks)
    for one in checks:
        for problem in one.problems:
            typer.echo(f"error: {problem.kind}: {printable(problem.text)}", err=True)
        for warning in one.warnings:
            typer.echo(f"warning: {warning.kind}: {printable(warning.text)}", err=True)
    report = check.make_report(path, checks)
    if json_file is not None:
        write_atomic(json_file, json.dumps(report, indent=2) + "\n")
    bad = report["videos"] - report["usable"]
    typer.echo(f"{report['videos']} videos: {report['usable']} can be used, {bad} cannot")
    if bad:
        raise typer.Exit(1)


def check_split(
    path: Annotated[Path, typer.Argument(metavar="CONFIG|CSV", help="Configuration file, or table of videos.")],
    override: Overrides = None,
    json_file: JsonFile = None,
) -> None:
    """Look for groups and copies of videos on both sides of a split, without a run (found: the exit code is 1).

    A table has the columns path, label, split and, where known, group.
    """
    from snn_action.core.files import write_atomic
    from snn_action.runs import other_data

    catalog, leakage = other_data.check_split(path, override or (), progress=is_terminal())
    sides = [f"split {fold.name}: {len(fold.learned)} videos train, {len(fold.test)} test" for fold in catalog.folds]
    for line in (*sides, *(f"looked at: {words}" for words in leakage.checked)):
        typer.echo(line)
    for leak in leakage.leaks:
        typer.echo(f"{leak.kind}: split {leak.fold}: {leak.text}")
    typer.echo(f"the split is {leakage.verdict}")
    if json_file is not None:
        write_atomic(json_file, json.dumps(leakage.to_dict(), indent=2) + "\n")
    if leakage.leaks:
        raise typer.Exit(1)
