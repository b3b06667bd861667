"""Files of a data set that point to others, and what is no file: nothing else is opened, each is one video's fault."""

import os
import socket

import pytest

from snn_action.core.errors import VideoError
from snn_action.datasets import check
from snn_action.datasets.check import check_video
from snn_action.video import decode
from snn_action.video.clips import read_video
from snn_action.video.decode import count_frames, read_frames
from snn_action.video.opening import open_file
from snn_action.video.settings import ClipSettings, LimitSettings
from snn_action.video.suffixes import choose_videos

MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>"
)
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
M3U8 = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"
POINTERS = {
    "holiday.avi": "ffconcat version 1.0\nfile '{}'\n",
    "unsafe.mp4": "ffconcat version 1.0\nfile '{}'\noption safe 0\n",
    "list.m3u8": M3U8,
    "list.mp4": M3U8,
    "dash.mpd": MPD,
    "dash.mp4": MPD,
    "session.avi": SDP,
    "session.sdp": SDP,
}


@pytest.fixture
def elsewhere(tmp_path, write_clip):
    """A whole video outside the data set."""
    return write_clip(tmp_path / "elsewhere" / "secret.avi")


@pytest.mark.parametrize("name", POINTERS)
@pytest.mark.parametrize("relative", [True, False])
def test_a_file_that_points_to_others_is_no_video(name, relative, tmp_path, elsewhere):
    path = tmp_path / "set" / name
    path.parent.mkdir()
    path.write_text(POINTERS[name].format("../elsewhere/secret.avi" if relative else elsewhere))
    with pytest.raises(VideoError, match=f"{name}: cannot be read as a video"):
        count_frames(path)
    (finding,) = check_video(path, LimitSettings()).problems
    assert name in finding.text


def test_an_address_in_a_playlist_is_not_asked(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        for name in ("list.m3u8", "list.avi"):
            (tmp_path / name).write_text(M3U8.format(address))
            with pytest.raises(VideoError):
                count_frames(tmp_path / name)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "name", ["concat:{0}|{0}", "http://127.0.0.1:1/a.avi", "file:{0}", "subfile,,start,0,end,9,,:{0}"]
)
def test_a_name_is_never_an_address(name, elsewhere):
    with pytest.raises(VideoError, match="no such video"):
        count_frames(name.format(elsewhere))


def test_a_name_like_a_pattern_is_a_name(tmp_path, write_clip):
    path = write_clip(tmp_path / "frame%03d.avi")
    assert count_frames(path) == 12
    colon = write_clip(tmp_path / "a:b.avi")
    assert count_frames(colon) == 12


@pytest.mark.skipif(os.name != "posix", reason="files of POSIX systems")
def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")
    (tmp_path / "link.avi").symlink_to("pipe.avi")
    (tmp_path / "zero.avi").symlink_to("/dev/zero")
    (tmp_path / "loop.avi").symlink_to("loop.avi")
    (tmp_path / "nowhere.avi").symlink_to("absent.avi")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.avi")) if len(str(tmp_path)) < 90 else None
        paths = sorted(tmp_path.iterdir())
        for path in paths:
            for read in (count_frames, open_file):
                with pytest.raises(VideoError, match=f"{path.name}: (not a regular file|a link that leads nowhere)"):
                    read(path)
        assert choose_videos(paths) == paths  # each is named when it is read


@pytest.mark.parametrize("error", [IndexError, OverflowError, MemoryError, AssertionError, RecursionError, KeyError])
def test_whatever_a_library_raises_inside_a_video_costs_this_video(error, write_clip, tmp_path, monkeypatch):
    def fail(*_):
        raise error("of a library")

    path = write_clip(tmp_path / "odd.avi")
    monkeypatch.setattr(check, "decode_packets", fail)
    monkeypatch.setattr(decode, "to_rgb", fail)
    reads = [
        count_frames,
        lambda path: read_frames(path, [0]),
        lambda path: read_video(path, ClipSettings(), 16, 0, ""),
    ]
    for read in reads:
        with pytest.raises(VideoError, match=r"odd\.avi: cannot be read"):
            read(path)
    (finding,) = check_video(path, LimitSettings()).problems
    assert "odd.avi" in finding.text
