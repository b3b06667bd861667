"""What a word on the command line means as a source of frames."""

import pytest

from snn_action.core.errors import ConfigError
from snn_action.video.sources import Source, find_source, find_sources
from tests.video.conftest import write_frames, write_video


@pytest.mark.parametrize(
    ("word", "kind", "name", "format"),
    [
        ("-", "stdin", "-", None),
        ("rtsp://camera/1", "network", "rtsp://camera/1", None),
        ("HTTP://host/a.mp4", "network", "HTTP://host/a.mp4", None),
        ("lavfi:testsrc=rate=5", "device", "testsrc=rate=5", "lavfi"),
        ("avfoundation:0", "device", "0", "avfoundation"),
        ("/dev/null", "device", "/dev/null", "v4l2"),
        ("gone.mp4", "file", "gone.mp4", None),
        ("concat:a.mp4|b.mp4", "file", "concat:a.mp4|b.mp4", None),
        ("file:///gone.mp4", "file", "/gone.mp4", None),
    ],
)
def test_kinds(word, kind, name, format):
    assert find_sources([word]) == [Source(kind, name, format)]
    assert find_source(word).is_live == (kind in ("stdin", "network", "device"))


def test_folders_and_patterns(tmp_path):
    one, two = (write_video(tmp_path / "set" / name, 3) for name in ("b.mp4", "a [1].avi") if _make(tmp_path / "set"))
    frames = write_frames(tmp_path / "set" / "frames")
    (tmp_path / "set" / "notes.txt").write_text("no video")
    videos = [Source("file", str(two)), Source("file", str(one))]
    assert find_sources([str(tmp_path / "set")]) == [*videos, Source("frames", str(frames))]
    assert find_sources([str(tmp_path / "*" / "*.mp4")]) == videos[1:]
    assert find_sources([str(two)]) == videos[:1]  # it is there: no pattern
    assert find_sources([str(frames)]) == [Source("frames", str(frames))]
    with pytest.raises(ConfigError, match="3 videos; name one"):
        find_source(str(tmp_path / "set"))


def _make(folder):
    folder.mkdir(exist_ok=True)
    return True


def test_what_holds_no_video(tmp_path):
    with pytest.raises(ConfigError, match="holds neither videos nor frames"):
        find_sources([str(tmp_path)])
    with pytest.raises(ConfigError, match="no video fits this pattern"):
        find_sources([str(tmp_path / "*.mp4")])


def test_a_password_is_not_repeated():
    assert find_source("rtsp://me:secret@camera/1").label == "rtsp://camera/1"
    assert find_source("-").label == "standard input"
