"""The command ``predict``: videos, and streams that may have no end."""

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snn_action.cli.options import INTERRUPTED, Device, Overrides, put_device
from snn_action.cli.telling import Teller, make_drawing
from snn_action.core.errors import ConfigError, WorkError, printable

if TYPE_CHECKING:
    from snn_action.evaluation.segments import Segment
    from snn_action.runs.prediction import LoadedRun
    from snn_action.video.sources import Source

LONG = 4  # times what a training clip spanned: a longer video is worth a hint


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a trained recognizer, or a packed model.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Videos, folders of videos or frames, patterns, addresses, cameras; - reads raw RGB frames.",
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs; of streams one object a line, as they come.")
    ] = False,
    over_time: Annotated[bool, typer.Option("--over-time", help="Also print the course over time.")] = False,
    early_stop: Annotated[
        bool, typer.Option("--early-stop", help="Look no further at a clip once the model is sure; calibrated runs.")
    ] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to print.")] = 5,
    fold: Annotated[str | None, typer.Option("--fold", help="Which fold's model; default: the first.")] = None,
    override: Overrides = None,
    device: Device = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read from begin to end and say what happens when; live sources always.")
    ] = False,
    segments: Annotated[
        Path | None, typer.Option("--segments", metavar="FILE", help="Also write segments: .vtt, .csv or .json.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option("--overlay", metavar="FILE", help="Also write the video with what is said of it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace these files where they are there.")] = False,
    every: Annotated[
        int | None, typer.Option("--every", min=1, help="Take every N-th frame; default: as in training.")
    ] = None,
    cost: Annotated[
        float | None, typer.Option("--cost", min=0.0, help="More makes fewer segments; see docs/how-to/live.md.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds without a frame until it ends.")] = 10.0,
    frame_size: Annotated[str | None, typer.Option("--frame-size", metavar="WxH", help="Of raw frames on -.")] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", min=0.001, max=1000.0, help="Of raw frames and of folders of frames.")
    ] = None,
) -> None:
    """Name the action in videos, with probabilities, or say what happens when in streams."""
    from snn_action.video.sources import find_sources

    size = _read_size(frame_size)
    found = find_sources(sources)
    streams = (
        stream
        or any(given is not None for given in (segments, overlay, every, cost))
        or any(source.is_live for source in found)
    )
    if not streams:
        from snn_action.runs.prediction import load_run

        recognizer = load_run(run, fold=fold, overrides=put_device(override, device))
        _predict_videos(recognizer, found, as_json, over_time, top, early_stop)
        return
    if early_stop:
        raise ConfigError("--early-stop is of clips; a stream is read to its end")
    _check_outputs(found, segments, overlay, force)
    if over_time:
        raise ConfigError("--over-time is of clips; a stream is told over time in any case (--json prints each step)")
    from snn_action.runs.prediction import load_run
    from snn_action.runs.streaming import StreamSettings
    from snn_action.video.feeds import LiveSettings

    recognizer = load_run(run, fold=fold, overrides=put_device(override, device))
    live = LiveSettings(timeout, size, fps, recognizer.config.features.limits)
    settings = StreamSettings(every, cost, overlay is not None, live)
    teller = Teller(as_json, top, several=len(_group(found)) > 1)
    with _stop_on_interrupt() as stop:

        def tell(source: "Source") -> list["Segment"]:
            return _tell_stream(recognizer, source, settings, stop, teller, overlay)

        told = _do_each(found, tell, stop)
    if segments is not None:
        from snn_action.report.segment_files import write_segments

        write_segments(segments, {source.label: kept for source, kept in zip(found, told, strict=True)})
    if stop.is_set():
        raise typer.Exit(INTERRUPTED)
    if teller.failed:
        raise typer.Exit(1)


def _predict_videos(
    recognizer: "LoadedRun", found: Sequence["Source"], as_json: bool, over_time: bool, top: int, early_stop: bool
) -> None:
    failed: list[str] = []
    results: list[dict[str, Any]] = []
    names = [source.name for source in found]
    for name, prediction in zip(names, recognizer.predict_each(names, early_stop), strict=True):
        if isinstance(prediction, WorkError):
            failed.append(printable(name))
            typer.echo(f"error: {printable(str(prediction))}", err=True)
            results.append({"video": name, "error": str(prediction)})
            continue
        if as_json:
            results.append(prediction.to_dict(top, over_time))
        else:
            typer.echo(prediction.to_text(top, over_time))
        _hint(name, recognizer)
    if as_json:
        typer.echo(json.dumps(results, indent=2))
    if failed:
        typer.echo(f"error: {len(failed)} of {len(found)} videos: no answer for {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def _hint(name: str, recognizer: "LoadedRun") -> None:
    """Say in one line that there is ``--stream``, where a video is much longer than training clips were."""
    from snn_action.video.feeds import find_duration

    timing = recognizer.timing
    seconds = find_duration(Path(name), recognizer.config.features.limits)
    if timing is None or timing.seconds is None or seconds is None:
        return
    spanned = timing.seconds * recognizer.config.clip.frames
    if seconds > LONG * spanned:
        typer.echo(
            f"{printable(name)}: {seconds:.0f} s long, where a training clip spans {spanned:.1f} s: --stream says what "
            "happens when",
            err=True,
        )


def _tell_stream(
    recognizer: "LoadedRun",
    source: "Source",
    settings: Any,
    stop: threading.Event,
    teller: "Teller",
    overlay: Path | None,
) -> list["Segment"]:
    """Tell one stream to its end; the segments that were found."""
    from snn_action.evaluation.segments import Segment

    drawn = None if overlay is None else make_drawing(overlay, recognizer, teller)
    stream = recognizer.stream(source, settings, stop, drawn.add_frame if drawn else None)
    found: list[Segment] = []
    teller.begin(stream)
    try:
        for result in stream:
            if isinstance(result, Segment):
                found.append(result)
                teller.tell_segment(stream, result)
                continue
            teller.tell_moment(stream, result)
            if drawn is not None:
                drawn.add_step(stream, result)
    except WorkError as error:
        teller.tell_error(stream, error)
    if drawn is not None:
        drawn.finish(stream)
    teller.end(stream)
    return found


def _do_each(
    found: Sequence["Source"], tell: Callable[["Source"], list["Segment"]], stop: threading.Event
) -> list[list["Segment"]]:
    """Files one after another, and each live source beside them."""
    told: dict[int, list[Segment]] = {}

    def do(group: Sequence["Source"]) -> None:
        for source in group:
            if not stop.is_set():
                told[id(source)] = tell(source)

    groups = _group(found)
    if len(groups) == 1:
        do(groups[0])
    else:
        with ThreadPoolExecutor(len(groups)) as pool:
            try:
                for done in [pool.submit(do, group) for group in groups]:
                    done.result()
            except BaseException:
                stop.set()  # the others end with what they have
                raise
    return [told.get(id(source), []) for source in found]


def _group(found: Sequence["Source"]) -> list[list["Source"]]:
    """What is told at once: all files, one after another, and each live source."""
    files = [source for source in found if not source.is_live]
    return [group for group in (files, *([source] for source in found if source.is_live)) if group]


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that streams end with what they have; a second one interrupts."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def interrupt(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _check_outputs(found: Sequence["Source"], segments: Path | None, overlay: Path | None, force: bool) -> None:
    from snn_action.report.overlay import check_output, check_overlay_file
    from snn_action.report.segment_files import check_segment_file

    if segments is not None:
        check_segment_file(segments, len(found))
        check_output(segments, "--segments", force=force)
    if overlay is not None:
        check_overlay_file(overlay, len(found), force=force)
        for source in found:
            if source.kind == "file" and overlay.exists() and overlay.samefile(source.name):
                raise ConfigError(f"--overlay {overlay}: is the video itself")


def _read_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, by, height = text.lower().partition("x")
    if not by or not all(re.fullmatch(r"0*[1-9][0-9]{0,8}", side) for side in (width, height)):
        raise ConfigError(f"--frame-size {text[:40]}: give width and height in pixels, such as 640x480")
    return int(width), int(height)
