import itertools
import random
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from snn_action.core.errors import WorkError
from snn_action.video import decode
from snn_action.video.decode import DECODER_VERSION, count_frames, open_video, read_frames

X264_OPEN = {"x264-params": "open-gop=1:keyint=12:scenecut=0:log-level=none"}
X265_OPEN = {"x265-params": "open-gop=1:keyint=12:scenecut=0:log-level=none:pools=none:frame-threads=1"}
X264_REFRESH = {"x264-params": "intra-refresh=1:keyint=12:scenecut=0"}

FORMATS = {
    "mpeg4.avi": {},
    "mpeg4_b.avi": {"b_frames": 2},  # AVI stores no times: counted
    "dropped.avi": {"skip": {5, 6, 30}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "closed.mp4": {"codec": "libx264", "b_frames": 3, "gop": 12},
    "open.mp4": {"codec": "libx264", "b_frames": 3, "options": X264_OPEN},
    "open.mkv": {"codec": "libx264", "b_frames": 3, "options": X264_OPEN},
    "h264.avi": {"codec": "libx264", "b_frames": 2, "gop": 12},
    "h264.ts": {"codec": "libx264", "b_frames": 2, "gop": 12},
    "refresh.mkv": {"codec": "libx264", "options": X264_REFRESH, "gop": 12},  # key frames that do not stand alone
    "hevc.mkv": {"codec": "libx265", "b_frames": 3, "options": X265_OPEN},
    "mpeg2.ts": {"codec": "mpeg2video", "b_frames": 2, "gop": 12},
    "vp8.webm": {"codec": "libvpx", "gop": 20, "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp9.webm": {"codec": "libvpx-vp9", "gop": 20, "options": {"lag-in-frames": "16", "cpu-used": "8"}},
    "fragmented.mp4": {"codec": "libx264", "gop": 12, "container": {"movflags": "frag_keyframe+empty_moov"}},
}


def decode_all(path):
    """The independent reference: PyAV's own loop over all frames."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def assert_reads_as_decoded_in_full(path, trials=8):
    expected = decode_all(path)
    assert count_frames(path) == len(expected)
    draw = random.Random(0)
    choices = [[len(expected) - 1], [0, len(expected) - 1], [len(expected) // 2]]
    choices += [draw.sample(range(len(expected)), draw.choice((1, 2, 5))) for _ in range(trials)]
    for indices in choices:
        np.testing.assert_array_equal(read_frames(path, indices), np.stack([expected[i] for i in indices]))


@pytest.mark.parametrize("name", FORMATS)
def test_any_frames_of_any_container_are_those_of_a_full_decode(tmp_path, videos, name):
    path = videos.write(tmp_path / name, 40, **FORMATS[name])
    assert_reads_as_decoded_in_full(path)
    if not FORMATS[name].get("skip"):
        assert count_frames(path) == 40


@pytest.mark.parametrize("name", ["open.mkv", "hevc.mkv", "mpeg2.ts"])
def test_a_stream_cut_in_an_open_group_does_not_count_frames_that_decoders_drop(tmp_path, videos, name):
    whole = videos.write(tmp_path / name, 40, **FORMATS[name])
    assert_reads_as_decoded_in_full(videos.copy_packets(whole, tmp_path / f"tail_{name}", from_key=1))


@pytest.mark.parametrize("left_out", [5, 20])
def test_frames_that_an_edit_list_leaves_out_are_not_counted_nor_taken_for_a_truncation(tmp_path, videos, left_out):
    whole = videos.write(tmp_path / "whole.mp4", 40, **FORMATS["closed.mp4"])
    trimmed = videos.copy_packets(whole, tmp_path / "trimmed.mp4", shift=512 * left_out)
    assert count_frames(trimmed) == 40 - left_out
    assert_reads_as_decoded_in_full(trimmed)


def test_frames_are_the_painted_ones_in_the_order_asked_and_may_repeat(tmp_path, videos):
    path = videos.write(tmp_path / "a.avi", 30)
    frames = read_frames(path, [20, 3, 3, 29])
    assert frames.shape == (4, 48, 64, 3)
    assert frames.dtype == np.uint8
    for frame, index in zip(frames, [20, 3, 3, 29], strict=True):
        assert abs(np.median(frame) - np.median(videos.paint(index))) <= 1


def count_packets(monkeypatch, lose=None):
    """How many packets reach a decoder and how many frames become RGB; the decoder may lose a packet's frame."""
    counts = {"decoded": 0, "rgb": 0}
    to_rgb = decode.to_rgb

    def convert(frame, converter):
        counts["rgb"] += 1
        return to_rgb(frame, converter)

    class Packet:
        def __init__(self, number, packet):
            self.number, self.packet = number, packet

        def __getattr__(self, name):
            return getattr(self.packet, name)

        def decode(self):
            counts["decoded"] += 1
            frames = self.packet.decode()
            return [] if self.number == lose else frames

    class Container:
        def __init__(self, container):
            self.container = container

        def demux(self, stream):
            return map(Packet, itertools.count(), self.container.demux(stream))

        def __getattr__(self, name):
            return getattr(self.container, name)

    original = decode.open_stream

    @contextmanager
    def opened(path, limits):
        with original(path, limits) as (container, stream):
            yield Container(container), stream

    monkeypatch.setattr(decode, "to_rgb", convert)
    monkeypatch.setattr(decode, "open_stream", opened)
    return counts


@pytest.mark.parametrize("indices", [[0, 1, 2], [155], [3, 152, 155]])
def test_only_what_is_needed_is_decoded(tmp_path, videos, monkeypatch, indices):
    path = videos.write(tmp_path / "a.mp4", 200, gop=10)
    with av.open(str(path)) as container:
        keys = [k for k, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    needed = {k for index in indices for k in range(max(key for key in keys if key <= index), index + 1)}
    counts = count_packets(monkeypatch)
    list(open_video(path).read(indices))
    assert counts == {"decoded": len(needed), "rgb": len(indices)}


def test_where_times_are_missing_decoding_still_stops_after_the_last_needed_frame(tmp_path, videos, monkeypatch):
    path = videos.write(tmp_path / "a.avi", 100, b_frames=2)
    assert open_video(path).timeline.times is None
    counts = count_packets(monkeypatch)
    list(open_video(path).read([5]))
    assert counts["rgb"] == 1
    assert counts["decoded"] <= 10


def test_indices_that_a_video_does_not_have(tmp_path, videos):
    path = videos.write(tmp_path / "a.avi", 5)
    for indices in ([5], [-1], []):
        with pytest.raises(ValueError, match="has frames 0 to 4"):
            read_frames(path, indices)


@pytest.mark.parametrize("name", ["a.avi", "b.mp4", "c.mkv"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_video_is_named_with_both_counts(tmp_path, videos, name, share):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    container = {"movflags": "faststart"} if name.endswith("mp4") else {}
    whole = videos.write(tmp_path / f"whole_{name}", images=noise, container=container)
    broken = videos.cut(whole, tmp_path / name, share)
    with pytest.raises(WorkError, match=rf"{name}: truncated: \d+ of 40 frames") as error:
        count_frames(broken)
    there = int(str(error.value).rsplit(" of ", 1)[0].rsplit(" ", 1)[1])
    with av.open(str(whole)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    assert abs(there - sum(end <= broken.stat().st_size for end in ends)) <= 1
    with pytest.raises(WorkError, match="truncated"):
        read_frames(broken, [0])


def test_a_bare_stream_is_decoded_to_its_end_as_nothing_vouches_for_its_frames(tmp_path, videos, monkeypatch):
    with av.open(str(videos.write(tmp_path / "whole.avi", 20, gop=5))) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        header = bytes(container.streams.video[0].codec_context.extradata)
    (tmp_path / "a.m4v").write_bytes(header + b"".join(packets))
    assert read_frames(tmp_path / "a.m4v", [0, 3]).shape == (2, 48, 64, 3)
    count_packets(monkeypatch, lose=15)
    with pytest.raises(WorkError, match=r"a\.m4v: damaged or truncated: 19 of 20 frames decode"):
        read_frames(tmp_path / "a.m4v", [0, 3])


def test_a_frame_lost_without_an_error_shifts_no_other(tmp_path, videos, monkeypatch):
    """Where frames are counted, a packet that a decoder passes over would shift all later ones."""
    path = videos.write(tmp_path / "a.avi", 40, b_frames=2, gop=40)
    assert open_video(path).timeline.times is None
    count_packets(monkeypatch, lose=7)
    assert len(read_frames(path, [0, 3])) == 2
    with pytest.raises(WorkError, match=r"a\.avi: damaged or truncated: 39 of 40 frames decode"):
        read_frames(path, [35])


def test_a_lost_index_is_no_loss_of_frames(tmp_path, videos):
    whole = videos.write(tmp_path / "whole.avi", 20)
    data = whole.read_bytes()
    (tmp_path / "a.avi").write_bytes(data[: data.rindex(b"idx1")])
    np.testing.assert_array_equal(read_frames(tmp_path / "a.avi", range(20)), decode_all(whole))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.avi", b"", "0 bytes"),
        ("text.avi", b"hello world\n" * 100, "cannot be read as a video"),
        ("text.txt", b"hello world\n" * 100, "no video stream"),
        ("random.avi", np.random.default_rng(0).bytes(20_000), ""),
        ("zeros.mp4", bytes(20_000), ""),
        ("riff.avi", b"RIFF" + bytes(1000), ""),
        ("matroska.mkv", bytes.fromhex("1a45dfa3"), ""),
    ],
)
def test_files_that_are_no_video_are_named_with_the_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (count_frames, lambda path: read_frames(path, [0])):
        with pytest.raises(WorkError, match=f"{name}: .*{reason}"):
            read(path)


def test_a_missing_file_an_empty_folder_and_sound_only(tmp_path):
    with pytest.raises(WorkError, match=r"none\.avi: no such video"):
        count_frames(tmp_path / "none.avi")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WorkError, match="folder: holds no frames"):
        count_frames(tmp_path / "folder")
    with av.open(str(tmp_path / "sound.avi"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(WorkError, match=r"sound\.avi: holds no video stream"):
        count_frames(tmp_path / "sound.avi")


def test_a_stream_without_frames(tmp_path, videos):
    data = bytearray(videos.write(tmp_path / "a.avi", 3).read_bytes())
    start = data.index(b"movi") + 4
    (tmp_path / "none.avi").write_bytes(data[:start])
    with pytest.raises(WorkError, match=r"none\.avi: "):
        count_frames(tmp_path / "none.avi")


def test_packets_of_garbage_are_an_error_or_whole_frames_but_never_a_crash(tmp_path, videos):
    data = videos.write(tmp_path / "a.avi", 30).read_bytes()
    middle, end = data.index(b"movi") + 4, data.rindex(b"idx1")
    rng = np.random.default_rng(0)
    paths, outcomes = [str(tmp_path / f"broken{trial}.avi") for trial in range(20)], []
    for path in paths:
        broken = bytearray(data)
        start = int(rng.integers(middle, end - 8))
        broken[start : start + 8] = rng.bytes(8)
        Path(path).write_bytes(broken)
        try:
            frames = read_frames(path, [0, 15, 29])
        except (WorkError, ValueError) as error:
            outcomes.append(str(error))
        else:
            outcomes.append(f"{path}: {frames.shape}")
    assert all(path in outcome for path, outcome in zip(paths, outcomes, strict=True))
    assert sum("(3, 48, 64, 3)" in outcome for outcome in outcomes) >= 5  # FFmpeg conceals small damage


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "gray"),
    [
        ("gray.avi", "ffv1", "gray", True),
        ("rgba.mov", "qtrle", "argb", False),
        ("ten.mkv", "ffv1", "yuv444p10le", False),
        ("bgr.avi", "rawvideo", "bgr24", False),
    ],
)
def test_other_pixel_formats_become_rgb(tmp_path, videos, name, codec, pix_fmt, gray):
    path = videos.write(tmp_path / name, 3, codec, pix_fmt=pix_fmt)
    frame, painted = read_frames(path, [1])[0].astype(int), videos.paint(1).astype(int)
    if gray:
        painted = np.repeat((painted @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    assert abs(frame - painted).max() <= 4


DEEP = {
    "ten.mkv": ("ffv1", "yuv420p10le", {}),
    "hevc10.mkv": ("libx265", "yuv420p10le", {"x265-params": "crf=1:log-level=none:pools=none:frame-threads=1"}),
    "gray10.mkv": ("ffv1", "gray10le", {}),
    "rgba.mov": ("png", "rgba", {}),
    "full.avi": ("mjpeg", "yuvj444p", {"qscale": "1"}),
}


@pytest.mark.parametrize("size", [(48, 64), (35, 51)], ids=["even", "odd"])
@pytest.mark.parametrize("name", DEEP)
def test_gray_transparent_deep_and_odd_sized_videos_have_the_painted_pixels(tmp_path, videos, name, size):
    """Smooth images, so that the colors that 4:2:0 shares among four pixels are nearly their own."""
    codec, pix_fmt, options = DEEP[name]
    if codec == "libx265" and size[0] % 2:
        size = (36, 50)  # it encodes no odd sizes
    rows, columns = np.mgrid[: size[0], : size[1]]
    images = [
        np.stack([60 + 2 * rows, 40 + 3 * columns, 90 + 0 * rows + 20 * k], -1).astype(np.uint8) for k in range(4)
    ]
    path = videos.write(tmp_path / name, codec=codec, pix_fmt=pix_fmt, images=images, options=options)
    found = read_frames(path, [0, 2, 3])
    assert found.shape == (3, *size, 3)
    for frame, image in zip(found, (images[0], images[2], images[3]), strict=True):
        painted = image.astype(float)
        if "gray" in pix_fmt:
            painted = np.repeat((painted @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
        assert abs(frame - painted).mean() <= 2.5
        assert np.quantile(abs(frame - painted), 0.98) <= 8


@pytest.mark.parametrize(
    "name", ["mpeg4.avi", "mpeg4_b.avi", "closed.mp4", "open.mkv", "h264.ts", "vp9.webm", "mpeg2.ts"]
)
def test_a_video_of_one_frame(tmp_path, videos, name):
    path = videos.write(tmp_path / name, 1, **FORMATS[name])
    assert count_frames(path) == 1
    (frame,) = read_frames(path, [0])
    np.testing.assert_array_equal(frame, decode_all(path)[0])
    assert abs(frame.astype(int) - videos.paint(0)).mean() < 6


def test_a_turned_video_of_odd_size(tmp_path, videos):
    images = [videos.paint(i, 36, 50) for i in range(3)]
    path = videos.write(tmp_path / "a.mp4", codec="libx264", images=images, rotation=90, options={"crf": "1"})
    (frame,) = read_frames(path, [2])
    assert frame.shape == (50, 36, 3)
    assert abs(frame.astype(int) - np.rot90(images[2])).mean() < 6


@pytest.mark.parametrize(("rotation", "quarters"), [(90, 1), (180, 2), (-90, 3)])
def test_a_rotation_that_the_file_asks_for_is_done(tmp_path, videos, rotation, quarters):
    plain = read_frames(videos.write(tmp_path / "plain.mp4", 3), [1])[0]
    turned = read_frames(videos.write(tmp_path / "turned.mp4", 3, rotation=rotation), [1])[0]
    np.testing.assert_array_equal(turned, np.rot90(plain, quarters))


def test_odd_sizes_and_odd_names(tmp_path, videos):
    images = [videos.paint(i, 35, 51) for i in range(4)]
    folder = tmp_path / "100% #1; a:b"
    folder.mkdir()
    path = videos.write(folder / "ä:%02d&.mkv", codec="ffv1", pix_fmt="bgr0", images=images)
    np.testing.assert_array_equal(read_frames(path, [0, 3]), [images[0], images[3]])


def test_a_folder_of_frames_is_read_by_number(tmp_path, videos):
    folder = videos.write_frames(tmp_path / "v", 12)
    (folder / "frame000010.jpg").rename(folder / "frame10.JPEG")
    (folder / "notes.txt").touch()
    assert count_frames(folder) == 12
    frames = read_frames(folder, [11, 0, 9])
    for frame, index in zip(frames, [11, 0, 9], strict=True):
        assert abs(np.median(frame) - np.median(videos.paint(index))) <= 1
    assert count_frames(videos.write_frames(tmp_path / "from_zero", 3, first=0)) == 3


def test_broken_folders_of_frames(tmp_path, videos):
    gap = videos.write_frames(tmp_path / "gap", 5)
    (gap / "frame000003.jpg").unlink()
    with pytest.raises(WorkError, match="gap: frame 3 is missing, 4 of 5"):
        count_frames(gap)
    late = videos.write_frames(tmp_path / "late", 2, first=3)
    with pytest.raises(WorkError, match="late: frame 1 is missing"):
        count_frames(late)
    twice = videos.write_frames(tmp_path / "twice", 2)
    (twice / "frame2.jpg").write_bytes((twice / "frame000002.jpg").read_bytes())
    with pytest.raises(WorkError, match="frame 2 is there twice"):
        count_frames(twice)
    cut = videos.write_frames(tmp_path / "cut", 3)
    videos.cut(cut / "frame000002.jpg", cut / "frame000002.jpg", 0.5)
    with pytest.raises(WorkError, match=r"frame000002\.jpg: cannot be decoded"):
        read_frames(cut, [0, 1])
    mixed = videos.write_frames(tmp_path / "mixed", 2)
    Image.fromarray(videos.paint(2, 20, 20)).save(mixed / "frame000003.jpg")
    with pytest.raises(WorkError, match=r"frame000003\.jpg: 20x20, but earlier frames are 64x48"):
        read_frames(mixed, [0, 2])
    (mixed / "frame000001.jpg").write_bytes(b"")
    with pytest.raises(WorkError, match=r"frame000001\.jpg"):
        count_frames(mixed)


def test_the_version_names_every_library_that_makes_pixels():
    for part in ("av", "libavcodec", "libswscale", "pillow"):
        assert f"{part} " in DECODER_VERSION
