from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from snn_action.core.errors import ConfigError
from snn_action.core.settings import make_settings
from snn_action.video.clips import read_video
from snn_action.video.decode import read_frames
from snn_action.video.frame_augmentation import FrameDraw, draw_frames
from snn_action.video.settings import ClipSettings, FrameAugmentSettings
from snn_action.video.transforms import difference_image, resize

SAME = FrameDraw(0.0, 0.0, 1.0, 1.0, False, 1.0, 1.0, 1.0, 0.0)
settings = st.builds(
    FrameAugmentSettings,
    versions=st.just(1),
    crop=st.floats(0.01, 0.9),
    flip=st.booleans(),
    color=st.floats(0, 0.9),
    blur=st.floats(0, 0.1),
)


def make_frame(high=12, wide=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (high, wide, 3), np.uint8)


def test_nothing_drawn_changes_nothing():
    np.testing.assert_array_equal(SAME.apply(make_frame()), make_frame())


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"flip": True}, lambda x: x[:, ::-1]),
        ({"left": 0.25, "top": 0.5, "width": 0.5, "height": 0.25}, lambda x: x[6:9, 5:15]),
        ({"brightness": 0.5}, lambda x: np.rint(0.5 * x.astype(float))),
        ({"contrast": 0.5}, lambda x: np.rint(127.5 + 0.5 * (x - 127.5))),
        ({"contrast": 3.0}, lambda x: np.clip(np.rint(127.5 + 3 * (x - 127.5)), 0, 255)),
        ({"saturation": 0.0}, lambda x: np.rint(x @ [0.299, 0.587, 0.114])[..., None].repeat(3, 2)),
        ({"blur": 0.25}, lambda x: np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(3)))),
    ],
)
def test_each_change_is_what_its_definition_says(change, wanted):
    frame = make_frame()
    found = replace(SAME, **change).apply(frame)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert abs(found.astype(float) - wanted(frame).astype(float)).max() <= 1
    np.testing.assert_array_equal(frame, make_frame())  # the decoder's own frame stays


@given(settings, st.integers(1, 40), st.integers(1, 40), st.integers(0, 99), st.booleans())
def test_every_draw_gives_a_frame_within_its_limits(asked, high, wide, version, sided):
    draw = draw_frames(asked, 0, version, "v", sided)
    found = draw.apply(make_frame(high, wide))
    least = 1 - asked.crop
    assert round(least * high) <= max(1, found.shape[0]) <= high
    assert round(least * wide) <= max(1, found.shape[1]) <= wide
    assert 0 <= draw.left <= 1 - draw.width + 1e-12
    assert 0 <= draw.top <= 1 - draw.height + 1e-12
    assert not (draw.flip and (sided or not asked.flip))
    assert all(abs(value - 1) <= asked.color for value in (draw.brightness, draw.contrast, draw.saturation))
    assert 0 <= draw.blur <= asked.blur


def test_a_draw_is_fixed_by_seed_version_and_name():
    asked = FrameAugmentSettings(versions=1, flip=True, blur=0.05)
    one = draw_frames(asked, 3, 2, "v", sided=False)
    assert draw_frames(asked, 3, 2, "v", sided=False) == one
    others = [draw_frames(asked, *parts, sided=False) for parts in ((4, 2, "v"), (3, 1, "v"), (3, 2, "w"))]
    assert all(other.left != one.left for other in others)
    assert (round(one.width, 6), round(one.brightness, 6)) == (0.85798, 0.865599)  # for ever


def test_half_of_the_versions_are_flipped():
    asked = FrameAugmentSettings(versions=1, flip=True)
    flipped = sum(draw_frames(asked, 0, version, "v", sided=False).flip for version in range(1000))
    assert abs(flipped - 500) < 6 * np.sqrt(250)


def test_a_video_is_changed_in_all_its_streams_alike(tmp_path, videos):
    video = videos.write(tmp_path / "a.avi", 12)
    draw = FrameDraw(0.1, 0.2, 0.7, 0.6, True, 1.1, 0.9, 0.8, 0.01)
    clip = ClipSettings(frames=5, sampling="uniform", streams=("rgb", "difference"), difference_span=2)
    result = read_video(video, clip, 16, seed=0, name="v", draw=draw)
    frames = np.stack([draw.apply(frame) for frame in read_frames(video, range(12))])
    later, earlier = (np.clip(result.indices + by, 0, 11) for by in (2, -2))
    np.testing.assert_array_equal(result.streams["rgb"], resize(frames[result.indices], 16))
    motion = difference_image(frames[later], frames[earlier])
    np.testing.assert_array_equal(result.streams["difference"], resize(motion, 16))
    assert result.draw == draw


def test_versions_that_change_nothing_are_an_error():
    with pytest.raises(ConfigError, match="all would be the plain one"):
        make_settings(object, FrameAugmentSettings, None, {"versions": 2, "crop": 0.0, "color": 0.0})
