"""Folders that may not be looked into, and links to themselves: each costs its entry, which is named."""

import os
from pathlib import Path

import pytest

from snn_action.core.errors import ConfigError, VideoError
from snn_action.datasets.check import check_videos, find_all_videos
from snn_action.datasets.lists import class_folders, find_videos
from snn_action.video.decode import open_video
from snn_action.video.settings import LimitSettings


@pytest.fixture
def forbid(monkeypatch):
    """Refuse a folder as the system does; an administrator is refused nothing, so permissions alone do not do."""

    def refuse(folder: Path) -> None:
        for name in ("scandir", "listdir"):
            original = getattr(os, name)

            def look(path=".", original=original):
                if Path(path) == folder:
                    raise PermissionError(13, "Permission denied", str(path))
                return original(path)

            monkeypatch.setattr(os, name, look)

    return refuse


def test_a_folder_that_may_not_be_looked_into_costs_itself(video_set, forbid):
    closed = video_set / "Left" / "closed"
    closed.mkdir()
    (video_set / "Left" / "circle").symlink_to("circle")
    forbid(closed)
    found = find_videos(video_set / "Left")
    assert [path.name for path in found] == ["circle", "closed", *(f"v_g{group}.avi" for group in range(1, 7))]
    with pytest.raises(VideoError, match=r"closed: cannot be read: Permission denied") as error:
        open_video(closed)
    assert error.value.kind == "unreadable"
    every = find_all_videos(video_set)
    assert [path for path in every if path.parent.name == "Left"] == found
    checks = check_videos(every, LimitSettings(), 1)
    bad = [problem.text for one in checks for problem in one.problems]
    assert len(bad) == 2
    assert "circle" in bad[0]
    assert "closed" in bad[1]


def test_the_folder_of_a_class_or_dataset_is_named(video_set, forbid):
    assert [folder.name for folder in class_folders(video_set)] == ["Left", "Right"]
    forbid(video_set / "Left")
    with pytest.raises(ConfigError, match="Left: cannot be read: Permission denied"):
        find_videos(video_set / "Left")
    forbid(video_set)
    with pytest.raises(ConfigError, match="videos: cannot be read: Permission denied"):
        class_folders(video_set)


def test_a_run_goes_on_without_it(command, video_config, video_set, forbid):
    closed = video_set / "Left" / "closed_g7"
    closed.mkdir()
    forbid(closed)
    code, _, err = command("extract", "-c", video_config(), "-o", "dataset.max_bad_share=0.2")
    assert code == 0, err
    assert "1 of 13 videos cannot be read and are left out" in err
    assert "closed_g7: Permission denied" in err
