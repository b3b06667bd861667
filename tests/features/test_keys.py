import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from snn_action.backbones import Backbone
from snn_action.core.errors import VideoError
from snn_action.features import keys
from snn_action.features.keys import digest_content, digest_videos, feature_key
from snn_action.features.store.database import open_database
from snn_action.video.decode import read_frames
from snn_action.video.frame_augmentation import FrameDraw
from snn_action.video.settings import ClipSettings

RGB = ClipSettings()
RANDOM = ClipSettings(sampling="random")
SPAN = ClipSettings(difference_span=3)
DRAW = FrameDraw(0.0, 0.0, 1.0, 1.0, False, 1.0, 1.0, 1.0, 0.0)


def key(small: Backbone, clip: ClipSettings = RGB, stream: str = "rgb", **change: object) -> str:
    asked = {"content": "c", "name": "n", "size": 16, "seed": 0, "precision": "32", "backbone": small, **change}
    return feature_key(stream=stream, clip=clip, **asked)  # type: ignore[arg-type]


def test_all_that_determines_the_values_changes_the_key(small: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        key(small),
        key(small, content="d"),
        key(small, stream="difference"),
        key(small, stream="difference", clip=SPAN),
        key(small, size=17),
        key(small, precision="bf16"),
        key(small, clip=ClipSettings(frames=27)),
        key(small, clip=ClipSettings(stride=2)),
        key(small, clip=ClipSettings(sampling="uniform")),
        key(small, clip=ClipSettings(sampling="sliding")),
        key(small, clip=ClipSettings(sampling="sliding", hop=3)),
        key(small, clip=RANDOM),
        key(small, clip=RANDOM, seed=1),
        key(small, clip=RANDOM, name="m"),
        key(small, clip=ClipSettings(sampling="segments")),
        key(small, clip=ClipSettings(sampling="segments", clips=4)),
        key(small, draw=DRAW),
        key(small, draw=replace(DRAW, flip=True)),
        key(small, draw=replace(DRAW, blur=0.01)),
    ]
    for attribute, value in (("digest", "0"), ("name", "other"), ("mean", (0.0, 0.0, 0.0)), ("std", (1.0, 1.0, 1.0))):
        with monkeypatch.context() as patched:
            patched.setattr(small, attribute, value)
            found.append(key(small))
    for version in ("FEATURE_VERSION", "DECODER_VERSION", "TRANSFORM_VERSION"):
        with monkeypatch.context() as patched:
            patched.setattr(keys, version, "other")
            found.append(key(small))
    assert len(set(found)) == len(found)


def test_what_does_not_matter_does_not_change_the_key(small: Backbone) -> None:
    assert key(small, seed=1, name="m") == key(small)
    assert key(small, clip=SPAN) == key(small)
    assert key(small, clip=ClipSettings(clips=4)) == key(small)
    assert key(small, clip=ClipSettings(streams=("difference", "rgb"))) == key(small)


def test_a_digest_is_of_content_not_of_place(folders: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "a.avi"
    file.write_bytes(b"content")
    assert digest_content(file) == digest_content(shutil.copy(file, tmp_path / "b.avi"))
    copy = Path(shutil.copytree(folders[0], tmp_path / "copy"))
    assert digest_content(copy) == digest_content(folders[0]) != digest_content(folders[1])
    (copy / "frame000001.jpg").rename(copy / "frame000099.jpg")
    assert digest_content(copy) != digest_content(folders[0])


def test_digests_are_remembered_until_a_video_changes(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.avi"
    file.write_bytes(b"content")
    paths = [file, folders[0], folders[1]]
    database = open_database(tmp_path / "index.sqlite")
    first = digest_videos(paths, database)
    assert first == [digest_content(path) for path in paths]

    read: list[Path] = []
    original = digest_content
    monkeypatch.setattr(keys, "digest_content", lambda path: read.append(path) or original(path))
    assert digest_videos(paths, database) == first
    assert read == []

    file.write_bytes(b"Content")  # as long as before
    os.utime(file, ns=(1, 1))
    frame = folders[0] / "frame000002.jpg"
    frame.write_bytes(frame.read_bytes() + b"x")
    second = digest_videos(paths, database)
    assert [a == b for a, b in zip(first, second, strict=True)] == [False, False, True]
    assert set(read) == {file, folders[0]} | {path for path in read if path.parent == folders[0]}


def test_a_replaced_file_of_equal_size_and_time_is_noticed(tmp_path: Path) -> None:
    file, other = tmp_path / "a.avi", tmp_path / "b.avi"
    for path, content in ((file, b"content"), (other, b"another")):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
    folder = tmp_path / "frames"
    folder.mkdir()
    shutil.copy2(file, folder / "frame1.jpg")
    database = open_database(tmp_path / "index.sqlite")
    first = digest_videos([file, folder], database)
    shutil.copy2(other, folder / "frame1.jpg")  # in place: the inode stays
    other.replace(file)
    assert file.stat().st_mtime_ns == (folder / "frame1.jpg").stat().st_mtime_ns == 1
    second = digest_videos([file, folder], database)
    assert second == [digest_content(file), digest_content(folder)]
    assert not set(first) & set(second)


def test_a_damaged_row_gives_no_digest(tmp_path: Path) -> None:
    paths = [tmp_path / "a.avi", tmp_path / "b.avi"]
    for path in paths:
        path.write_bytes(path.name.encode())
    database = open_database(tmp_path / "index.sqlite")
    first = digest_videos(paths, database)
    rows = database.run(lambda index: index.execute("SELECT path, digest FROM digests ORDER BY path").fetchall())
    for wrong in (rows[1][1], rows[1][1][:64], "x", b"\xff", 7):
        database.put("UPDATE digests SET digest = ? WHERE path = ?", [(wrong, rows[0][0])])
        assert digest_videos(paths, database) == first


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
def test_pipes_and_links_to_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avi")
    (tmp_path / "link.avi").symlink_to(tmp_path / "pipe.avi")
    (tmp_path / "zero.avi").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "frame1.jpg")
    names = ("pipe.avi", "link.avi", "zero.avi", "folder")
    database = open_database(tmp_path / "index.sqlite")
    for name, found in zip(names, digest_videos([tmp_path / name for name in names], database), strict=True):
        assert isinstance(found, OSError)
        assert "not a regular file" in str(found)
        assert found.filename.startswith(str(tmp_path / name))
    with pytest.raises(VideoError, match=r"frame1\.jpg: cannot be read: not a regular file"):
        read_frames(tmp_path / "folder", [0])


def test_what_cannot_be_read_gets_its_reason(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(b"content")
    ticks: list[int] = []
    database = open_database(tmp_path / "index.sqlite")
    missing, there = digest_videos([tmp_path / "missing.avi", tmp_path / "a.avi"], database, lambda: ticks.append(1))
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(there, str)
    assert len(ticks) == 2
