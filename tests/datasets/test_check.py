import json
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from snn_action.core.errors import ConfigError
from snn_action.datasets import check
from snn_action.datasets.check import check_video, check_videos, find_all_videos, make_report, mark_duplicates
from snn_action.video import workers
from snn_action.video.settings import LimitSettings

LIMITS = LimitSettings()
H264 = {"codec": "libx264", "gop": 12}
WHOLE = {
    "mpeg4.avi": {},
    "b.mp4": {**H264, "b_frames": 3},
    "b.avi": {"b_frames": 2},
    "h264.ts": {**H264, "b_frames": 2},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "lag-in-frames": "16"}},
    "ffv1.mkv": {"codec": "ffv1", "pix_fmt": "yuv420p10le"},
}


def kinds(findings):
    return [finding.kind for finding in findings]


def only_problem(path, limits=LIMITS):
    (problem,) = check_video(path, limits).problems
    assert problem.text.startswith(str(path))
    return problem


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_video_has_nothing_to_be_said_of(tmp_path, videos, name):
    found = check_video(videos.write(tmp_path / name, 40, **WHOLE[name]), LIMITS)
    assert (found.problems, found.warnings) == ((), ())
    assert (found.frames, found.width, found.height) == (40, 64, 48)
    assert found.seconds == pytest.approx(1.6, abs=0.03)
    assert len(found.digest) == 64
    one = check_video(videos.write(tmp_path / f"one_{name}", 1, **WHOLE[name]), LIMITS)
    assert (one.frames, one.problems, one.warnings) == (1, (), ())


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"", "unreadable"), (b"garbage" * 99, "unreadable"), (None, "unreadable"), (b"hello\n" * 99, "no video stream")],
)
def test_what_is_no_video(tmp_path, content, kind):
    path = tmp_path / ("text.txt" if kind == "no video stream" else "a.mp4")
    if content is not None:
        path.write_bytes(content)
    assert only_problem(path).kind == kind


def test_sound_only_and_no_frames(tmp_path):
    with av.open(str(tmp_path / "sound.avi"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert only_problem(tmp_path / "sound.avi").kind == "no video stream"
    (tmp_path / "folder").mkdir()
    assert only_problem(tmp_path / "folder").kind == "no frames"
    with av.open(str(tmp_path / "none.avi"), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        output.start_encoding()
    problem = only_problem(tmp_path / "none.avi")
    assert problem.kind == "no frames"
    assert "its video stream holds no frames" in problem.text


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv"])
def test_a_truncated_video(tmp_path, videos, name):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    whole = videos.write(tmp_path / f"whole_{name}", images=noise, container=options)
    problem = only_problem(videos.cut(whole, tmp_path / name, 0.6))
    assert problem.kind == "truncated"
    assert "of 40 frames" in problem.text


def test_packets_that_do_not_decode(tmp_path, videos):
    data = bytearray(videos.write(tmp_path / "a.avi", 30, gop=1).read_bytes())
    with av.open(str(tmp_path / "a.avi")) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][20]
    data[place : place + size + 8] = bytes(size + 8)  # the chunk's head too
    (tmp_path / "b.avi").write_bytes(data)
    found = check_video(tmp_path / "b.avi", LIMITS)
    assert found.problems or found.frames == 29
    assert found.problems or kinds(found.warnings) == ["frame count", "frame rate"]


def test_a_variable_frame_rate_is_a_warning(tmp_path, videos):
    found = check_video(videos.write(tmp_path / "a.mp4", 30, skip={4, 5, 9, 20}, **H264), LIMITS)
    assert (found.frames, kinds(found.warnings)) == (26, ["frame rate"])
    assert "3 of 25 steps of time, 0.040 to 0.120 s" in found.warnings[0].text
    found = check_video(videos.write(tmp_path / "a.avi", 30, skip={4, 5, 9, 20}), LIMITS)
    assert kinds(found.warnings) == ["frame count", "frame rate"]
    assert "30 frames are declared, 26 are there" in found.warnings[0].text
    with av.open(str(tmp_path / "ms.mkv"), "w") as output:  # 33, 33 and 34 ms are one rate
        stream = output.add_stream("mpeg4", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for index in range(30):
            frame = av.VideoFrame.from_ndarray(videos.paint(index), "rgb24")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert check_video(tmp_path / "ms.mkv", LIMITS).warnings == ()


@pytest.mark.parametrize(("rotation", "size"), [(90, (48, 64)), (180, (64, 48)), (-90, (48, 64))])
def test_a_quarter_turn_is_done_and_so_nothing_to_warn_of(tmp_path, videos, rotation, size):
    found = check_video(videos.write(tmp_path / "a.mp4", 3, rotation=rotation, **H264), LIMITS)
    assert (found.width, found.height) == size
    assert found.warnings == ()


def test_a_turn_that_is_no_quarter_is_a_warning_and_a_mirror_is_done(tmp_path, videos):
    path = videos.write(tmp_path / "a.mp4", 3, rotation=30, **H264)
    found = check_video(path, LIMITS)
    assert kinds(found.warnings) == ["rotation"]
    assert "turned by 30 degrees" in found.warnings[0].text
    data = path.read_bytes()
    place = data.index(b"tkhd") + 4 + 40  # version, flags, times, ids, layers: then the matrix
    matrix = struct.pack(">9i", -0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    (tmp_path / "mirror.mp4").write_bytes(data[:place] + matrix + data[place + 36 :])
    found = check_video(tmp_path / "mirror.mp4", LIMITS)
    assert (found.warnings, found.problems) == ((), ())


def test_absurd_sizes(tmp_path, videos):
    path = videos.write(tmp_path / "a.mp4", 30, **H264)
    problem = only_problem(path, LimitSettings(pixels=64 * 48 - 1))
    assert problem.kind == "absurd size"
    assert "frames of 64x48, 3,072 pixels; features.limits.pixels allows 3,071" in problem.text
    problem = only_problem(path, LimitSettings(seconds=1.1))
    assert problem.kind == "absurd size"
    assert "30 frames over 1 s; features.limits.seconds allows 1" in problem.text
    assert check_video(path, LimitSettings(pixels=64 * 48, seconds=1.2)).problems == ()
    folder = videos.write_frames(tmp_path / "frames", 3)
    assert only_problem(folder / "frame000001.jpg", LimitSettings(pixels=100)).kind == "absurd size"
    assert check_video(folder, LimitSettings(pixels=100)).problems[0].kind == "absurd size"


def test_a_rate_beyond_belief_hides_no_frames(tmp_path):
    with av.open(str(tmp_path / "fast.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "bgr0"
        for index in range(40):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
            frame.pts = index
            for packet in stream.encode(frame):
                packet.pts = packet.dts = index
                packet.time_base = Fraction(1, 25_000)
                output.mux(packet)
        output.mux(stream.encode(None))
    assert only_problem(tmp_path / "fast.mkv", LimitSettings(seconds=0.039)).kind == "absurd size"


def test_a_frame_larger_than_its_container_says_is_refused(tmp_path, videos):
    """An AVI header that tells of 16 x 16 pixels, and an MPEG-4 stream whose own header tells of 64 x 48."""
    data = bytearray(videos.write(tmp_path / "a.avi", 5).read_bytes())
    place = data.index(b"strf") + 8 + 4
    data[place : place + 8] = struct.pack("<2i", 16, 16)
    (tmp_path / "lies.avi").write_bytes(data)
    found = check_video(tmp_path / "lies.avi", LimitSettings(pixels=1000))
    assert kinds(found.problems) == ["absurd size"]
    assert check_video(tmp_path / "lies.avi", LimitSettings(pixels=64 * 48)).problems == ()


def test_folders_of_frames(tmp_path, videos):
    found = check_video(videos.write_frames(tmp_path / "whole", 5), LIMITS)
    assert (found.frames, found.width, found.height, found.problems) == (5, 64, 48, ())
    gap = videos.write_frames(tmp_path / "gap", 5)
    (gap / "frame000003.jpg").unlink()
    assert only_problem(gap).kind == "gap"
    corrupt = videos.write_frames(tmp_path / "corrupt", 5)
    videos.cut(corrupt / "frame000004.jpg", corrupt / "frame000004.jpg", 0.4)
    assert check_video(corrupt, LIMITS).problems[0].kind == "damaged"
    assert "frame000004.jpg" in check_video(corrupt, LIMITS).problems[0].text


def test_every_video_at_any_depth_is_found(tmp_path, videos):
    videos.touch(tmp_path, "a/b/c/x.MP4", "a/y.avi", ".hidden/z.avi", "a/.z.avi", "a/notes.txt", "f/frame000001.jpg")
    names = [path.relative_to(tmp_path).as_posix() for path in find_all_videos(tmp_path)]
    assert names == ["a/b/c/x.MP4", "a/y.avi", "f"]
    assert find_all_videos(tmp_path / "f") == [tmp_path / "f"]
    assert find_all_videos(tmp_path / "a" / "notes.txt") == [tmp_path / "a" / "notes.txt"]
    for nothing in (tmp_path / "nowhere", tmp_path / ".hidden" / "deep"):
        with pytest.raises(ConfigError, match=r"no video or folder there"):
            find_all_videos(nothing)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no video in this folder"):
        find_all_videos(tmp_path / "empty")


def test_a_decoder_that_crashes_or_hangs_costs_one_video(tmp_path, videos, monkeypatch):
    paths = [videos.write(tmp_path / f"{name}.avi", 5) for name in ("a", "crash", "hang", "b")]

    def look(path, limits):
        if path.stem == "crash":
            workers.os._exit(9)
        if path.stem == "hang":
            workers.time.sleep(600)
        return original(path, limits)

    original = check.open_video
    monkeypatch.setattr(check, "open_video", look)
    found = list(check_videos(paths, LimitSettings(timeout=2.0), 2))
    assert [len(one.problems) for one in found] == [0, 1, 1, 0]
    assert found[1].problems[0].text == f"{paths[1]}: the decoder crashed (exit code 9)"
    assert "hangs" in found[2].problems[0].text


def test_duplicates_and_the_report(tmp_path, videos):
    first = videos.write(tmp_path / "a.avi", 5)
    (tmp_path / "b.avi").write_bytes(first.read_bytes())
    videos.write(tmp_path / "c.avi", 6)
    (tmp_path / "d.avi").write_bytes(b"")
    checks = mark_duplicates(check_videos(find_all_videos(tmp_path), LIMITS, 1))
    assert [kinds(one.warnings) for one in checks] == [[], ["duplicate"], [], []]
    assert str(first) in checks[1].warnings[0].text
    report = make_report(tmp_path, checks)
    assert (report["videos"], report["usable"]) == (4, 3)
    assert report["problems"] == {"unreadable": 1}
    assert report["warnings"] == {"duplicate": 1}
    assert json.loads(json.dumps(report))["checks"][2]["frames"] == 6


def test_the_command(command, tmp_path, videos):
    (tmp_path / "videos").mkdir()
    videos.write(tmp_path / "videos" / "a.avi", 5)
    code, out, _ = command("check-videos", tmp_path / "videos", "--workers", 1)
    assert code == 0
    assert "1 videos: 1 can be used, 0 cannot" in out
    (tmp_path / "videos" / "b.avi").write_bytes(b"garbage")
    report = tmp_path / "report.json"
    code, out, err = command("check-videos", tmp_path / "videos", "--json", report, "--workers", 1)
    assert code == 1
    assert "2 videos: 1 can be used, 1 cannot" in out
    assert f"error: unreadable: {tmp_path / 'videos' / 'b.avi'}: cannot be read as a video" in err
    assert json.loads(report.read_text())["problems"] == {"unreadable": 1}
    code, _, err = command("check-videos", tmp_path / "videos" / "a.avi", "--pixels", 100)
    assert code == 1
    assert "absurd size" in err
    code, _, err = command("check-videos", tmp_path / "nowhere")
    assert code == 2
    assert "nowhere: no video or folder there" in err
