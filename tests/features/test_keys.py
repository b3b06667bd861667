import os
import shutil
from pathlib import Path

import pytest

from snn_action.backbones import Backbone
from snn_action.config import ClipSettings
from snn_action.features import keys
from snn_action.features.database import open_database
from snn_action.features.keys import digest_content, digest_videos, feature_key

RGB = ClipSettings()
RANDOM = ClipSettings(sampling="random")
SPAN = ClipSettings(difference_span=3)


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


def test_what_cannot_be_read_gets_its_reason(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(b"content")
    ticks: list[int] = []
    database = open_database(tmp_path / "index.sqlite")
    missing, there = digest_videos([tmp_path / "missing.avi", tmp_path / "a.avi"], database, lambda: ticks.append(1))
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(there, str)
    assert len(ticks) == 2
