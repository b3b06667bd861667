import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snn_action.video.sampling import sample_clips
from snn_action.video.settings import ClipSettings

settings = st.builds(
    ClipSettings,
    frames=st.integers(1, 40),
    sampling=st.sampled_from(["first", "uniform", "random", "segments", "sliding"]),
    clips=st.integers(1, 5),
    stride=st.integers(1, 7),
    hop=st.none() | st.integers(1, 60),
)
lengths = st.integers(1, 300)


def clips_of(n_frames, seed=0, name="v", **options):
    return [clip.tolist() for clip in sample_clips(n_frames, ClipSettings(**options), seed, name)]


@given(lengths, settings)
def test_clips_hold_real_frames_once_in_order(n_frames, clip):
    clips = sample_clips(n_frames, clip, 0, "v")
    assert len(clips) >= 1
    for indices in clips:
        assert indices.dtype == np.int64
        assert 1 <= len(indices) <= clip.frames
        assert indices[0] >= 0
        assert indices[-1] < n_frames
        assert (np.diff(indices) > 0).all()


@given(lengths, st.integers(1, 40), st.text(max_size=5))
def test_random_takes_one_frame_of_each_equal_part(n_frames, frames, name):
    (indices,) = clips_of(n_frames, name=name, frames=frames, sampling="random")
    if n_frames <= frames:
        assert indices == list(range(n_frames))
    else:
        edges = [part * n_frames // frames for part in range(frames + 1)]
        assert len(indices) == frames
        assert all(low <= index < high for low, index, high in zip(edges, indices, edges[1:], strict=False))


@given(lengths, st.integers(1, 40))
def test_uniform_is_the_center_of_each_equal_part(n_frames, frames):
    (indices,) = clips_of(n_frames, frames=frames, sampling="uniform")
    if n_frames <= frames:
        assert indices == list(range(n_frames))
    else:
        centers = (np.arange(frames) + 0.5) * n_frames / frames
        assert (np.abs(np.array(indices) + 0.5 - centers) <= 0.5 + 1e-9).all()


@given(lengths, st.integers(1, 40), st.integers(1, 6))
def test_segments_have_one_frame_of_each_equal_part_at_their_offset(n_frames, frames, count):
    clips = clips_of(n_frames, frames=frames, clips=count, sampling="segments")
    assert len({tuple(clip) for clip in clips}) == len(clips) <= count
    if n_frames <= frames:
        assert clips == [list(range(n_frames))]
        return
    wanted = [
        [int((part + (piece + 0.5) / count) * n_frames / frames + 1e-9) for part in range(frames)]
        for piece in range(count)
    ]
    assert clips == [list(one) for one in dict.fromkeys(map(tuple, wanted))]
    assert clips_of(n_frames, frames=frames, clips=1, sampling="segments") == clips_of(
        n_frames, frames=frames, sampling="uniform"
    )


@given(lengths, settings.filter(lambda clip: clip.sampling == "sliding"))
@example(7, ClipSettings(frames=3, sampling="sliding", stride=2))
@example(6, ClipSettings(frames=3, sampling="sliding", stride=2))
def test_sliding_clips_are_whole_and_reach_the_end(n_frames, clip):
    clips = sample_clips(n_frames, clip, 0, "v")
    span = (clip.frames - 1) * clip.stride + 1
    assert n_frames - 1 - clips[-1][-1] < clip.stride
    if n_frames >= span:
        assert all(len(indices) == clip.frames for indices in clips)
        assert all((np.diff(indices) == clip.stride).all() for indices in clips)
        starts = [int(indices[0]) for indices in clips]
        hop = clip.hop or clip.frames * clip.stride
        assert starts[:-1] == [k * hop for k in range(len(starts) - 1)]
        assert len(starts) == 1 or 0 < starts[-1] - starts[-2] <= hop
    else:
        assert len(clips) == 1
        assert clips[0].tolist() == list(range(0, n_frames, clip.stride))


@given(lengths, st.integers(1, 12))
def test_sliding_without_overlap_covers_every_frame(n_frames, frames):
    clips = clips_of(n_frames, frames=frames, sampling="sliding")
    assert sorted({index for clip in clips for index in clip}) == list(range(n_frames))
    assert len(clips) == -(-n_frames // frames)


def test_known_samples():
    assert clips_of(100, frames=4) == [[0, 1, 2, 3]]
    assert clips_of(5, frames=4, stride=3) == [[0, 3]]
    assert clips_of(100, frames=4, sampling="uniform") == [[12, 37, 62, 87]]
    assert clips_of(3, frames=4, sampling="uniform") == [[0, 1, 2]]
    assert clips_of(10, frames=4, sampling="sliding") == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert clips_of(10, frames=4, sampling="sliding", hop=2)[1] == [2, 3, 4, 5]
    assert clips_of(8, frames=2, sampling="sliding", stride=2) == [[0, 2], [4, 6]]
    assert clips_of(24, frames=4, sampling="segments") == [[1, 7, 13, 19], [3, 9, 15, 21], [5, 11, 17, 23]]
    assert clips_of(5, frames=4, sampling="segments", clips=2) == [[0, 1, 2, 4], [0, 2, 3, 4]]


def test_random_is_fixed_by_seed_and_name_for_ever():
    draw = {"frames": 5, "sampling": "random"}
    assert clips_of(100, seed=3, name="a", **draw) == [[11, 31, 48, 77, 84]]
    assert clips_of(100, seed=4, name="a", **draw) != clips_of(100, seed=3, name="a", **draw)
    assert clips_of(100, seed=3, name="b", **draw) != clips_of(100, seed=3, name="a", **draw)


def test_random_draws_every_frame_of_a_part_about_equally():
    draws = np.concatenate([clips_of(20, name=str(k), frames=2, sampling="random") for k in range(2000)])
    counts = np.bincount(draws.ravel(), minlength=20)
    assert (abs(counts - 200) < 6 * np.sqrt(200)).all()


def test_a_video_without_frames_has_no_clips():
    with pytest.raises(ValueError, match="without frames"):
        clips_of(0)
