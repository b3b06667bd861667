import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from snn_action.core.errors import WorkError
from snn_action.video import clips
from snn_action.video.clips import read_video
from snn_action.video.decode import read_frames
from snn_action.video.sampling import sample_clips
from snn_action.video.settings import ClipSettings
from snn_action.video.transforms import difference_image, resize


@pytest.fixture(scope="module")
def video(tmp_path_factory, videos):
    return videos.write(tmp_path_factory.mktemp("clips") / "a.avi", 33)


any_clip = st.builds(
    ClipSettings,
    frames=st.integers(1, 40),
    sampling=st.sampled_from(["first", "uniform", "random", "sliding"]),
    stride=st.integers(1, 5),
    hop=st.none() | st.integers(1, 40),
    streams=st.sampled_from([("rgb",), ("difference",), ("rgb", "difference"), ("difference", "rgb")]),
    difference_span=st.integers(1, 40),
)


@given(any_clip)
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_stream_shows_what_its_definition_says(video, clip):
    """Against the plain way: decode everything, then pick, subtract and resize."""
    frames = read_frames(video, range(33))
    result = read_video(video, clip, 16, seed=1, name="v")
    expected = sample_clips(33, clip, 1, "v")
    assert result.n_frames == 33
    assert len(result.clips) == len(expected)
    for positions, indices in zip(result.clips, expected, strict=True):
        np.testing.assert_array_equal(result.indices[positions], indices)
    assert (np.diff(result.indices) > 0).all()
    assert set(result.streams) == set(clip.streams)
    later = np.minimum(result.indices + clip.difference_span, 32)
    earlier = np.maximum(result.indices - clip.difference_span, 0)
    plain = {"rgb": frames[result.indices], "difference": difference_image(frames[later], frames[earlier])}
    for stream in clip.streams:
        assert torch.equal(result.streams[stream], resize(plain[stream], 16))


def test_overlapping_clips_hold_each_frame_once(video):
    result = read_video(video, ClipSettings(frames=10, sampling="sliding", hop=1), 16, 0, "v")
    assert len(result.clips) == 24
    assert result.streams["rgb"].shape == (33, 3, 16, 16)


def test_few_decoded_frames_are_kept_and_only_needed_ones_decoded(video, monkeypatch):
    source, asked, kept = clips.open_video(video), [], []

    class Spy:
        n_frames = source.n_frames

        def read(self, indices):
            asked.extend(indices)
            for frame in source.read(indices):
                kept.append(frame.shape)
                yield frame

    monkeypatch.setattr(clips, "open_video", lambda *_: Spy())
    clip = ClipSettings(frames=3, sampling="uniform", streams=("difference",), difference_span=1)
    read_video(video, clip, 16, 0, "v")
    assert asked == [4, 6, 15, 17, 26, 28]
    assert len(kept) == 6


def test_a_short_video_makes_a_short_clip(tmp_path, videos):
    path = videos.write_frames(tmp_path / "v", 3)
    result = read_video(path, ClipSettings(frames=28, streams=("rgb", "difference")), 16, 0, "v")
    assert [len(positions) for positions in result.clips] == [3]
    assert result.streams["difference"].shape == (3, 3, 16, 16)


def test_results_travel_between_processes(video):
    result = pickle.loads(pickle.dumps(read_video(video, ClipSettings(frames=4), 16, 0, "v")))
    assert torch.equal(result.streams["rgb"], read_video(video, ClipSettings(frames=4), 16, 0, "v").streams["rgb"])


def test_a_broken_video_is_named(tmp_path):
    (tmp_path / "bad.avi").write_bytes(b"")
    with pytest.raises(WorkError, match=r"bad\.avi"):
        read_video(tmp_path / "bad.avi", ClipSettings(), 16, 0, "v")
