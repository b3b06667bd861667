"""Commands, each a thin call into the library. Heavy imports happen inside the commands."""

import json
import logging
import shlex
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from snn_action import __version__
from snn_action.cli import checks, coding, energy, examples, packing, predict, store, tuning
from snn_action.cli.options import (
    INTERRUPTED,
    Device,
    Overrides,
    RunConfigFile,
    is_terminal,
    load,
    put_device,
)
from snn_action.core import distributed
from snn_action.core.errors import ConfigError, WorkError, printable

app = typer.Typer(
    name="snn-action",
    help="Recognize human actions in video with spiking neural networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(store.app)
RunId = Annotated[str | None, typer.Option("--run-id", help="Name of the run's folder; default: the time.")]
Resume = Annotated[
    Path | None, typer.Option("--resume", metavar="RUN", help="Continue the interrupted run in this folder.")
]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"snn-action {__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (also after COMMAND).")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Recognize human actions in video with spiking neural networks."""
    del debug, version  # ``main`` looks for the first, wherever it stands; the second has stopped


@app.command()
def run(
    config: RunConfigFile = None,
    override: Overrides = None,
    device: Device = None,
    run_id: RunId = None,
    resume: Resume = None,
) -> None:
    """Do the whole job: videos, features, training, test and report."""
    settings = _load_unless_resumed(resume, config, override, device, run_id)
    from snn_action.runs import pipeline

    if resume is not None:
        _show(pipeline.resume(resume, progress=is_terminal()))
    else:
        _show(pipeline.run(settings, run_id=run_id, progress=is_terminal()))


@app.command()
def extract(config: RunConfigFile = None, override: Overrides = None, device: Device = None) -> None:
    """Only extract the features of all videos into the store."""
    settings = load(config, override, device)
    from snn_action.runs import pipeline

    typer.echo(pipeline.load_data(settings, progress=is_terminal()).summary)


@app.command()
def train(
    config: RunConfigFile = None,
    override: Overrides = None,
    device: Device = None,
    run_id: RunId = None,
    resume: Resume = None,
) -> None:
    """Extract what is missing and train; the test set stays closed."""
    settings = _load_unless_resumed(resume, config, override, device, run_id)
    from snn_action.runs import pipeline

    if resume is not None:
        folder = pipeline.resume_training(resume, progress=is_terminal())
    else:
        folder = pipeline.train(settings, run_id=run_id, progress=is_terminal())
    if distributed.is_main():
        typer.echo(f"trained: {folder}")
        typer.echo(f"test it: snn-action evaluate {folder}")


@app.command()
def evaluate(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="[RUN...]", help="Run folders.")] = None,
    config: RunConfigFile = None,
    override: Overrides = None,
    device: Device = None,
    on: Annotated[
        Path | None,
        typer.Option(
            "--on", metavar="CONFIG|CSV", help="Test on other data: a configuration's test videos, or a table's."
        ),
    ] = None,
    fold: Annotated[str | None, typer.Option("--fold", help="With --on: whose weights; default: the first.")] = None,
) -> None:
    """Test trained runs on their test videos and write their reports.

    Without RUN: the newest run of the configuration. Overrides are put over each run's own configuration; they cannot
    change what was learned or what is tested.
    """
    from snn_action.runs import pipeline
    from snn_action.runs.folder import find_latest_run

    if runs and config is not None:
        raise ConfigError("evaluate: give run folders, or -c to test the newest run of a configuration, not both")
    if fold is not None and on is None:
        raise ConfigError("evaluate: --fold goes with --on; without it all folds of a run are tested")
    for folder in runs or [find_latest_run(load(config, override, device))]:
        if on is not None:
            from snn_action.runs.other_data import evaluate_on

            _show(evaluate_on(folder, on, put_device(override, device), fold=fold, progress=is_terminal()))
            continue
        _show(pipeline.evaluate(folder, put_device(override, device), progress=is_terminal()))


app.command()(predict.predict)


app.command()(packing.pack)


@app.command()
def report(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Of several runs: the page; default: comparison.html.")
    ] = None,
) -> None:
    """Rebuild the report of one run, or compare several in one table and page."""
    from snn_action.report import show_runs

    show_runs(runs, out)


app.command()(tuning.tune)
app.command()(energy.energy)
app.command()(coding.calibrate_coding)
app.command()(checks.check_videos)
app.command()(checks.check_split)


@app.command()
def init(
    target: Annotated[
        Path, typer.Argument(metavar="FOLDER|FILE", help="Where to; a FILE ends in .json.", show_default="here")
    ] = Path(),
    example: Annotated[str, typer.Option("--example", metavar="NAME", help="Which configuration.")] = examples.DEMO,
    show: Annotated[bool, typer.Option("--list", help="Name all configurations and write none.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write one of the configurations that come with the package, to be changed and run."""
    if show:
        names = examples.list_examples()
        for name in names:
            raw = json.loads(examples.find_example(name).read_text(encoding="utf-8"))
            typer.echo(f"{name:{max(map(len, names))}}  {examples.describe(raw)}")
        return
    path = examples.copy_example(example, target, overwrite=force)
    typer.echo(f"wrote {path}; run it: snn-action run -c {shlex.quote(str(path))}")


@app.command()
def schema() -> None:
    """Print the JSON schema of configuration files, for editors."""
    from snn_action.config import make_schema

    typer.echo(json.dumps(make_schema(), indent=2))


def main() -> NoReturn:
    """Run a command; a failure is one message, with exit code 2 for wrong usage and 1 for failed work."""
    for stream in (sys.stdout, sys.stderr):  # a name on a disk need not be text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("snn_action").setLevel(logging.INFO)
    if is_terminal():
        _hide_lines_beside_bars()
    words = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        app(words)
    except SystemExit as stopped:
        if stopped.code == INTERRUPTED and words[:1] != ["predict"]:
            typer.echo("finished epochs and shards are kept: see --resume", err=True)
        raise
    except Exception as error:
        if len(words) < len(sys.argv) - 1:
            raise
        sys.exit(_tell(error))
    sys.exit(0)


def _hide_lines_beside_bars() -> None:
    """A terminal shows bars; the lines that stand for them go to ``run.log`` alone."""

    def keep(record: logging.LogRecord) -> bool:
        return not getattr(record, "stands_for_bar", False)  # progress.LINE

    for handler in logging.getLogger().handlers:
        handler.addFilter(keep)


def _tell(error: BaseException) -> int:
    said = "\n".join(map(printable, str(error).split("\n")))  # names from data may hold what steers a terminal
    if isinstance(error, ConfigError | WorkError | OSError):
        typer.echo(f"error: {said}", err=True)
        return 2 if isinstance(error, ConfigError) else 1
    typer.echo(f"error: {type(error).__name__}: {said}\n(--debug shows where)", err=True)
    return 1


def _load_unless_resumed(
    resume: Path | None, config: Path | None, override: list[str] | None, device: str | None, run_id: str | None
) -> Any:
    """The configuration, before the heavy imports, so that what does not fit is said at once."""
    if resume is None:
        return load(config, override, device)
    if config or override or device or run_id:
        raise ConfigError("--resume continues a run with the run's own configuration: leave -c, -o, -d, --run-id out")
    return None


def _show(result: Any) -> None:
    if distributed.is_main():
        typer.echo(result.summary)


if __name__ == "__main__":
    main()
