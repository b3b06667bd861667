import io
import re
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from PIL import Image

from snn_action.report import class_figures, figures, style
from snn_action.report.finished_run import Example, read_run
from snn_action.report.metrics import ClassResult, Epoch, Pair


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def history(*folds):
    return [
        Epoch.model_validate({"fold": str(fold), "epoch": epoch, "train": {"loss": loss, "video": 0.5}})
        for fold, losses in enumerate(folds)
        for epoch, loss in enumerate(losses)
    ]


def example(steps=10, classes=4, frames=True, spikes=None, hidden_units=0):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(classes), steps)
    pictures = np.full((steps, 20, 30, 3), 99, np.uint8) if frames else None
    return Example("clip", 1, tuple("abcdefghijkl"[:classes]), probabilities, pictures, spikes, hidden_units)


def test_learning_curves_draw_what_was_measured():
    epochs = history([3.0, 2.0, 1.0])
    assert figures.list_quantities(epochs) == ["video", "loss"]
    axes = figures.draw_learning(epochs, "loss").axes[0]
    (line,) = axes.lines
    assert list(line.get_xdata()) == [1, 2, 3]
    assert list(line.get_ydata()) == [3.0, 2.0, 1.0]


def test_the_mean_of_folds_ends_where_the_first_fold_stops():
    axes = figures.draw_learning(history([4.0, 2.0, 1.0], [2.0, 1.0]), "loss").axes[0]
    *thin, mean = axes.lines
    assert [len(line.get_xdata()) for line in thin] == [3, 2]
    assert list(mean.get_ydata()) == [3.0, 1.5]


def test_nothing_measured_is_no_figure():
    assert figures.list_quantities([]) == []
    assert figures.list_quantities([Epoch(fold="1", epoch=0)]) == []


def test_the_kept_epoch_is_marked():
    figure = figures.draw_learning(history([3.0, 2.0, 1.0]), "loss", best_epoch=1)
    assert figure.axes[0].lines[-1].get_xdata() == [2, 2]
    assert "kept" in texts(figure)


def test_anytime_curve():
    figure = figures.draw_anytime([0.2, 0.6, 0.9], [0.3, 0.3, 0.4], 10)
    model, baseline, guessing = figure.axes[0].lines
    assert list(model.get_ydata()) == [0.2, 0.6, 0.9]
    assert list(baseline.get_ydata()) == [0.3, 0.3, 0.4]
    assert set(guessing.get_ydata()) == {0.1}
    assert len(figures.draw_anytime([1.0], [], 2).axes[0].lines) == 2


@pytest.mark.parametrize("steps", [1, 2, 7, 28, 300])
def test_frames_stand_above_their_time_steps(steps):
    strip = figures.draw_clip(example(steps)).axes[0]
    assert len(strip.images) == min(steps, 8)
    extents = [image.get_extent() for image in strip.images]
    assert all(left[1] <= right[0] for left, right in pairwise(extents))
    assert all(left >= 0.5 and right <= steps + 0.5 for left, right, *_ in extents)


def test_frames_keep_their_shape():
    figure = figures.draw_clip(example(16))
    strip = figure.axes[0]
    left, right, *_ = strip.images[0].get_extent()
    box = strip.get_window_extent()
    assert (right - left) / 16 * box.width / box.height == pytest.approx(30 / 20, rel=0.05)


def test_the_actual_class_is_always_shown():
    clip = example(classes=12, frames=False)
    clip.probabilities[:, 1] = 0
    labels = [text for text in texts(figures.draw_clip(clip)) if text == "b (actual)"]
    assert labels == ["b (actual)"]


def dots(axes):
    """Time and row of each dot of a raster."""
    (line,) = axes.lines
    x, y = line.get_data()
    return [(float(time), int(row)) for time, row in zip(x[::3], y[::3], strict=True)]


def test_spikes_stand_between_frames_and_prediction():
    spikes = np.zeros((10, 4), np.uint8)
    spikes[[0, 8], 0] = 1  # on the whole at step 5
    spikes[9, 2] = 2
    spikes[2, 3] = 1
    figure = figures.draw_clip(example(spikes=spikes, hidden_units=2048))
    strip, raster, prediction = figure.axes
    assert strip.get_position().y0 > raster.get_position().y1 > raster.get_position().y0 > prediction.get_position().y1
    assert raster.get_xlim() == prediction.get_xlim() == strip.get_xlim()
    assert dots(raster) == [(3, 0), (1, 1), (9, 1), (9.75, 2), (10.25, 2)]  # and a row below for the silent unit
    assert raster.get_ylim() == (3.5, -0.5)
    assert "4 of 2,048\nhidden units" in texts(figure)


@pytest.mark.parametrize(("steps", "units"), [(1, 1), (1, 80), (300, 80), (28, 3), (16, 24)])
def test_every_spike_is_drawn_and_stands_apart(steps, units):
    figure = figures.draw_clip(example(steps, frames=False, spikes=np.ones((steps, units), np.uint8), hidden_units=80))
    raster = figure.axes[0]
    box, size = raster.get_window_extent(), raster.lines[0].get_linewidth() * figure.dpi / 72
    assert 0 < size < min(box.width / steps, box.height / units)
    picture = np.asarray(Image.open(io.BytesIO(style.to_png(figure))).convert("L"))
    places = raster.transData.transform(dots(raster)) / figure.dpi * 150  # from the lower left corner
    dark = [picture[int(len(picture) - y), int(x)] < 160 for x, y in places]
    assert len(dark) == steps * units
    assert all(dark)
    paths = re.findall(r'<path d="([^"]*)"[^>]*stroke-linecap: round"', style.to_svg(figure, "clip_1"))
    assert [path.count("M ") for path in paths][:1] == [steps * units]


def test_a_storm_of_spikes_is_a_line():
    figure = figures.draw_clip(example(spikes=np.full((10, 2), 70_000, np.uint32), hidden_units=2))
    times = np.array([time for time, row in dots(figure.axes[1]) if row == 0])
    width = figure.axes[1].get_window_extent().width / 10
    assert np.diff(times).max() * width < figure.axes[1].lines[0].get_linewidth() * figure.dpi / 72
    assert len(times) < 1000


def test_a_clip_without_a_spike_can_be_drawn():
    figure = figures.draw_clip(example(spikes=np.zeros((10, 5), np.uint8), hidden_units=5))
    assert dots(figure.axes[1]) == []
    assert style.to_svg(figure, "clip_1").startswith("<svg")


def test_labels_are_moved_apart_in_their_order():
    heights = [0.5, 0.5, 0.52, 1.0, 0.0]
    moved = figures._spread(heights, gap=0.1)
    assert np.diff(sorted(moved)).min() >= 0.1 - 1e-9
    assert min(moved) >= 0
    assert max(moved) <= 1
    assert list(np.argsort(moved, kind="stable"))[-1] == 3


@pytest.mark.parametrize("classes", [2, 10, 20, 21, 101])
def test_confusion_matrix(classes):
    counts = np.eye(classes, dtype=np.int64) * 3
    counts[0, 1], counts[1] = 1, 0  # and a class without test videos
    figure = class_figures.draw_confusion([f"class {i}" for i in range(classes)], counts)
    shares = figure.axes[0].images[0].get_array()
    assert shares[0, 0] == 0.75
    assert shares[1].sum() == 0
    assert ("3" in texts(figure)) == (classes <= 20)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [f"class {i}" for i in range(classes)]
    width, height = figure.get_size_inches()
    assert width < 13
    assert height < 13


@pytest.mark.parametrize(("classes", "tested"), [(2000, 2000), (2000, 3), (129, 129), (500, 140)])
def test_a_confusion_matrix_of_very_many_classes_shows_the_most_frequent_mistakes(classes, tested):
    counts = np.zeros((classes, classes), np.int64)
    counts[range(tested), range(tested)] = 5
    counts[2, 1], counts[tested - 1, 0] = 4, 3
    figure = class_figures.draw_confusion([f"class {i}" for i in range(classes)], counts)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {"class 0", "class 1", "class 2", f"class {tested - 1}"} <= set(names)
    assert len(names) == min(tested, 60)
    shares = figure.axes[0].images[0].get_array()
    assert shares[names.index("class 2"), names.index("class 1")] == pytest.approx(4 / counts[2].sum())
    assert len(style.to_svg(figure, "confusion")) < 150_000
    assert max(figure.get_size_inches()) < 13


def test_a_matrix_without_mistakes_shows_the_classes_of_the_most_videos():
    counts = np.diag(np.arange(1, 201))
    assert class_figures.choose_classes(counts).tolist() == list(range(140, 200))


def test_bars_of_very_many_classes_are_the_best_and_the_worst():
    results = {f"c{i:04}": ClassResult(correct=i, videos=2000, accuracy=i / 2000) for i in range(2000)}
    figure = class_figures.draw_per_class(results, {})
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert names == [[f"c{i:04}" for i in range(1999, 1959, -1)], [f"c{i:04}" for i in range(39, -1, -1)]]
    assert "the best 40 of 2,000 classes" in texts(figure)
    assert max(figure.get_size_inches()) < 13


def test_per_class_bars_are_sorted_and_skip_untested_classes():
    results = {
        "low": ClassResult(correct=1, videos=4, accuracy=0.25),
        "none": ClassResult(correct=0, videos=0),
        "high": ClassResult(correct=4, videos=4, accuracy=1.0),
    }
    other = {"low": ClassResult(correct=2, videos=4, accuracy=0.5)}
    axes = class_figures.draw_per_class(results, other).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["high", "low"]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 0.25]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.5, 0.5]]


def test_many_classes_stand_in_two_columns():
    results = {f"c{i:03}": ClassResult(correct=i, videos=101, accuracy=i / 101) for i in range(101)}
    figure = class_figures.draw_per_class(results, {})
    assert [len(axes.patches) for axes in figure.axes] == [51, 50]
    assert "baseline" not in texts(figure)


def test_pairs():
    pairs = [Pair(classes=("a", "b"), model=0.9, baseline=0.5), Pair(classes=("c", "d"), model=None, baseline=0.05)]
    axes = class_figures.draw_pairs(pairs).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.9, 0.5, 0.05]
    lonely = class_figures.draw_pairs([Pair(classes=("a", "b"), model=0.9)])
    assert "baseline" not in texts(lonely)


def test_svg_follows_the_page_and_is_the_same_each_time(make_run):
    run = read_run(make_run())
    one, two = (style.to_svg(figures.draw_clip(run.examples[0]), "clip_1") for _ in range(2))
    assert one == two
    assert "var(--model)" in one
    assert not any(color in one for color in style.COLORS.values())
    assert "<style" not in one
    assert "<g id=" not in one


def test_figures_leave_matplotlib_as_they_found_it():
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 40, "text.parse_math": True}):
        figure = figures.draw_anytime([0.5, 0.6], [], 2)
        assert matplotlib.rcParams["font.size"] == 40
    assert dict(matplotlib.rcParams) == before
    assert figure.axes[0].xaxis.label.get_fontsize() == 9


@pytest.mark.parametrize(
    "name", ["$x_{$", "a$b$c", "_hidden", "line\nbreak", "tab\tnul\0", "動作", "x" * 300, "", "%s"]
)
def test_any_class_name_can_be_drawn(name):
    figure = class_figures.draw_confusion([name, "other"], np.array([[1, 2], [3, 4]]))
    assert style.to_png(figure).startswith(b"\x89PNG\r\n\x1a\n")
    assert style.to_svg(figure, "confusion").startswith("<svg")
    assert len(style.shorten(name)) <= style.LONGEST_LABEL
