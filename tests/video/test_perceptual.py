import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from snn_action.core.errors import VideoError
from snn_action.video import perceptual
from snn_action.video.content import digest_content
from snn_action.video.perceptual import NO_PATTERN, SIDE, UNIT, Fingerprint, fingerprint_video, fingerprint_videos
from snn_action.video.settings import LimitSettings

LIMITS = LimitSettings()


def paint(rng, n=6, height=96, width=128, contrast=60.0):
    """Smooth pictures in color."""
    small = rng.normal(128, contrast, (n, 6, 8, 3)).clip(0, 255).astype(np.uint8)
    return [np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)) for image in small]


def write(videos, path, images):
    return videos.write(path, codec="ffv1", pix_fmt="bgr0", images=images)


def agree(one, other):
    return np.corrcoef(one.pictures.ravel(), other.pictures.ravel())[0, 1]


def test_pictures_are_the_mean_luminance_of_cells_in_units_of_the_contrast(tmp_path, videos):
    images = paint(np.random.default_rng(0))
    path = write(videos, tmp_path / "a.mkv", images)
    found = fingerprint_video(path, LIMITS)
    assert found.digest == digest_content(path)
    assert found.reason == ""
    assert found.pictures.shape == (6, SIDE, SIDE)
    cells = np.stack([(image @ [0.299, 0.587, 0.114]).reshape(SIDE, 3, SIDE, 4).mean((1, 3)) for image in images])
    expected = (cells - cells.mean()) / np.sqrt(cells.var((1, 2)).mean())
    np.testing.assert_allclose(found.pictures / UNIT, expected, atol=0.15)


@pytest.mark.parametrize("change", [lambda level: level + 0.05, lambda level: 0.3 + 0.2 * level])
def test_brightness_and_contrast_change_nothing(tmp_path, videos, change):
    images = paint(np.random.default_rng(0))
    altered = [(255 * change(image / 255)).clip(0, 255).round().astype(np.uint8) for image in images]
    one, other = (
        fingerprint_video(write(videos, tmp_path / f"{place}.mkv", some), LIMITS)
        for place, some in enumerate((images, altered))
    )
    assert agree(one, other) > 0.99


@pytest.mark.parametrize("bars", [((12, 12), (0, 0)), ((0, 0), (24, 24)), ((7, 0), (0, 19)), ((20, 20), (30, 30))])
@pytest.mark.parametrize("level", [0, 16, 255])
def test_bars_are_cut_off(tmp_path, videos, bars, level):
    images = paint(np.random.default_rng(0))
    padded = [np.pad(image, (*bars, (0, 0)), constant_values=level) for image in images]
    one, other = (
        fingerprint_video(write(videos, tmp_path / f"{place}.mkv", some), LIMITS)
        for place, some in enumerate((images, padded))
    )
    assert agree(one, other) > 0.97


def test_what_shows_no_pattern_is_said_to(tmp_path, videos):
    black = [np.zeros((48, 64, 3), np.uint8)] * 5
    flicker = [np.full((48, 64, 3), level, np.uint8) for level in (0, 255, 128, 60)]
    faint = paint(np.random.default_rng(0), contrast=1)
    for place, images in enumerate((black, flicker, faint)):
        path = write(videos, tmp_path / f"{place}.mkv", images)
        assert fingerprint_video(path, LIMITS) == Fingerprint(digest_content(path), None, NO_PATTERN)
    low = fingerprint_video(write(videos, tmp_path / "low.mkv", paint(np.random.default_rng(0), contrast=6)), LIMITS)
    assert low.pictures is not None


class Source:
    def __init__(self, n):
        self.n_frames, self.asked = n, []

    def read(self, indices):
        image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        for index in indices:
            self.asked.append(index)
            yield image


@pytest.mark.parametrize(
    ("n", "count", "stride"), [(1, 1, 1), (64, 64, 1), (65, 33, 2), (512, 64, 8), (8192, 1024, 8), (90_000, 1023, 88)]
)
def test_frames_are_taken_evenly_and_never_too_many(tmp_path, monkeypatch, n, count, stride):
    source = Source(n)
    monkeypatch.setattr(perceptual, "open_video", lambda *_: source)
    (tmp_path / "v").touch()
    found = fingerprint_video(tmp_path / "v", LIMITS)
    assert (len(found.pictures), found.stride) == (count, stride)
    assert source.asked == list(range(0, n, stride))


@pytest.mark.parametrize("workers", [0, 2])
def test_fingerprints_are_kept_until_a_video_changes(tmp_path, videos, monkeypatch, workers):
    paths = [videos.write(tmp_path / "a.avi", 9), videos.write_frames(tmp_path / "b", 4), tmp_path / "bad.avi"]
    paths[2].write_bytes(b"garbage" * 99)
    paths.append(tmp_path / "absent.avi")
    paths.append(write(videos, tmp_path / "black.mkv", [np.zeros((48, 64, 3), np.uint8)] * 3))
    cache, ticks = tmp_path / "store" / "cache.sqlite", []

    def look():
        ticks.clear()
        found = fingerprint_videos(paths, cache, LIMITS, workers, lambda: ticks.append(1))
        assert len(ticks) == len(paths)
        return found

    first = look()
    assert [found.pictures is None for found in first] == [False, False, True, True, True]
    assert [found.digest for found in first[:3]] == [digest_content(path) for path in paths[:3]]
    assert first[3].digest is None
    assert "bad.avi" in first[2].reason
    assert "no such video" in first[3].reason
    assert first[4].reason == NO_PATTERN
    np.testing.assert_array_equal(first[0].pictures, fingerprint_video(paths[0], LIMITS).pictures)
    with monkeypatch.context() as patch:
        other = Fingerprint("x", np.zeros((1, SIDE, SIDE), np.int8))
        patch.setattr(perceptual, "fingerprint_video", lambda *_, **__: other)
        again = look()
        for place in (0, 1, 4):
            assert again[place].digest == first[place].digest
            assert again[place].reason == first[place].reason
        assert all(np.array_equal(first[place].pictures, again[place].pictures) for place in (0, 1))
        videos.write(paths[0], 10)
        (paths[1] / "frame000005.jpg").write_bytes((paths[1] / "frame000004.jpg").read_bytes())
        assert [found.digest for found in look()[:2]] == ["x", "x"]


def stop_at_a_video(path, _):
    if path.name == "slow.avi":
        time.sleep(60)
    if path.name == "crash.avi":
        os.kill(os.getpid(), signal.SIGKILL)
    raise VideoError(f"{path}: the size of its frames changes", "damaged")


def test_a_video_that_kills_or_keeps_its_decoder_has_a_digest_and_a_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "fingerprint_video", stop_at_a_video)
    paths = [tmp_path / name for name in ("slow.avi", "crash.avi", "changes.avi")]
    for path in paths:
        path.write_bytes(path.name.encode())
    found = fingerprint_videos(paths, tmp_path / "cache.sqlite", LimitSettings(timeout=1.0), 2)
    assert [one.digest for one in found] == [digest_content(path) for path in paths]
    for one, words in zip(found, ("hangs", "crashed", "size of its frames changes"), strict=True):
        assert words in one.reason
        assert one.pictures is None


def test_a_cache_that_is_broken_or_cannot_be_written_is_done_without(tmp_path, videos, caplog):
    paths = [videos.write(tmp_path / "a.avi", 9)]
    (tmp_path / "cache.sqlite").write_bytes(b"garbage" * 999)
    (found,) = fingerprint_videos(paths, tmp_path / "cache.sqlite", LIMITS, 0)
    np.testing.assert_array_equal(found.pictures, fingerprint_video(paths[0], LIMITS).pictures)
    assert "made anew" in caplog.text
    assert (tmp_path / "cache.sqlite.broken").read_bytes() == b"garbage" * 999
    (tmp_path / "file").touch()
    assert fingerprint_videos(paths, tmp_path / "file" / "cache.sqlite", LIMITS, 0)[0].pictures is not None
    assert "cannot be written" in caplog.text


def test_fingerprints_of_another_version_are_made_anew(tmp_path, videos, monkeypatch):
    paths, cache = [videos.write(tmp_path / "a.avi", 9)], tmp_path / "cache.sqlite"
    with sqlite3.connect(cache) as database:  # of the first version
        database.execute("CREATE TABLE hashes (path TEXT PRIMARY KEY, state TEXT NOT NULL, hash BLOB NOT NULL)")
        database.execute("INSERT INTO hashes VALUES (?, '1', ?)", (str(paths[0]), b"0" * 2048))
    database.close()
    real = fingerprint_videos(paths, cache, LIMITS, 0)[0]
    np.testing.assert_array_equal(real.pictures, fingerprint_video(paths[0], LIMITS).pictures)
    monkeypatch.setattr(perceptual, "_VERSION", "another")
    monkeypatch.setattr(perceptual, "fingerprint_video", lambda *_: Fingerprint("x", real.pictures))
    assert fingerprint_videos(paths, cache, LIMITS, 0)[0].digest == "x"


def test_a_process_that_is_killed_leaves_the_cache_sound(tmp_path):
    cache = tmp_path / "cache.sqlite"
    code = (
        "from pathlib import Path; import sys; from snn_action.video import perceptual as p\n"
        "for n in range(10**9):\n"
        "    rows = [(f'/v{i}', f's{n}', 'd', 1, bytes([n % 100]) * p.SIDE**2 * 9) for i in range(50)]\n"
        "    p._remember(Path(sys.argv[1]), rows); print(n, flush=True)\n"
    )
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", code, str(cache)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "0\n"
            for _ in range(3):
                last = int(process.stdout.readline())
            process.kill()
        with sqlite3.connect(cache) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            ((states, count),) = database.execute("SELECT COUNT(DISTINCT state), COUNT(*) FROM fingerprints")
            assert (states, count) == (1, 50)  # all of one writing or none
            assert int(database.execute("SELECT state FROM fingerprints").fetchone()[0][1:]) >= last
        database.close()
