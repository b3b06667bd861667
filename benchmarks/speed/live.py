"""Time, memory and latency of a stream: a video of ten minutes, beside decoding and the backbone alone.

    python benchmarks/speed/live.py RUN VIDEO [VIDEO ...] [--minutes 10] [-o key=value ...]

RUN is a trained run. The VIDEOs are joined, again and again, into one of the asked length. The bare work and the whole
stream read the same file in turns of a few seconds, so that what slows the machine slows both: the same frames, decoded
in the same way and put through the backbone in the same small batches; the whole adds the temporal model, evidence and
segments. Another process then runs the command on the file, and its memory is read every second.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av

from benchmarks.lib.table import make_table, write_section
from snn_action.core.malloc import keep_freed_memory
from snn_action.features.streaming import Views, embed_stream
from snn_action.runs.prediction import LoadedRun, load_run
from snn_action.runs.streaming import Moment, choose_batch
from snn_action.video.decode import count_frames, read_frames
from snn_action.video.live import LiveReader
from snn_action.video.sources import find_source

TURN = 140  # steps
RATE = 25


def write_long(videos: Sequence[Path], minutes: float, target: Path) -> None:
    """The videos one after another, again and again, as MPEG-4."""
    left = round(60 * minutes * RATE)
    with av.open(target, "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(RATE))
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = read_frames(videos[0], [0]).shape[1:3]
        for path in itertools.cycle(videos):
            frames = read_frames(path, range(count_frames(path)))[:left]
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            left -= len(frames)
            if not left:
                break
        container.mux(stream.encode(None))


def go_bare(run: LoadedRun, path: Path) -> Iterator[None]:
    """A step at a time of decoding, images and backbone."""
    stop = threading.Event()
    with LiveReader(find_source(str(path))) as reader:
        reader.wait_open(stop)
        every = run.timing.choose_every(reader.rate) if run.timing else 1
        views = Views(run.config.clip.streams, run.config.clip.difference_span, every)
        frames = reader.frames(views.wants, stop)
        batch = choose_batch(run.config.clip.frames)
        for part in embed_stream(frames, views, run.config, run.backbone, run.device, batch):
            yield from itertools.repeat(None, len(part.frames))


def go_whole(run: LoadedRun, path: Path) -> Iterator[None]:
    """A step at a time of the stream."""
    for result in run.stream(path):
        if isinstance(result, Moment):
            yield None


def measure_turns(run: LoadedRun, path: Path) -> dict[str, tuple[float, float]]:
    """Seconds by the clock and of the processor, of both."""
    works = {"bare": go_bare(run, path), "whole": go_whole(run, path)}
    spent = {name: [0.0, 0.0] for name in works}
    with keep_freed_memory():
        for turn in itertools.count():
            for name in sorted(works, reverse=bool(turn % 2)):
                clock, processor = time.perf_counter(), time.process_time()
                done = sum(1 for _ in itertools.islice(works[name], TURN))
                if turn:  # the first warms up
                    spent[name][0] += time.perf_counter() - clock
                    spent[name][1] += time.process_time() - processor
            if done < TURN:
                return {name: (clock, processor) for name, (clock, processor) in spent.items()}
    raise AssertionError


def measure_memory(run: Path, path: Path, overrides: Sequence[str]) -> tuple[list[float], dict[str, float]]:
    """Resident MiB of the command at each second, and its summary."""
    words = [sys.executable, "-m", "snn_action", "predict", str(run), str(path), "--stream", "--json"]
    words += [part for override in overrides for part in ("-o", override)]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(words, stdout=out, env=dict(os.environ))
        resident = []
        while process.poll() is None:
            resident.append(_read_resident(process.pid))
            time.sleep(1)
        out.seek(0)
        lines = out.read().splitlines()
    return [value for value in resident if value], json.loads(lines[-1])


def _read_resident(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        write_long(arguments.videos, arguments.minutes, path)
        resident, summary = measure_memory(arguments.run, path, arguments.override)
        run = load_run(arguments.run, overrides=arguments.override)
        spent = measure_turns(run, path)
    (bare_clock, bare), (whole_clock, whole) = spent["bare"], spent["whole"]
    quarters = [resident[min(len(resident) - 1, len(resident) * part // 4)] for part in (1, 2, 3, 4)]
    rows = [
        ("decoding and backbone, processor seconds", f"{bare:.0f}"),
        ("whole stream, processor seconds", f"{whole:.0f} ({whole / bare:.2f} times)"),
        ("the same by the clock", f"{bare_clock:.0f} and {whole_clock:.0f} ({whole_clock / bare_clock:.2f} times)"),
        ("memory, MiB: after a quarter, half, three quarters, at the end", ", ".join(f"{x:.0f}" for x in quarters)),
        ("most memory, MiB", f"{max(resident):.0f}"),
        ("frames per second of the command", f"{summary['frames_per_second']:.1f}"),
        ("latency, ms: median, 95 %", f"{1000 * summary['latency_median']:.0f}, {1000 * summary['latency_95']:.0f}"),
    ]
    config = run.config
    text = (
        f"A video of {arguments.minutes:g} minutes (180 x 144, 25 frames per second; {summary['frames']} frames, "
        f"{summary['steps']} of them looked at), read as a stream by a {config.model.type} on {config.backbone.name}, "
        f"streams {' and '.join(config.clip.streams)}. Bare and whole work are timed in turns on the same frames and "
        "batches, the first turn of each left out. Memory is that of the command, read every second."
    )
    write_section("Speed and memory of a stream", text, make_table(("what", "measured"), rows))


if __name__ == "__main__":
    main()
