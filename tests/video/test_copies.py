import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from snn_action.video import alignment, copies
from snn_action.video.copies import CONTENT, LOOKS, MIRRORED, Copy, find_copies
from snn_action.video.perceptual import NO_PATTERN, SIDE, UNIT, Fingerprint

HEIGHT, WIDTH = 192, 256


def film(place, actor, n=40):
    """A place that stands still, and something that moves before it: a textured patch on a winding way."""
    scene, part = np.random.default_rng(place), np.random.default_rng(1000 + actor)
    ground = np.asarray(Image.fromarray(scene.integers(0, 256, (9, 12), np.uint8)).resize((WIDTH, HEIGHT), 3), float)
    patch = np.asarray(Image.fromarray(part.integers(0, 256, (5, 3), np.uint8)).resize((36, 60), 3), float)
    phases, start = part.uniform(0, 6, 2), part.uniform(0.2, 0.4)
    frames = []
    for time in range(n):
        frame = ground.copy()
        down = int((0.4 + 0.2 * np.sin(phases[0] + time / 5)) * (HEIGHT - 60))
        across = int((start + 0.4 * time / n + 0.1 * np.sin(phases[1] + time / 3)) * (WIDTH - 36))
        frame[down : down + 60, across : across + 36] = patch
        frames.append(frame)
    return np.stack(frames)


def fingerprint(frames, digest=None):
    cells = [Image.fromarray(f.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.HAMMING) for f in frames]
    pictures = np.stack([np.asarray(cell) for cell in cells])
    scores = (pictures - pictures.mean()) / np.sqrt(pictures.var((1, 2)).mean()) * UNIT
    return Fingerprint(digest, np.clip(np.rint(scores), -127, 127).astype(np.int8))


FILMS = [film(place, actor) for place, actor in ((0, 0), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5))]
PRINTS = [fingerprint(frames) for frames in FILMS]


def crop(frames, left, top, right, bottom):
    return frames[
        :, round(top * HEIGHT) : round((1 - bottom) * HEIGHT), round(left * WIDTH) : round((1 - right) * WIDTH)
    ]


def put_logo(frames):
    frames = frames.copy()
    frames[:, 6:30, -54:-6] = 250
    return frames


ALTERED = {
    "as it is": (lambda f: f, LOOKS),
    "brighter, of less contrast": (lambda f: 40 + f / 3, LOOKS),
    "noise": (lambda f: f + np.random.default_rng(0).normal(0, 8, f.shape), LOOKS),
    "mirrored": (lambda f: f[:, :, ::-1], MIRRORED),
    "reversed": (lambda f: f[::-1], LOOKS),
    "ends cut off": (lambda f: f[9:-8], LOOKS),
    "every second frame": (lambda f: f[::2], LOOKS),
    "frames shown twice": (lambda f: f.repeat(2, 0), LOOKS),
    "cropped at the left": (lambda f: crop(f, 0.06, 0, 0, 0), LOOKS),
    "cropped": (lambda f: crop(f, 0.05, 0.05, 0.05, 0.05), LOOKS),
    "a logo": (put_logo, LOOKS),
}


@pytest.mark.parametrize("how", ALTERED)
def test_a_copy_is_found_and_no_other_video_of_the_place(how):
    alter, word = ALTERED[how]
    altered = [fingerprint(alter(frames)) for frames in FILMS]
    assert find_copies(PRINTS, altered) == [Copy(place, place, word) for place in range(len(FILMS))]
    assert {(copy.right, copy.left) for copy in find_copies(altered, PRINTS)} == {(i, i) for i in range(len(FILMS))}


def test_parts_of_one_film_are_copies_only_where_they_overlap():
    frames = film(5, 9, 60)
    parts = [fingerprint(frames[first:last]) for first, last in ((0, 30), (15, 45), (30, 60))]
    found = {(copy.left, copy.right) for copy in find_copies(parts, parts) if copy.left < copy.right}
    assert found == {(0, 1), (1, 2)}


def test_a_part_of_a_long_video_is_found_on_either_side():
    parts = np.concatenate([film(20 + place, 30 + place) for place in range(8)])
    long, short = fingerprint(parts), fingerprint(parts[210:235])
    assert [(c.left, c.right) for c in find_copies([PRINTS[0], long], [short])] == [(1, 0)]
    assert [(c.left, c.right) for c in find_copies([short], [long, PRINTS[0]])] == [(0, 0)]


def test_the_same_content_is_a_copy_whatever_it_shows():
    plain, unreadable = Fingerprint("a", None, NO_PATTERN), Fingerprint("b", None, "damaged")
    unknown = Fingerprint(None, None, "absent")
    found = find_copies([plain, unreadable, unknown, PRINTS[0]], [unknown, unreadable, plain, Fingerprint("c", None)])
    assert found == [Copy(0, 2, CONTENT), Copy(1, 1, CONTENT)]
    both = [Fingerprint("x", PRINTS[0].pictures)]
    assert find_copies(both, both) == [Copy(0, 0, CONTENT)]


def test_still_videos_are_compared_by_their_picture():
    still = [fingerprint(frames[:1].repeat(20, 0)) for frames in FILMS]
    noisy = [fingerprint(frames[:1] + np.random.default_rng(0).normal(0, 1, (20, HEIGHT, WIDTH))) for frames in FILMS]
    found = {(copy.left, copy.right) for copy in find_copies(still, noisy)}
    assert {(place, place) for place in range(len(FILMS))} <= found
    assert all((min(pair) <= 2 and max(pair) <= 2) or pair[0] == pair[1] for pair in found)  # 0 to 2 are one place


def test_what_shows_nothing_and_what_is_not_there_resembles_nothing():
    flat = Fingerprint(None, np.zeros((9, SIDE, SIDE), np.int8))
    assert find_copies([flat], [flat]) == []
    assert find_copies([], PRINTS) == find_copies(PRINTS, []) == []
    assert find_copies([Fingerprint(None, PRINTS[0].pictures[:1])], PRINTS[:1]) in ([], [Copy(0, 0, LOOKS)])


def test_pairs_that_are_skipped_are_not_told():
    assert find_copies(PRINTS, PRINTS, lambda left, right: left == right) == []
    digests = [Fingerprint("x", None)]
    assert find_copies(digests, digests, lambda *_: True) == []


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 300), st.integers(1, 3))
def test_blocks_and_batches_change_nothing(block, batch):
    left, right = PRINTS[:4], PRINTS[2:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "_BLOCK", block)
        patch.setattr(copies, "_BATCH", batch)
        assert find_copies(left, right) == [Copy(2, 0, LOOKS), Copy(3, 1, LOOKS)]


@given(st.floats(0.85, 1.15), st.floats(-0.12, 0.12), st.floats(0.85, 1.15), st.floats(-0.12, 0.12))
@settings(max_examples=25, deadline=None)
def test_the_placement_of_one_picture_over_another_is_recovered(scale_x, shift_x, scale_y, shift_y):
    x, y = np.meshgrid((2 * np.arange(SIDE) + 1) / SIDE - 1, (2 * np.arange(SIDE) + 1) / SIDE - 1)

    def paint(x, y):
        return np.sin(3 * x + y) + np.cos(4 * y - 2 * x) + np.sin(5 * x * y + 1) + x

    a = 30 * paint(x, y)
    b = 12 * paint(scale_x * x + shift_x, scale_y * y + shift_y) + 5
    start = np.array([[1, 0, 1, 0]], np.float32)
    placement, fit = alignment.lay_over(a[None, None].astype(np.float32), b[None, None].astype(np.float32), start)
    np.testing.assert_allclose(placement[0], (scale_x, shift_x, scale_y, shift_y), atol=0.03)
    assert fit[0] > 0.99
