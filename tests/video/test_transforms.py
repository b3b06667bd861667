import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from snn_action.video.transforms import difference_image, normalize, resize


def make_frames(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (144, 180), (35, 51)])
def test_resize_is_an_antialiased_bilinear_stretch(height, width):
    frames = make_frames(3, height, width, 3)
    images = resize(frames, 64)
    assert images.shape == (3, 3, 64, 64)
    assert images.dtype == torch.uint8
    for frame, image in zip(frames, images, strict=True):
        expected = np.asarray(Image.fromarray(frame).resize((64, 64), Image.Resampling.BILINEAR)).astype(int)
        assert abs(image.permute(1, 2, 0).numpy() - expected).max() <= 1


def test_a_frame_does_not_depend_on_the_others():
    frames = make_frames(4, 50, 70, 3)
    assert torch.equal(resize(frames, 32)[2], resize(frames[2:3], 32)[0])
    assert torch.equal(resize(frames[::-1], 32)[1], resize(frames, 32)[2])  # a view with negative strides


def test_normalize():
    clip = torch.randint(0, 256, (2, 3, 3, 5, 5), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (clip.double() / 255 - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).double().view(
        3, 1, 1
    )
    result = normalize(clip, mean, std)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected.float())


@given(*[hnp.arrays(np.uint8, (2, 3, 3), elements=st.integers(0, 255), unique=False, fill=st.nothing())] * 2)
def test_the_difference_image_is_its_formula(later, earlier):
    image = difference_image(later, earlier)
    assert image.dtype == np.uint8
    for new, old, value in zip(later.flat, earlier.flat, image.flat, strict=True):
        assert value == min(255, max(0, 128 + 2 * (int(new) - int(old))))


def test_where_nothing_moves_the_difference_is_gray():
    frame = make_frames(4, 5, 3)
    assert (difference_image(frame, frame) == 128).all()
