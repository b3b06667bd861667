"""Frames as they come: whole, in order, in time; and what goes wrong with sources that may never answer."""

import itertools
import os
import socket
import threading
import time
from contextlib import contextmanager

import av
import numpy as np
import pytest

from snn_action.core.errors import ConfigError, VideoError
from snn_action.video import feeds, live
from snn_action.video.decode import read_frames
from snn_action.video.feeds import LiveSettings
from snn_action.video.live import LiveReader, number_frames
from snn_action.video.settings import LimitSettings
from snn_action.video.sources import Source, find_source
from tests.video.conftest import paint, write_frames, write_video

QUICK = LiveSettings(timeout=0.4)


def read(word, settings=QUICK, wanted=lambda _: True, stop=None):
    stop = stop or threading.Event()
    with LiveReader(
        find_source(str(word)) if isinstance(word, str) or hasattr(word, "parts") else word, settings
    ) as reader:
        assert reader.wait_open(stop)
        return reader, [frame for frame in reader.frames(wanted, stop) if frame is not None]


def test_a_file_frame_by_frame(tmp_path):
    path = write_video(tmp_path / "a.mp4", 100)
    reader, frames = read(path, wanted=lambda index: index % 3 == 0)
    assert reader.rate == 25
    assert [frame.index for frame in frames] == list(range(100))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(100) / 25, atol=1e-3)
    assert [frame.index for frame in frames if frame.image is not None] == list(range(0, 100, 3))
    np.testing.assert_array_equal(np.stack([frame.image for frame in frames[::3]]), read_frames(path, range(0, 100, 3)))


def test_a_rotated_file_stands_upright(tmp_path):
    _, frames = read(write_video(tmp_path / "a.mp4", 3, rotation=90))
    assert frames[0].image.shape == (64, 48, 3)


def test_a_folder_of_frames(tmp_path):
    reader, frames = read(write_frames(tmp_path / "frames"), LiveSettings(fps=10))
    assert (reader.rate, len(frames)) == (10, 5)
    assert frames[-1].time == pytest.approx(0.4)


def test_frames_of_another_size_are_scaled_to_the_first_ones(tmp_path):
    """Two MPEG transport streams, one after the other, are a stream whose size changes."""
    parts = []
    for number, (height, width) in enumerate(((48, 64), (96, 128))):
        images = [paint(index, height, width) for index in range(8)]
        parts.append(write_video(tmp_path / f"{number}.ts", codec="mpeg2video", images=images).read_bytes())
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    _, frames = read(path)
    assert len(frames) >= 12
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    times = [frame.time for frame in frames]
    assert all(a < b for a, b in itertools.pairwise(times))


def test_a_damaged_file_gives_what_was_before(tmp_path):
    path = write_video(tmp_path / "a.avi", 60, gop=1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    got = []
    stop = threading.Event()
    with LiveReader(find_source(str(path)), QUICK) as reader, pytest.raises(VideoError, match=r"after \d+ frames"):  # noqa: PT012
        reader.wait_open(stop)
        got += reader.frames(lambda _: True, stop)
    assert len(got) > 5


def test_what_is_not_there_and_what_is_no_video(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for word in (tmp_path / "gone.mp4", tmp_path / "text.mp4"):
        with pytest.raises(VideoError, match=word.name):
            read(word)


@contextmanager
def serve(*answers):
    """A server that sends each of ``answers`` and then says nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def answer():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                for part in answers:
                    connection.sendall(part)

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        for connection in held:
            connection.close()


def test_an_address_where_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(VideoError, match=rf"http://127.0.0.1:{port}/a: cannot be reached or read"):
        read(f"http://me:word@127.0.0.1:{port}/a")


def test_a_server_that_never_answers():
    with serve() as port, pytest.raises(VideoError, match=r"it did not answer within 0.4 s \(--timeout\)"):
        read(f"http://127.0.0.1:{port}/a")


@pytest.mark.parametrize("pause", [0.0, 3.0])
def test_a_stream_that_stalls(tmp_path, pause):
    """With a pause to look at a frame, FFmpeg's own clock ends it first, with an error that does not say why."""
    data = write_video(tmp_path / "a.ts", 200, codec="mpeg2video").read_bytes()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nContent-Length: 100000000\r\n\r\n"
    stop = threading.Event()
    with (
        serve(head, data) as port,
        LiveReader(Source("network", f"http://127.0.0.1:{port}/a.ts"), LiveSettings(timeout=1.5)) as reader,
    ):
        reader.wait_open(stop)
        frames = reader.frames(lambda _: True, stop)
        got = [next(frames) for _ in range(50)]
        time.sleep(pause)
        with pytest.raises(VideoError, match=r"no frame came within 1.5 s \(--timeout\)"):
            got.extend(frames)
    assert got[0].image.shape == (48, 64, 3)


def test_an_address_reads_no_file_of_this_machine(tmp_path):
    path = write_video(tmp_path / "a.ts", 20, codec="mpeg2video")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{path}\n#EXT-X-ENDLIST\n".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-mpegURL\r\nContent-Length: %d\r\n\r\n" % len(playlist)
    with serve(head + playlist) as port, pytest.raises(VideoError):
        read(f"http://127.0.0.1:{port}/a.m3u8", LiveSettings(timeout=2))


def test_a_device_that_this_ffmpeg_does_not_know(monkeypatch):
    monkeypatch.setattr(av, "formats_available", set())
    with pytest.raises(VideoError, match=r"built without v4l2; .* --frame-size"):
        read(Source("device", "/dev/video0", "v4l2"))


def test_a_generated_picture_is_a_device():
    reader, frames = read("lavfi:testsrc=size=64x48:rate=20:duration=0.5")
    assert (reader.rate, len(frames)) == (20, 10)


@pytest.fixture
def pipe(monkeypatch):
    """Standard input, and where to write into it."""
    reading, writing = os.pipe()

    class Stdin:
        @staticmethod
        def fileno():
            return reading

    monkeypatch.setattr(feeds.sys, "stdin", Stdin)
    yield writing
    os.close(reading)


RAW = LiveSettings(timeout=1.0, frame_size=(4, 2), fps=10)


def test_raw_frames(pipe):
    images = np.arange(3 * 2 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 3)
    os.write(pipe, images.tobytes())
    os.close(pipe)
    _, frames = read("-", RAW)
    np.testing.assert_array_equal(np.stack([frame.image for frame in frames]), images)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2])


def test_a_last_raw_frame_that_is_cut(pipe):
    os.write(pipe, bytes(24 + 5))
    os.close(pipe)
    got, stop = [], threading.Event()
    with LiveReader(find_source("-"), RAW) as reader, pytest.raises(VideoError, match="frame 1: 5 of 24 bytes"):  # noqa: PT012
        reader.wait_open(stop)
        got += reader.frames(lambda _: True, stop)
    assert len([frame for frame in got if frame]) == 1


def test_standard_input_that_sends_nothing(pipe):
    with pytest.raises(VideoError, match=r"no frame came within 0.2 s"):
        read("-", LiveSettings(timeout=0.2, frame_size=(4, 2)))
    os.close(pipe)


def test_standard_input_that_ends_at_once_or_has_no_size(pipe):
    os.close(pipe)
    with pytest.raises(VideoError, match="ended without a frame"):
        read("-", RAW)
    with pytest.raises(ConfigError, match="--frame-size"):
        read("-")
    with pytest.raises(VideoError, match="absurd size"):
        read("-", LiveSettings(frame_size=(100, 100), limits=LimitSettings(pixels=10)))


def test_stopping_ends_a_source_that_would_go_on(pipe):
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    begin = time.monotonic()
    _, frames = read("-", LiveSettings(timeout=60, frame_size=(4, 2)), stop=stop)
    assert frames == []
    assert time.monotonic() - begin < 5
    os.close(pipe)


def test_a_camera_that_is_too_quick_loses_frames_and_says_so(monkeypatch):
    count, asked = 3 * live._MOST, threading.Event()

    @contextmanager
    def open_camera(*_):
        def go():
            for index in range(count):
                yield index / 25, lambda: np.zeros((2, 4, 3), np.uint8)
                if index == 0:
                    asked.wait()

        yield 25.0, go()

    monkeypatch.setattr(live, "open_feed", open_camera)
    stop = threading.Event()
    with LiveReader(Source("device", "camera", "v4l2"), RAW) as reader:
        reader.wait_open(stop)
        frames = reader.frames(lambda _: False, stop)
        first = next(frames)
        asked.set()
        while not reader.dropped:
            time.sleep(0.01)
        rest = [frame for frame in frames if frame is not None]
    assert 1 + len(rest) + reader.dropped == count
    assert (first.index, rest[-1].index) == (0, count - 1)
    assert all(frame.image is not None for frame in rest)  # nobody knows which will be left


def test_a_pipe_waits_and_loses_nothing(pipe):
    os.write(pipe, bytes(24) * 1000)
    os.close(pipe)
    stop = threading.Event()
    with LiveReader(find_source("-"), RAW) as reader:
        reader.wait_open(stop)
        frames = reader.frames(lambda _: True, stop)
        next(frames)
        time.sleep(0.3)
        assert len([frame for frame in frames if frame is not None]) == 999


def test_a_live_source_says_when_nothing_waits(pipe):
    os.write(pipe, bytes(24))
    stop = threading.Event()
    with LiveReader(find_source("-"), RAW) as reader:
        reader.wait_open(stop)
        frames = reader.frames(lambda _: True, stop)
        assert next(frames).index == 0
        assert next(frames) is None
    os.close(pipe)


def test_frames_from_anywhere():
    frames = [*number_frames(iter([np.zeros((2, 4, 3), np.uint8)] * 3), 4.0)]
    assert [frame.time for frame in frames] == [0, 0.25, 0.5]
    with pytest.raises(ConfigError, match="frame 0 must be"):
        next(number_frames([np.zeros((2, 4), np.uint8)], None))


def test_the_length_that_a_file_says(tmp_path):
    assert feeds.find_duration(write_video(tmp_path / "a.mp4", 50), LimitSettings()) == pytest.approx(2, abs=0.1)
    assert feeds.find_duration(tmp_path / "gone.mp4", LimitSettings()) is None
