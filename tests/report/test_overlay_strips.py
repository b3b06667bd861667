"""What stands under a video: of an unknown action its course is gray, and a row says so."""

import numpy as np
import pytest

from snn_action.report.overlay_strips import _COLORS, _COURSE, _FAINT, _LABEL, _MARGIN, _ROW, _SHOWN, Strips

PICTURE = np.full((60, 480, 3), 200, np.uint8)


def draw(verdicts, seconds=10.0):
    strips = Strips(["walk", "run", "jump"])
    strips.put_under(PICTURE)
    for step, verdict in enumerate(verdicts):
        strips.add((step + 1) * seconds / len(verdicts), np.array([0.7, 0.2, 0.1]), None, verdict)
    return strips, strips.put_under(PICTURE)[60:]


def find_course(image):
    """A row of pixels low in the course."""
    row = image.shape[0] - _MARGIN - 3
    return image[row, _MARGIN:-_MARGIN].astype(int)


def count(pixels, color):
    return (abs(pixels - np.array(color)).sum(1) < 12).sum()


def test_the_course_of_an_unknown_action_is_gray_and_named():
    strips, image = draw([False] * 20 + [True] * 20)
    course = find_course(image)
    known, unknown = course[: len(course) // 2 - 15], course[len(course) // 2 + 15 :]
    assert count(known, _COLORS[0]) == len(known)
    assert count(unknown, _FAINT) == len(unknown)
    assert [k for _, k in strips._runs] == [0, -1]


def test_the_first_row_says_whether_it_is_known():
    row = slice(_MARGIN, _MARGIN + _ROW)
    (_, plain), (_, known), (_, unknown) = (draw([verdict] * 4) for verdict in (None, False, True))
    height = _MARGIN + _SHOWN * _ROW + _LABEL + _COURSE + _MARGIN
    assert (len(plain), len(known), len(unknown)) == (height, height + _ROW, height + _ROW)
    assert (plain[_MARGIN + 8, _MARGIN + 3] == _COLORS[0]).all()
    assert (known[_MARGIN + _ROW + 8, _MARGIN + 3] == _COLORS[0]).all()
    assert known[row].max() <= max(_FAINT) < unknown[row].max()
    np.testing.assert_array_equal(known[_MARGIN + _ROW : height - _COURSE], unknown[_MARGIN + _ROW : height - _COURSE])


@pytest.mark.parametrize("seconds", [0.01, 400.0])
def test_changes_within_a_column_and_long_pauses(seconds):
    strips, image = draw([True, False, True], seconds)
    assert image.shape[0] % 2 == 0
    assert strips._runs[-1][1] == -1
