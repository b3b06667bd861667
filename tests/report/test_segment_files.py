"""Segments as WebVTT, CSV and JSON."""

import csv
import io
import json

import pytest

from snn_action.core.errors import ConfigError
from snn_action.evaluation.segments import Segment
from snn_action.report.segment_files import check_segment_file, to_csv, to_json, to_vtt, write_segments

FOUND = {
    "=1+1.mp4": [Segment("walk & <run> --> x", 0.0, 3661.234, 0.876), Segment("b", 3.0, 3.0001, 0.5)],
    "b.mp4": [Segment("-2+3", 1, 2, 0.5)],
}


def test_subtitles():
    text = to_vtt({"a": FOUND["=1+1.mp4"]})
    assert text == "WEBVTT\n\n00:00:00.000 --> 01:01:01.234\nwalk &amp; &lt;run&gt; --&gt; x (88 %)\n"


def test_a_table_without_formulas():
    rows = [*csv.reader(io.StringIO(to_csv(FOUND)))]
    assert rows[0] == ["source", "class", "start", "end", "confidence"]
    assert rows[1] == ["'=1+1.mp4", "walk & <run> --> x", "0.000", "3661.234", "0.8760"]
    assert rows[3][:2] == ["b.mp4", "'-2+3"]


def test_json():
    rows = json.loads(to_json(FOUND))
    assert rows[2] == {"source": "b.mp4", "class": "-2+3", "start": 1, "end": 2, "confidence": 0.5}


JUDGED = {
    "a": [Segment("walk", 0.0, 1.0, 0.9, False, 0.1, 0.25), Segment("<run>", 1.0, 2.5, 0.4, True, 0.6, 0.25)],
}


def test_an_unknown_segment_is_told_with_its_nearest_class():
    assert to_vtt(JUDGED).split("\n\n")[1:] == [
        "00:00:00.000 --> 00:00:01.000\nwalk (90 %)",
        "00:00:01.000 --> 00:00:02.500\nunknown, nearest: &lt;run&gt; (40 %)\n",
    ]
    rows = [*csv.reader(io.StringIO(to_csv(JUDGED)))]
    assert [row[-1] for row in rows] == ["unknown", "0", "1"]
    assert rows[2][:2] == ["a", "<run>"]
    known, unknown = json.loads(to_json(JUDGED))
    assert list(known) == ["source", "class", "start", "end", "confidence", "unknown", "score", "threshold"]
    assert (known["unknown"], unknown["unknown"], unknown["class"]) == (False, True, "<run>")
    assert (unknown["score"], unknown["threshold"]) == (0.6, 0.25)


def test_the_suffix_says_which(tmp_path):
    for suffix, begin in ((".vtt", "WEBVTT"), (".CSV", "source,"), (".json", "[")):
        write_segments(tmp_path / f"a{suffix}", {"a": FOUND["b.mp4"]})
        assert (tmp_path / f"a{suffix}").read_text().startswith(begin)
    with pytest.raises(ConfigError, match=r"ends in \.vtt, \.csv, \.json"):
        check_segment_file(tmp_path / "a.txt", 1)
    with pytest.raises(ConfigError, match="subtitles are of one video, here are 2"):
        check_segment_file(tmp_path / "a.vtt", 2)
    check_segment_file(tmp_path / "a.csv", 2)
