import json
import math
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_action.core.errors import ConfigError, WorkError
from snn_action.report import html
from snn_action.report.html import NO_VALUE, write_report
from snn_action.report.metrics import LEAKED, MARK

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects what tests ask of a page: cells by their metric, text, links, tags; checks that tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.metrics, self.links, self.tags, self.text, self.ids = {}, [], set(), "", []
        self.stack = []
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        self.links += [values[key] for key in ("src", "href", "xlink:href", "srcset", "action") if key in values]
        self.ids += [values["id"]] if "id" in values else []
        assert not [key for key in values if key.startswith("on")]
        if tag not in VOID:
            self.stack.append((tag, values.get("data-metric")))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        self.text += data
        for _, metric in self.stack:
            if metric:
                self.metrics[metric] = self.metrics.get(metric, "") + data


def read_page(path):
    return Page(path.read_text(encoding="utf-8"))


def read_percent(text):
    return float(text.partition(" %")[0])


@pytest.mark.real_figures
def test_the_numbers_are_those_of_the_metrics_file(reported_run):
    page = read_page(reported_run / "report.html")
    metrics = json.loads((reported_run / "metrics.json").read_text())
    for kind in ("timestep", "last", "clip", "video"):
        for part in ("accuracy", "baseline"):
            assert read_percent(page.metrics[f"{part}.{kind}"]) == round(100 * metrics[part][kind], 1)
    assert read_percent(page.metrics["headline.model"]) == round(100 * metrics["accuracy"]["video"], 1)
    assert read_percent(page.metrics["headline.baseline"]) == round(100 * metrics["baseline"]["video"], 1)
    gain = 100 * (metrics["accuracy"]["video"] - metrics["baseline"]["video"])
    assert page.metrics["headline.gain"] == f"{gain:+.1f}"
    assert read_percent(page.metrics["top5.video"]) == round(100 * metrics["top5"]["video"], 1)
    assert page.metrics["operations.backbone.dense_macs"] == "4.82 G"
    assert page.metrics["operations.model.effective_macs"] == "1.25 M"
    assert page.metrics["operations.model.effective_acs"] == "734 k"
    assert page.metrics["operations.model.neuron_updates"] == "80 k"
    assert page.metrics["operations.model.state_updates"] == "8,192"
    assert page.metrics["operations.backbone.neuron_updates"] == NO_VALUE  # a run of an older version
    assert page.metrics["spikes.per_neuron_per_step"] == "0.0731"
    assert page.metrics["spikes.neurons"] == "5,000"
    assert page.metrics["seconds.train"] == "6.9 min"
    assert page.metrics["seconds.evaluate"] == "2.1 s"
    for words in ("synthetic, split 1", "mobilenet_v2 (rgb, difference)", "ensemble_array", "0123456789ab", "4 March"):
        assert words in page.text
    assert "the spikes of some hidden units" in page.text
    assert "80 of 5,000" in page.text
    assert "144 training, 48 validation, 48 test" in page.text


@pytest.mark.real_figures
def test_the_page_stands_alone(reported_run):
    path = reported_run / "report.html"
    page = read_page(path)
    assert page.links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    text = path.read_text(encoding="utf-8")
    assert "@import" not in text
    assert all(part.startswith("#") for part in text.split("url(")[1:])
    assert path.stat().st_size < 5e6
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.real_figures
def test_figures_are_png_files(reported_run):
    names = {path.name for path in (reported_run / "figures").iterdir()}
    learning = {f"learning_{quantity}.png" for quantity in ("video", "timestep", "loss")}
    clips = {f"clip_{number}.png" for number in (1, 2, 3)}
    assert names == learning | clips | {"anytime.png", "pairs.png", "per_class.png", "confusion.png"}
    for path in (reported_run / "figures").iterdir():
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert content.endswith(b"IEND\xaeB`\x82")
        assert len(content) > 2000


@pytest.mark.real_figures
def test_the_report_can_be_rebuilt_and_is_the_same(reported_run):
    first = (reported_run / "report.html").read_bytes()
    assert write_report(reported_run).read_bytes() == first


HOSTILE = ["<script>alert(1)</script>", "--></style><img src=x onerror=alert(2)>", "{{ 7 * 7 }}", 'a & b\'s "$c$"']


@pytest.mark.real_figures
def test_hostile_names_are_only_text(make_run):
    folder = make_run(names=HOSTILE, pairs=((HOSTILE[0], HOSTILE[1]),), notes=("<b onclick='x()'>bold</b>",))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["bad_videos"] = [{"video": "<iframe src='x'>.avi", "reason": "]]><script>"}]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    config = json.loads((folder / "config.json").read_text())
    config["name"] = "</title><script>alert(3)</script>"
    (folder / "config.json").write_text(json.dumps(config))
    page = read_page(write_report(folder))
    assert page.tags.isdisjoint({"script", "img", "iframe", "b"})
    for words in (*HOSTILE, "<iframe src='x'>.avi", "<b onclick='x()'>bold</b>", "</title><script>alert(3)</script>"):
        assert words in page.text
    assert "49" not in [part.strip() for part in page.text.split("\n")]


def test_folds_show_mean_and_deviation(make_run):
    folder = make_run(folds=3, skill=0.5)
    metrics = json.loads((folder / "metrics.json").read_text())
    page = read_page(write_report(folder))
    for number, fold in enumerate(metrics["folds"]):
        assert read_percent(page.metrics[f"folds.{number}.video"]) == round(100 * fold["accuracy"]["video"], 1)
        assert read_percent(page.metrics[f"folds.{number}.baseline"]) == round(100 * fold["baseline"]["video"], 1)
        assert fold["name"] in page.text
    mean, deviation = (100 * metrics[key]["accuracy"]["video"] for key in ("mean", "std"))
    assert deviation > 0
    assert page.metrics["headline.model"] == f"{mean:.1f} %"
    assert page.metrics["accuracy.video"] == f"{mean:.1f} % ± {deviation:.1f}"
    assert page.metrics["standard deviation.video"] == f"{deviation:.1f} %"
    assert "mean of 3 folds" in page.text
    assert "95 % interval" not in page.text


def test_clips_of_a_model_that_does_not_spike_say_nothing_of_spikes(make_run):
    page = read_page(write_report(make_run(spiking=False)))
    assert "Clips and the prediction" in page.text
    assert "hidden units" not in page.text


def test_what_a_run_lacks_is_said_or_left_out(make_run):
    folder = make_run(baseline=False, frames=False, spiking=False, names=["fall", "no fall"])
    (folder / "metrics.jsonl").unlink()
    (folder / "examples.npz").unlink()
    page = read_page(write_report(folder))
    assert "headline.baseline" not in page.metrics
    assert "evaluation.baseline is off" in page.text
    assert "This model does not spike" in page.text
    assert "none: the features came with the dataset" in page.text
    assert "Learning curves" not in page.text
    assert "Clips and the prediction" not in page.text
    assert "of only 2 classes" in page.text
    assert page.metrics["seconds.extract"] == NO_VALUE


def test_notes_and_bad_videos_are_shown(make_run):
    page = read_page(write_report(make_run(notes=("no validation: groups are unknown",), bad=html.MOST_BAD_VIDEOS + 5)))
    assert "no validation: groups are unknown" in page.text
    assert f"{html.MOST_BAD_VIDEOS + 5} videos could not be read" in page.text
    assert "broken/v_99.avi" in page.text
    assert "broken/v_100.avi" not in page.text
    assert "and 5 more" in page.text


def leak(folder, clean=False):
    metrics = json.loads((folder / "metrics.json").read_text())
    leaks = [] if clean else [{"kind": "group", "fold": "1", "text": "3 groups stand on both sides (<b>a</b>)"}]
    metrics["leakage"] = {"clean": clean, "leaks": leaks, "checked": ["groups: known of 48 of 48 videos"]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return read_page(write_report(folder))


@pytest.mark.real_figures
@pytest.mark.parametrize("folds", [1, 3])
def test_leakage_marks_every_number_and_figure(make_run, folds):
    folder = make_run("leaked", folds=folds)
    page = leak(folder)
    results = {
        name: text
        for name, text in page.metrics.items()
        if text != NO_VALUE and name.split(".")[0] not in ("operations", "spikes", "seconds", "videos_per_second")
    }
    assert len(results) > 8
    assert [name for name, text in results.items() if MARK not in text] == []
    assert "3 groups stand on both sides (<b>a</b>)" in page.text
    assert "b" not in page.tags
    assert page.text.count(LEAKED) >= len(list((folder / "figures").iterdir())) > 5


@pytest.mark.real_figures
def test_leakage_is_written_across_every_picture(make_run):
    clean, leaked = make_run("clean", epochs=3), make_run("leaked", epochs=3)
    assert LEAKED not in leak(clean, clean=True).text
    leak(leaked)
    for path in (clean / "figures").iterdir():
        assert path.read_bytes() != (leaked / "figures" / path.name).read_bytes()


def test_a_clean_run_says_what_was_looked_at_and_bears_no_mark(make_run):
    page = leak(make_run(), clean=True)
    assert "groups: known of 48 of 48 videos" in page.text
    assert "Nothing was found" in page.text
    assert MARK not in page.text


def test_an_unfinished_run_gets_no_report(make_run):
    folder = make_run()
    (folder / "metrics.json").unlink()
    with pytest.raises(WorkError, match="--resume"):
        write_report(folder)
    assert not (folder / "report.html").exists()
    assert not (folder / "figures").exists()


def test_a_report_that_cannot_be_written_names_the_place(make_run):
    folder = make_run()
    (folder / "figures").write_text("in the way")
    with pytest.raises(WorkError, match="figures: cannot write the report"):
        write_report(folder)


def test_no_run_folder_is_wrong_usage(tmp_path):
    with pytest.raises(ConfigError):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (None, NO_VALUE),
        (math.nan, NO_VALUE),
        (0, "0"),
        (7.25, "7.25"),
        (5000, "5,000"),
        (9990, "9,990"),
        (12_345, "12.3 k"),
        (999_900, "1 M"),
        (4.82e9, "4.82 G"),
        (2.5e13, "25 T"),
    ],
)
def test_counts(number, words):
    assert html.format_count(number) == words


def test_seconds_and_points():
    assert [html.format_seconds(s) for s in (None, 0.25, 119.96, 412.7, 7200)] == [
        NO_VALUE,
        "0.2 s",
        "120.0 s",
        "6.9 min",
        "2.0 h",
    ]
    assert html.format_points(-0.0123) == "\N{MINUS SIGN}1.2"
    assert html.format_points(0.175) == "+17.5"
    assert html.format_points(-0.0001) == "+0.0"


@given(videos=st.integers(1, 10_000), data=st.data())
def test_the_interval_is_wilsons(videos, data):
    correct = data.draw(st.integers(0, videos))
    low, high = html.estimate_interval(correct, videos)
    share, z = correct / videos, 1.959964
    assert 0 <= low <= share <= high <= 1
    for edge in (low, high):  # the edges are where the observed share is z standard errors away
        if 0 < edge < 1:
            assert abs(share - edge) == pytest.approx(z * math.sqrt(edge * (1 - edge) / videos), abs=1e-6)
