"""Live sources over RTSP, from a server of its own: does a stream lose frames, and how does it end?

    python benchmarks/robustness/cameras.py RUN [--server-python /usr/bin/python3] [--seconds 20]

A GStreamer RTSP server on this machine sends a test picture of 320 x 240 at 25 frames a second, and
``snn-action predict RUN rtsp://...`` watches it: with H.264 and with Motion JPEG, until its end or until Ctrl-C; an
address that is not there; a server that stops sending, and one that is killed. The server needs a Python with ``gi``,
on Debian: ``apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly``.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import make_table, write_section

ADDRESS = "rtsp://127.0.0.1:8554"
TIMEOUT = 4.0
SERVER = """
import gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1"); server.set_service("8554")
h264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96"
mjpeg = "jpegenc ! rtpjpegpay name=pay0 pt=26"
for path, frames, end in (("h264", -1, h264), ("mjpeg", -1, mjpeg), ("ends", 100, h264)):
    factory = GstRtspServer.RTSPMediaFactory()
    picture = "video/x-raw,format=I420,width=320,height=240,framerate=25/1"
    factory.set_launch(f"( videotestsrc is-live=true pattern=ball num-buffers={frames} ! {picture} ! {end} )")
    server.get_mount_points().add_factory("/" + path, factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


def start_server(python: str) -> "subprocess.Popen[str]":
    """The server, once it listens."""
    server = subprocess.Popen([python, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    if server.stdout.readline().strip() != "ready":
        sys.exit(f"{python} cannot run the server: see this script's first lines for what it needs")
    return server


def watch(run: Path, path: str, act: Callable[["subprocess.Popen[str]"], None], seconds: float) -> list[str]:
    """One stream: frames that came, thrown away, looked at, rate, latency, exit code and what was said."""
    command = [sys.executable, "-m", "snn_action", "predict", str(run), f"{ADDRESS}/{path}", "--json"]
    command += ["--timeout", str(TIMEOUT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    begin: float | None = None
    for line in process.stdout:
        lines.append(json.loads(line))
        begin = begin or time.monotonic()
        if time.monotonic() - begin > seconds:
            act(process)
            begin = float("inf")
    said = process.communicate()[1].strip().splitlines()
    summary = next((line for line in lines if line["type"] == "summary"), {})
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error")]
    return [
        *(str(summary.get(key, 0)) for key in ("frames", "dropped", "steps", "frames_per_second")),
        f"{1000 * summary.get('latency_median', 0):.0f} ({1000 * summary.get('latency_95', 0):.0f})",
        str(process.returncode),
        (errors or ["-"])[-1].replace(f"{ADDRESS}/", ""),
    ]


def main() -> None:
    """Watch each source, write the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--server-python", default="/usr/bin/python3")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    server = start_server(given.server_python)

    def stop(process: "subprocess.Popen[str]") -> None:
        process.send_signal(signal.SIGINT)

    def freeze(_: "subprocess.Popen[str]") -> None:
        server.send_signal(signal.SIGSTOP)

    def kill(_: "subprocess.Popen[str]") -> None:
        server.kill()

    cases = (
        ("H.264, Ctrl-C", "h264", stop),
        ("Motion JPEG, Ctrl-C", "mjpeg", stop),
        ("H.264, ends after 100 frames", "ends", stop),
        ("no such address", "nothing", stop),
        ("the server stops sending", "h264", freeze),
        ("the server is killed", "h264", kill),
    )
    rows = []
    try:
        for label, path, act in cases:
            rows.append([label, *watch(given.run, path, act, given.seconds)])
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
            server.send_signal(signal.SIGCONT)
    finally:
        server.kill()
    write_section(
        "Network cameras",
        "A GStreamer RTSP server on the same machine sends 320 x 240 pixels, 25 frames a second; `predict` watches "
        f"with `--timeout {TIMEOUT:g}`, for {given.seconds:g} s where nothing ends it. Latency: median (95 %) from a "
        "frame's arrival to its evidence. A server that is killed closes the connection, which looks the same as the "
        "end of the stream.",
        make_table(
            ("source", "frames", "thrown away", "looked at", "frames/s", "latency, ms", "exit code", "error"), rows
        ),
    )


if __name__ == "__main__":
    main()
