import av
import numpy as np
import pytest
from PIL import Image

from snn_action.config import LimitSettings
from snn_action.data import perceptual
from snn_action.data.decode import read_frames
from snn_action.data.perceptual import FRAMES, SIDE, hash_video, hash_videos
from snn_action.errors import VideoError

LIMITS = LimitSettings()


def test_a_hash_is_the_mean_luminance_of_cells(tmp_path, videos):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    path = videos.write(tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0", images=images)
    found = hash_video(path, LIMITS)
    assert found.shape == (FRAMES, SIDE, SIDE)
    for place, cells in enumerate(found):
        frame = images[int((place + 0.5) * 20 / FRAMES)]
        grey = frame @ [0.299, 0.587, 0.114]
        expected = grey.reshape(SIDE, 48 // SIDE, SIDE, 64 // SIDE).mean((1, 3))
        assert abs(cells - expected).max() <= 1.5


def test_a_short_video_repeats_frames_and_a_folder_is_a_video(tmp_path, videos):
    found = hash_video(videos.write_frames(tmp_path / "v", 3), LIMITS)
    assert len(np.unique(found.reshape(FRAMES, -1), axis=0)) == 3
    frame = Image.fromarray(read_frames(tmp_path / "v", [0])[0]).convert("L")
    np.testing.assert_array_equal(found[0], np.asarray(frame.resize((SIDE, SIDE), Image.Resampling.BOX)))
    with pytest.raises(VideoError):
        hash_video(tmp_path / "nothing.avi", LIMITS)


@pytest.mark.parametrize("workers", [0, 2])
def test_hashes_are_kept_until_a_video_changes(tmp_path, videos, monkeypatch, workers):
    paths = [videos.write(tmp_path / "a.avi", 9), videos.write_frames(tmp_path / "b", 4), tmp_path / "bad.avi"]
    paths[2].write_bytes(b"garbage" * 99)
    paths.append(tmp_path / "absent.avi")
    cache, ticks = tmp_path / "store" / "cache.sqlite", []

    def look():
        ticks.clear()
        return hash_videos(paths, cache, LIMITS, workers, lambda: ticks.append(1))

    first = look()
    assert [found is None for found in first] == [False, False, True, True]
    assert len(ticks) == 4
    np.testing.assert_array_equal(first[0], hash_video(paths[0], LIMITS))
    with monkeypatch.context() as patch:
        patch.setattr(perceptual, "hash_video", lambda *_: np.zeros((FRAMES, SIDE, SIDE), np.uint8))
        again = look()
        assert all(np.array_equal(one, other) for one, other in zip(first[:2], again[:2], strict=True))
        videos.write(paths[0], 10)
        (paths[1] / "frame000005.jpg").write_bytes((paths[1] / "frame000004.jpg").read_bytes())
        assert not np.any(look()[:2])


def test_a_cache_that_is_broken_or_cannot_be_written_is_done_without(tmp_path, videos, caplog):
    paths = [videos.write(tmp_path / "a.avi", 9)]
    (tmp_path / "cache.sqlite").write_bytes(b"garbage" * 999)
    (found,) = hash_videos(paths, tmp_path / "cache.sqlite", LIMITS, 0)
    np.testing.assert_array_equal(found, hash_video(paths[0], LIMITS))
    assert "cannot be used" in caplog.text
    (tmp_path / "file").touch()
    assert hash_videos(paths, tmp_path / "file" / "cache.sqlite", LIMITS, 0)[0] is not None
    assert "cannot be written" in caplog.text


def test_reencoding_changes_a_hash_little(tmp_path, videos):
    whole = videos.write(tmp_path / "whole.avi", 30)
    with av.open(str(whole)) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    noisy = [np.clip(f + np.random.default_rng(0).normal(0, 8, f.shape), 0, 255).astype(np.uint8) for f in frames]
    copy = videos.write(tmp_path / "copy.mp4", codec="libx264", images=noisy, options={"crf": "35"})
    other = videos.write(tmp_path / "other.mp4", codec="libx264", images=noisy[::-1], options={"crf": "35"})
    a, b, c = (hash_video(path, LIMITS).astype(float) for path in (whole, copy, other))
    assert np.sqrt(((a - b) ** 2).mean()) < 3.5
    assert np.sqrt(((a - c) ** 2).mean()) > 10
