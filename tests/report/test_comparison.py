import json
from html.parser import HTMLParser

import pytest

from snn_action.core.errors import ConfigError, WorkError
from snn_action.report import compare_runs, show_runs, write_comparison
from snn_action.report.comparison import HEADINGS
from snn_action.report.metrics import LEAKED, MARK


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.open = [], set(), False
        self.feed(text)

    def handle_starttag(self, tag, _attributes):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        self.open = tag in {"td", "th"}

    def handle_endtag(self, tag):
        self.open = self.open and tag not in {"td", "th"}

    def handle_data(self, data):
        if self.open:
            self.rows[-1][-1] += data


def test_rows_hold_the_numbers_of_the_runs(make_run):
    folders = [
        make_run("one"),
        make_run("two", folds=3, spiking=False),
        make_run("three", frames=False, baseline=False),
    ]
    one, two, three = compare_runs(folders)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    assert one.run == "fake/one"
    assert (one.dataset, one.features) == ("synthetic, split 1", "mobilenet_v2, rgb + difference")
    assert (one.model, two.model) == ("ensemble_array (rate)", "lstm")
    assert (one.video, one.timestep) == (metrics[0]["accuracy"]["video"], metrics[0]["accuracy"]["timestep"])
    assert one.video_std is None
    assert (two.video, two.video_std) == tuple(metrics[1][key]["accuracy"]["video"] for key in ("mean", "std"))
    assert two.baseline_std == metrics[1]["std"]["baseline"]["video"]
    assert (one.spikes, two.spikes) == (0.0731, None)
    assert (one.model_operations, one.backbone_operations) == (1.25e6 + 734500, 3.11e9)
    assert (three.features, three.baseline, three.backbone_operations) == ("given", None, None)
    assert one.train_seconds == 412.7


def test_dense_operations_stand_in_where_effective_ones_were_not_counted(make_run):
    folder = make_run()
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["operations"]["backbone"] = {"dense_macs": 5e9}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert compare_runs([folder])[0].backbone_operations == 5e9


def test_the_page_shows_every_row(make_run, tmp_path):
    rows = compare_runs([make_run("one"), make_run("two", skill=0.2)])
    path = write_comparison(rows, tmp_path / "comparison.html")
    text = path.read_text(encoding="utf-8")
    page = Cells(text)
    assert page.rows == [list(HEADINGS), list(rows[0].cells()), list(rows[1].cells())]
    assert text.count('class="best"') == 1
    assert "http" not in text
    assert "different videos" not in text


def test_runs_on_different_videos_are_not_ranked(make_run, tmp_path):
    rows = compare_runs([make_run("one"), make_run("two", videos=5)])
    text = write_comparison(rows, tmp_path / "c.html").read_text(encoding="utf-8")
    assert "do not compare their accuracies" in text
    assert 'class="best"' not in text


def test_hostile_names_are_only_text(make_run, capsys, tmp_path):
    folders = [make_run("one"), make_run("two")]
    for folder in folders:
        config = json.loads((folder / "config.json").read_text())
        config["name"] = "<script>[bold]x[/red]"
        (folder / "config.json").write_text(json.dumps(config))
    page = Cells(show_runs(folders, tmp_path / "c.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert page.rows[1][0] == "<script>[bold]x[/red]/one"
    assert "<script>[bold]x[/red]/one" in capsys.readouterr().out


def test_one_run_gets_its_report(make_run, capsys):
    folder = make_run()
    assert show_runs([folder]) == folder / "report.html"
    assert f"report: {folder / 'report.html'}" in capsys.readouterr().out


def test_several_runs_get_a_table_and_a_page_where_the_user_is(make_run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [make_run("one"), make_run("two", seed=3)]
    page = show_runs(folders)
    assert page.resolve() == tmp_path / "comparison.html"
    out = capsys.readouterr().out
    for row in compare_runs(folders):
        assert row.run in out
        assert f"{100 * row.video:.1f}" in out
    assert "All runs: dataset synthetic, split 1" in out
    assert not (folders[0] / "report.html").exists()


def test_a_page_never_takes_the_place_of_something_else(make_run, tmp_path):
    folders = [make_run("one"), make_run("two", seed=3)]
    own, other, link = (tmp_path / name for name in ("own.html", "other.html", "link.html"))
    assert show_runs(folders, own) == show_runs(folders, own)  # again, in the place of the first
    other.write_text("the user's own")
    link.symlink_to(own)
    for path in (other, link, tmp_path):
        with pytest.raises(ConfigError, match="is there and no comparison of runs; name another file by --out FILE"):
            show_runs(folders, path)
    assert other.read_text() == "the user's own"


def test_numbers_are_not_cut_in_a_narrow_terminal(make_run, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("snn_action.report.comparison.PIPE_WIDTH", 40)
    show_runs([make_run("one"), make_run("two", folds=3, frames=False, skill=0.5)])
    out = capsys.readouterr().out
    assert "…" not in out
    for heading in ("Baseline %", "Model ops", "Backbone ops", "Training"):
        assert heading in out
    assert out.count("6.9 min") == 2


def test_bad_runs_are_errors_and_leave_no_page(make_run, tmp_path):
    good, unfinished = make_run("one"), make_run("two")
    (unfinished / "metrics.json").unlink()
    with pytest.raises(WorkError, match="two: this run is not finished"):
        show_runs([unfinished])
    with pytest.raises(WorkError, match="none of these 2 runs is finished"):
        show_runs([unfinished, unfinished])
    with pytest.raises(ConfigError, match="nowhere"):
        show_runs([good, tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="at least one"):
        show_runs([])
    assert not (good.parent / "comparison.html").exists()


def test_of_several_runs_those_that_are_not_finished_are_left_out_with_a_word(make_run, caplog, tmp_path):
    comparison = tmp_path / "fake" / "comparison.html"
    one, two, unfinished = make_run("one"), make_run("two"), make_run("three")
    (unfinished / "metrics.json").unlink()
    log = one.parent / "failed.log"
    log.touch()
    page = show_runs(sorted(one.parent.iterdir()), comparison)
    assert page == comparison
    assert [row.run for row in compare_runs([one, two])] == [cells[0] for cells in Cells(page.read_text()).rows[1:]]
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"{log}: left out, not a run folder", f"{unfinished}: left out, this run is not finished"]
    page = show_runs(sorted(one.parent.iterdir()), comparison)  # the page itself is no run, either
    assert page == comparison


def test_a_page_that_cannot_be_written_is_an_error(make_run, tmp_path):
    with pytest.raises(WorkError, match="cannot write the comparison"):
        write_comparison(compare_runs([make_run()]), tmp_path / "no" / "such" / "folder.html")


def test_a_run_whose_test_leaked_is_marked_and_never_the_best(make_run):
    clean, leaked = make_run("clean"), make_run("leaked", seed=1)
    metrics = json.loads((leaked / "metrics.json").read_text())
    metrics["leakage"] = {"clean": False, "leaks": [{"kind": "group", "fold": "1", "text": "a"}], "checked": []}
    (leaked / "metrics.json").write_text(json.dumps(metrics))
    rows = compare_runs([clean, leaked])
    of = {heading: place for place, heading in enumerate(HEADINGS)}
    for heading in ("Video %", "Baseline %", "Step %"):
        assert rows[1].cells()[of[heading]].endswith(MARK)
        assert MARK not in rows[0].cells()[of[heading]]
    page = write_comparison(rows, clean.parent / "comparison.html").read_text()
    assert f"{MARK} {LEAKED}: fake/leaked" in page
    assert 'class="best"' not in page
