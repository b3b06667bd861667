import os
import unicodedata

import pytest

from snn_action.core.errors import VideoError, printable
from snn_action.datasets.check import check_video, find_all_videos
from snn_action.datasets.lists import find_videos
from snn_action.datasets.names import NameIndex, find_path, plain_name
from snn_action.video.decode import read_frames
from snn_action.video.settings import LimitSettings
from snn_action.video.suffixes import stem, video_suffixes

LIMITS = LimitSettings()


def test_names_are_composed_and_on_one_line():
    assert plain_name("e\u0301.avi") == "\u00e9.avi"
    assert printable("a\nb\r\u2028\x85\x1b.avi") == "a\\nb\\r\\u2028\\x85\\x1b.avi"
    assert printable(os.fsdecode(b"caf\xe9")) == "caf\\xe9"
    assert printable("\u00e9 \u4e2d 'x' \\ \U0001f600") == "\u00e9 \u4e2d 'x' \\ \U0001f600"
    assert str(VideoError("a\nb", "kind")) == "a\\nb"


def test_an_index_takes_whole_names_before_others():
    index = NameIndex([("a/x.avi", 0), ("a/x.mp4", 1), ("a/y.avi", 2), ("a/e\u0301.mkv", 3), ("a/v.1", 4)])
    assert index.find("a/x.mp4") == [1]
    assert index.find("a/x") == [0, 1]
    assert index.find("a\\y") == index.find("a/y.mkv") == [2]
    assert index.find("a/\u00e9.mkv") == [3]
    assert index.find("a/v.1") == [4]
    assert index.find("a/Y") == []
    assert NameIndex([("A/Y.AVI", 0)], fold_case=True).find("a/y") == [0]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_path_is_found_in_either_form(tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    path = tmp_path / unicodedata.normalize(form, "d\u00e9") / unicodedata.normalize(form, "\u00fc.avi")
    path.parent.mkdir()
    path.touch()
    assert find_path(tmp_path, unicodedata.normalize(other, "d\u00e9/\u00fc.avi")).samefile(path)
    assert find_path(tmp_path, "d\u00e9/none.avi") == tmp_path / "d\u00e9/none.avi"


def test_ffmpeg_says_what_is_a_video(tmp_path, videos):
    known, other = (
        "asf avi divx f4v gif ivf m1v m2ts mkv mp4 mxf nut ogv vob wtv 3g2",
        "jpg png wav mp3 flac txt json csv",
    )
    assert video_suffixes() >= set(known.split())
    assert video_suffixes().isdisjoint([*other.split(), "srt", "py", "heic", "avif", "m3u8"])
    assert stem("a/b.DIVX") == stem("a/b.ogg") == "b"
    videos.touch(tmp_path, "a.asf", "b.divx", "c.jpg", "d.txt", "e.wav", "f.ogg", "g.odd", "h")
    assert [path.name for path in find_videos(tmp_path)] == ["a.asf", "b.divx"]
    real = videos.write(tmp_path / "real.avi", 3)
    for name in ("f.ogg", "g.odd", "h", "c.jpg", "d.txt"):
        (tmp_path / name).write_bytes(real.read_bytes())
    assert [path.name for path in find_videos(tmp_path)] == ["a.asf", "b.divx", "f.ogg", "g.odd", "h", "real.avi"]


def test_bytes_that_are_no_utf8_and_line_breaks(tmp_path, videos):
    plain = videos.write(tmp_path / "plain.avi", 3)
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in (b"caf\xe9.avi", b"a\nb.avi"):
        (folder / os.fsdecode(name)).write_bytes(plain.read_bytes())
        assert len(read_frames(folder / os.fsdecode(name), [0, 2])) == 2
    for path in find_all_videos(folder):
        assert check_video(path, LIMITS).problems == ()
        path.write_bytes(b"")
        (problem,) = check_video(path, LIMITS).problems
        assert problem.text.encode().isascii()
        assert "\n" not in problem.text


def test_links_are_followed_and_one_to_itself_is_one_bad_entry(tmp_path, videos, command):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    videos.write(elsewhere / "x.avi", 3)
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "linked").symlink_to(elsewhere)
    (root / "y.avi").symlink_to(elsewhere / "x.avi")
    (root / "a" / "loop").symlink_to(root / "a" / "loop")
    (root / "a" / "up").symlink_to(root)
    found = find_all_videos(root)
    assert [path.relative_to(root).as_posix() for path in found] == ["a/loop", "a/up", "linked/x.avi", "y.avi"]
    code, out, err = command("check-videos", root, "--workers", 1)
    assert code == 1
    assert "4 videos: 2 can be used, 2 cannot" in out
    assert f"{root / 'a' / 'loop'}: " in err
    assert f"{root / 'a' / 'up'}: a link to a folder that it lies in" in err
