"""The video with what is said of it: every frame at its time, upright, and the strips beneath."""

import av
import numpy as np
import pytest

from snn_action.core.errors import ConfigError, WorkError
from snn_action.report import overlay, overlay_strips
from snn_action.report.overlay import Overlay, check_overlay_file
from snn_action.video.live import LiveFrame

NAMES = ("walk", "a name that is far too long for the place that there is for it", "日本")


def draw(path, *, size=(40, 60), frames=20, every=4, spikes=True, rate=10.0, times=None):
    drawn = Overlay(path, NAMES)
    drawn.rate = rate
    for index in range(frames):
        image = np.full((*size, 3), 200, np.uint8)
        drawn.add_frame(LiveFrame(index, times[index] if times else index / rate, image, 0.0))
        if index % every == 0:
            evidence = np.array([0.7, 0.2, 0.1]) if index < frames // 2 else np.array([0.1, 0.8, 0.1])
            drawn.add_step(index, index / rate, evidence, np.arange(100) % 3 == 0 if spikes else None)
    drawn.finish()
    return path


def read(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_every_frame_is_there_at_its_time(tmp_path, suffix):
    times = [0, 0.1, 0.25, *(0.3 + 0.1 * index for index in range(17))]
    shown = read(draw(tmp_path / f"a{suffix}", times=times))
    assert len(shown) == 20
    np.testing.assert_allclose([time for time, _ in shown], times, atol=2e-3)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_the_video_is_above_and_strips_are_beneath(tmp_path):
    image = read(draw(tmp_path / "a.mp4"))[-1][1]
    height, width = image.shape[:2]
    assert (width, height % 2) == (480, 0)
    video = image[:310, 10:-10]
    assert abs(video.astype(int) - 200).max() < 20
    beneath = image[330:]
    assert beneath.mean() < 100
    assert (beneath.min(2) > 200).sum() > 200  # text and spikes
    plain = read(draw(tmp_path / "b.mp4", spikes=False))[-1][1]
    assert plain.shape[0] == height - overlay_strips._LABEL - overlay_strips._UNITS - overlay_strips._MARGIN


def test_bars_follow_the_evidence(tmp_path):
    shown = read(draw(tmp_path / "a.mp4", frames=40))
    first, last = (shown[at][1][320 + overlay_strips._MARGIN + 10, 20:-20].astype(int) for at in (10, 39))
    blue, orange = (np.array(color) for color in overlay_strips._COLORS[:2])
    assert (abs(first - blue).sum(1) < 90).sum() > (abs(first - orange).sum(1) < 90).sum()
    assert (abs(last - orange).sum(1) < 90).sum() > (abs(last - blue).sum(1) < 90).sum()


@pytest.mark.parametrize(
    ("size", "shape"), [((400, 200), (960, 480)), ((2000, 3000), (854, 1280)), ((7, 2001), (4, 1280))]
)
def test_odd_and_large_frames_fit(size, shape):
    assert overlay._fit(np.zeros((*size, 3), np.uint8)).shape[:2] == shape


def test_of_no_frame_there_is_no_video(tmp_path):
    Overlay(tmp_path / "a.mp4", NAMES).finish()
    assert [*tmp_path.iterdir()] == []


def test_one_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise av.error.OSError(28, "No space left on device")

    monkeypatch.setattr(Overlay, "_write", fail)
    with pytest.raises(WorkError, match=r"a\.mp4: cannot be written"):
        draw(tmp_path / "a.mp4")
    assert [*tmp_path.iterdir()] == []


def test_where_none_may_be_written(tmp_path):
    there = tmp_path / "there.mp4"
    there.write_text("mine")
    for path, words in (
        (there, "is there already; --force"),
        (tmp_path / "a.gif", "ends in .mp4"),
        (tmp_path / "gone" / "a.mp4", "there is no folder"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_overlay_file(path, 1)
    with pytest.raises(ConfigError, match="of one source, here are 2"):
        check_overlay_file(tmp_path / "a.mp4", 2)
    check_overlay_file(there, 1, force=True)
    monkey = tmp_path / "folder.mp4"
    monkey.mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        check_overlay_file(monkey, 1, force=True)
