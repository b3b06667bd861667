"""Files that are whole, though not every packet gives a frame: held against FFmpeg's program or PyAV's plain loop."""

import itertools
import shutil
import struct
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest

from snn_action.datasets.check import check_video
from snn_action.video.bitstream import frame_counter
from snn_action.video.decode import count_frames, open_video, read_frames
from snn_action.video.settings import LimitSettings

LIMITS = LimitSettings()
FFMPEG = shutil.which("ffmpeg")
ONE = 0x10000


def decode_all(path):
    """PyAV's own loop; errors before the first key frame are passed over, as FFmpeg's program does."""
    frames, begun = [], False
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            begun |= packet.is_keyframe
            try:
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.FFmpegError:
                assert not begun
    return frames


def rewrite(source, path, change, format=None):
    """Copy packets; ``change`` gives for each its number and bytes the list of what stands in its place."""
    with av.open(str(source)) as given, av.open(str(path), "w", format=format) as output:
        stream = given.streams.video[0]
        copied = output.add_stream_from_template(stream)
        time = 0
        for number, packet in enumerate(packet for packet in given.demux(stream) if packet.size):
            for data in change(number, bytes(packet)):
                new = av.Packet(data)
                new.is_keyframe, new.stream, new.time_base = packet.is_keyframe, copied, Fraction(1, 25)
                new.pts = new.dts = time
                time += 1
                output.mux(new)
    return path


def assert_whole(path, expected=None):
    frames = decode_all(path) if expected is None else expected
    found = check_video(path, LIMITS)
    assert found.problems == ()
    assert found.frames == count_frames(path) == len(frames)
    for indices in (range(len(frames)), [len(frames) - 1], [0, len(frames) // 2]):
        np.testing.assert_array_equal(read_frames(path, list(indices)), np.stack([frames[i] for i in indices]))
    return found


def test_placeholders_of_one_byte_give_no_frame_and_only_a_warning(tmp_path, videos):
    plain = videos.write(tmp_path / "plain.avi", 20)
    with av.open(str(plain)) as container:
        header = bytes(container.streams.video[0].codec_context.extradata) + b"\x00\x00\x01\xb2XviD0046"

    def put(number, data):
        return [header + data] if number == 0 else [data, b"\x7f"] if number in (3, 4, 9) else [data]

    path = rewrite(plain, tmp_path / "a.avi", put)
    found = assert_whole(path)
    assert "23 frames are declared, 20 are there" in str([w.text for w in found.warnings if w.kind == "frame count"])


def test_packed_b_frames(tmp_path, videos):
    """Two pictures in one packet, and then one that is not coded, as DivX packed them."""
    plain = videos.write(tmp_path / "plain.avi", 21, b_frames=1, gop=30)
    with av.open(str(plain)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        header = bytes(container.streams.video[0].codec_context.extradata)

    def pack(number, data):
        if number == 0:
            return [header + b"\x00\x00\x01\xb2DivX503b1393p" + data]
        if number + 1 < len(packets) and packets[number + 1][4] >> 6 == 2:
            return [data + packets[number + 1]]
        return [b"\x00\x00\x01\xb6" + bytes([data[4] & 0x3F | 0x40]) + b"\xcf\x7f"] if data[4] >> 6 == 2 else [data]

    assert_whole(rewrite(plain, tmp_path / "packed.avi", pack))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.avi", {"b_frames": 2}),
        ("a.mkv", {"codec": "libx264", "b_frames": 3}),
        ("a.ts", {"codec": "libx264", "b_frames": 3}),
        ("b.mkv", {"codec": "mpeg2video", "b_frames": 2}),
        ("a.webm", {"codec": "libvpx-vp9", "options": {"lag-in-frames": "16", "cpu-used": "8"}}),
    ],
)
@pytest.mark.parametrize("lost", [range(5), [7]], ids=["no key frame", "hole"])
def test_a_stream_without_some_of_its_packets_has_the_frames_that_decode(tmp_path, videos, name, options, lost):
    whole = videos.write(tmp_path / f"whole_{name}", 40, gop=12, **options)
    with av.open(str(whole)) as given, av.open(str(tmp_path / name), "w") as output:
        copied = output.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.size and number not in lost:
                packet.stream = copied
                output.mux(packet)
    assert_whole(tmp_path / name)


# VP9: marker 10, profile 00, then "show existing", "inter" and "show"; AV1: a delimiter, then frames
HIDDEN, SHOWN, EXISTING = b"\x84" * 5, b"\x86" * 7, b"\x88"
DELIMITER, AV1_HIDDEN, AV1_SHOWN, AV1_EXISTING = b"\x12\x00", b"\x32\x02\x00\x00", b"\x32\x02\x10\x00", b"\x1a\x01\x80"


def superframe(*frames):
    index = bytes([0xC0 | len(frames) - 1, *map(len, frames), 0xC0 | len(frames) - 1])
    return b"".join(frames) + index


@pytest.mark.parametrize(
    ("codec", "packet", "frames"),
    [
        ("vp9", HIDDEN, 0),
        ("vp9", SHOWN, 1),
        ("vp9", EXISTING, 1),
        ("vp9", superframe(HIDDEN, SHOWN), 1),
        ("vp9", superframe(HIDDEN, HIDDEN), 0),
        ("vp9", superframe(SHOWN, SHOWN), None),
        ("libdav1d", DELIMITER + AV1_SHOWN, 1),
        ("libdav1d", DELIMITER + AV1_HIDDEN, 0),
        ("libdav1d", DELIMITER + AV1_HIDDEN + AV1_HIDDEN + AV1_SHOWN, 1),
        ("libdav1d", DELIMITER + AV1_EXISTING, 1),
        ("libdav1d", DELIMITER + AV1_SHOWN + AV1_SHOWN, None),
        ("mpeg4", b"\x7f", None),
        ("mjpeg", b"", None),
    ],
)
def test_hidden_and_shown_frames(codec, packet, frames):
    assert frame_counter(codec, codec == "mjpeg", None)(packet) == frames


CODECS = {
    "libx264": {"b_frames": 3},
    "libx265": {"b_frames": 3, "options": {"x265-params": "log-level=none:pools=none:frame-threads=1"}},
    "mpeg4": {"b_frames": 2},
    "mpeg2video": {"b_frames": 2},
    "mpeg1video": {"b_frames": 2},
    "libvpx": {"options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "libvpx-vp9": {"options": {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}},
    "mjpeg": {"pix_fmt": "yuvj420p"},
    "ffv1": {},
}


@pytest.mark.parametrize("codec", CODECS)
def test_packets_of_whole_streams_surely_tell_their_frames(tmp_path, videos, codec):
    path = videos.write(tmp_path / "a.mkv", 40, codec, gop=12, **CODECS[codec])
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        count = frame_counter(context.name, context.codec.intra_only, context.extradata)
        told = [count(bytes(packet)) for packet in container.demux(video=0) if packet.size]
    assert None not in told
    assert sum(told) == 40
    if codec != "mpeg1video":  # Matroska's times of it do not increase in the order of decoding
        assert not open_video(path).timeline.counted


def test_nothing_is_sure_of_interlaced_streams_and_of_codecs_that_are_not_known(tmp_path, videos):
    options = {"x264-params": "tff=1:log-level=none"}
    for name, codec, more in (("i.mp4", "libx264", {"options": options}), ("f.flv", "flv", {})):
        path = videos.write(tmp_path / name, 10, codec, **more)
        assert open_video(path).timeline.counted
        assert count_frames(path) == 10


def test_garbage_is_never_surely_anything_nor_a_crash():
    rng = np.random.default_rng(0)
    for codec, length in itertools.product(
        ("h264", "hevc", "mpeg4", "mpeg2video", "vp8", "vp9", "av1", "?"), range(40)
    ):
        for extradata in (None, b"", rng.bytes(length), b"\x01" + rng.bytes(length)):
            counter = frame_counter(codec, False, extradata)
            assert all(counter(rng.bytes(length)) in (None, 0, 1) for _ in range(10))


ORIENTATIONS = {
    (ONE, 0, 0, ONE): lambda image: image,
    (-ONE, 0, 0, ONE): lambda image: image[:, ::-1],
    (ONE, 0, 0, -ONE): lambda image: image[::-1],
    (-ONE, 0, 0, -ONE): lambda image: image[::-1, ::-1],
    (0, ONE, ONE, 0): lambda image: image.swapaxes(0, 1),
    (0, ONE, -ONE, 0): lambda image: np.rot90(image, -1),
    (0, -ONE, ONE, 0): lambda image: np.rot90(image),
    (0, -ONE, -ONE, 0): lambda image: np.rot90(image, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_all_eight_orientations(tmp_path, videos, matrix):
    plain = videos.write(tmp_path / "plain.mp4", 2, "ffv1", pix_fmt="bgr0")
    data = plain.read_bytes()
    a, b, c, d = matrix
    place = data.index(b"tkhd") + 4 + 40  # version, flags, times, ids, layers: then the matrix
    packed = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path = tmp_path / "a.mp4"
    path.write_bytes(data[:place] + packed + data[place + 36 :])
    expected = ORIENTATIONS[matrix](videos.paint(1))
    np.testing.assert_array_equal(read_frames(path, [1])[0], expected)
    found = check_video(path, LIMITS)
    assert (found.height, found.width, found.problems, found.warnings) == (*expected.shape[:2], (), ())
    if FFMPEG:
        command = [FFMPEG, "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        shown = subprocess.run(command, capture_output=True, check=True).stdout
        np.testing.assert_array_equal(np.frombuffer(shown, np.uint8).reshape(2, *expected.shape)[1], expected)


@pytest.mark.parametrize("jump", [40_000, -40_000, -0.2])
def test_a_jump_of_a_transport_streams_clock_is_no_length_and_changes_no_order(tmp_path, videos, jump):
    whole = videos.write(tmp_path / "whole.ts", 50, "libx264", gop=10)
    path = tmp_path / "a.ts"
    with av.open(str(whole)) as given, av.open(str(path), "w", format="mpegts") as output:
        stream = given.streams.video[0]
        copied = output.add_stream_from_template(stream)
        parts = [[], []]
        for number, packet in enumerate(packet for packet in given.demux(stream) if packet.size):
            parts[number >= 25].append(packet)
        start = 50_000 * 90_000
        for packet in parts[0]:
            packet.pts, packet.dts, packet.stream = packet.pts + start, packet.dts + start, copied
            output.mux(packet)
    second = tmp_path / "second.ts"
    with av.open(str(second), "w", format="mpegts") as output:
        copied = output.add_stream("libx264", rate=25)
        copied.height, copied.width, copied.pix_fmt = 48, 64, "yuv420p"
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(videos.paint(index + 25), "rgb24")
            frame.pts = int(index + (50_000 + 1 + jump) * 25)
            output.mux(copied.encode(frame))
        output.mux(copied.encode(None))
    path.write_bytes(path.read_bytes() + second.read_bytes())
    found = assert_whole(path)
    assert found.seconds is None or found.seconds < 5


@pytest.mark.parametrize(("defaults", "taken"), [((0, 0), 1), ((1, 1), 1), ((1, 0), 0)])
def test_of_several_streams_the_one_is_read_that_ffmpeg_takes(tmp_path, videos, defaults, taken):
    sizes = [(48, 64), (96, 128)]
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as output:
        streams = []
        for (height, width), default in zip(sizes, defaults, strict=True):
            stream = output.add_stream("mpeg4", rate=25)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
            streams.append(stream)
        for index, ((height, width), stream) in itertools.product(range(5), zip(sizes, streams, strict=True)):
            frame = av.VideoFrame.from_ndarray(videos.paint(index, height, width), "rgb24")
            frame.pts = index
            output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    assert read_frames(path, [0]).shape == (1, *sizes[taken], 3)
    if FFMPEG:
        command = [FFMPEG, "-v", "error", "-i", path, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        shown = subprocess.run(command, capture_output=True, check=True).stdout
        assert len(shown) == sizes[taken][0] * sizes[taken][1] * 3


def test_colors_of_a_video_that_is_marked_as_interlaced_are_its_own(tmp_path, videos):
    rows, columns = np.mgrid[:48, :64]
    image = np.stack([np.where(rows // 4 % 2, 200, 40), 60 + 2 * columns, 90 + 0 * rows], -1).astype(np.uint8)
    found = {}
    for mark in ("tff=1", "fake-interlaced=0"):
        options = {"x264-params": f"{mark}:log-level=none", "crf": "1"}
        path = videos.write(tmp_path / "a.mkv", codec="libx264", images=[image] * 3, options=options)
        found[mark] = abs(read_frames(path, [1])[0].astype(int) - image).mean()
    assert found["tff=1"] <= found["fake-interlaced=0"] + 1
