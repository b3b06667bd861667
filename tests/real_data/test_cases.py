"""Videos that were refused, or shown wrongly, though they are whole."""

import numpy as np
import pytest

from snn_action.datasets.check import check_video, check_videos, find_all_videos
from snn_action.video.decode import count_frames, read_frames
from snn_action.video.settings import LimitSettings


@pytest.mark.parametrize(
    ("name", "frames", "size"),
    [
        ("xvid_placeholder_packets.avi", 20, (48, 64)),
        ("ts_time_jump_absurd_size.ts", 50, (48, 64)),
        ("two_streams_reads_the_small_one.mp4", 100, (120, 160)),
        ("mirrored_hflip_shown_upside_down.mp4", 100, (120, 160)),
    ],
)
def test_whole_videos_are_read_as_ffmpeg_reads_them(shared, name, frames, size):
    """Numbers of frames are those of FFmpeg's program."""
    path = shared / "cases" / name
    found = check_video(path, LimitSettings())
    assert (found.problems, found.frames, (found.height, found.width)) == ((), frames, size)
    assert count_frames(path) == frames
    assert read_frames(path, [frames - 1]).shape == (1, *size, 3)


def test_every_clip_of_jhmdb_can_be_used(shared):
    paths = find_all_videos(shared / "data" / "jhmdb")[::29]
    found = list(check_videos(paths, LimitSettings(), 2))
    assert len(paths) == 32
    assert [check.problems for check in found if check.problems] == []
    assert np.all([15 <= check.frames <= 40 for check in found])
