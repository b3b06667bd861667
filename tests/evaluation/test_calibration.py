"""A calibration: fitted, written, read again, and refused where it is none."""

import json
from dataclasses import replace

import numpy as np
import pytest

from snn_action.core.errors import ConfigError
from snn_action.evaluation import ClipPredictions
from snn_action.evaluation.calibration import calibrate, parse_calibration, read_calibration
from snn_action.evaluation.segment_calibration import SegmentCalibration
from snn_action.evaluation.temperature import fit_temperature


@pytest.fixture
def said():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 1, 3)) * 4
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    label = np.where(rng.random(40) < 0.7, logits[:, 0].argmax(1), 0)
    mask = np.ones((40, 1), bool)
    totals = np.log(np.exp(logits).sum(-1))
    return ClipPredictions(shares, mask, label, np.arange(40), None, totals=totals)


def test_what_is_fitted(said):
    found = calibrate(said, 0.9, 7, own_model=True)
    assert found.temperature == fit_temperature(said.probabilities[:, 0], said.label)
    assert (found.score, found.videos, found.groups) == ("maximum_softmax", 40, 7)
    scores = found.rate(said)
    assert (scores <= found.threshold).sum() == 36
    assert (scores <= found.with_share(1.0).threshold).all()
    np.testing.assert_allclose(found.sharpen(said.probabilities[:, 0]).max(1), 1 - scores)


def test_videos_of_a_background_class_set_no_threshold(said):
    found = calibrate(said, 1.0, 7, own_model=True, background=0)
    assert len(found.known_scores) == (said.label != 0).sum()
    assert found.videos == 40


def test_it_is_written_and_read_again(said, tmp_path):
    found = calibrate(said, 0.9, 7, own_model=False, auroc={"maximum_softmax": 0.6, "energy": 0.9})
    assert found.score == "energy"
    (tmp_path / "calibration.json").write_text(found.to_json())
    assert read_calibration(tmp_path / "calibration.json") == found
    assert json.loads(found.to_json())["threshold"] == found.threshold
    assert read_calibration(tmp_path / "other.json") is None


def assert_refused(content, tmp_path, says):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=says) as caught:
        read_calibration(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "remove it" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("version", 2, "newer version"),
        ("version", None, "no version"),
        ("temperature", 0, "temperature"),
        ("temperature", "1", "temperature"),
        ("score", "softmax", "score"),
        ("known_share", 1.5, "share"),
        ("known_scores", [], "scores"),
        ("known_scores", [True], "scores"),
        ("auroc", {"energy": 1}, "AUROC"),
        ("videos", 0, "fitted on"),
        ("own_model", 1, "fitted on"),
        ("stop", 1.5, "to stop at"),
        ("earliest", 0, "to stop at"),
    ],
)
def test_what_is_none_is_refused_by_its_name(said, tmp_path, key, value, says):
    content = calibrate(said, 0.9, 7, own_model=False).to_content() | {key: value}
    with pytest.raises(ValueError, match=says):
        parse_calibration(content)
    assert_refused(content, tmp_path, says)


def test_what_streams_told_is_written_and_read_again(said, tmp_path):
    plain = calibrate(said, 0.9, 7, own_model=True)
    assert plain.segments is plain.make_judge("abc", None) is None
    found = replace(plain, segments=SegmentCalibration(0.7, (0.1, 0.2, 0.3)))
    (tmp_path / "calibration.json").write_text(found.to_json())
    assert read_calibration(tmp_path / "calibration.json") == found
    assert json.loads(found.to_json())["segments"]["threshold"] == 0.3
    judge = found.with_share(0.3).make_judge("abc", "c")
    assert (judge.threshold, judge.temperature, judge.score, judge.background) == (0.1, 0.7, found.score, "c")


def test_a_file_from_before_streams_were_calibrated_is_read(said):
    content = calibrate(said, 0.9, 7, own_model=True).to_content()
    del content["segments"]
    assert parse_calibration(content) == calibrate(said, 0.9, 7, own_model=True)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (3, "streams"),
        ([], "streams"),
        ({}, "segments: the temperature"),
        ({"temperature": 1}, "segments: its scores"),
        ({"temperature": float("nan"), "known_scores": [1]}, "NaN is no number"),
        ({"temperature": 1, "known_scores": []}, "segments: its scores"),
        ({"temperature": 1, "known_scores": [0.5, float("inf")]}, "Infinity is no number"),
        ({"temperature": 1, "known_scores": [10**400]}, "not a calibration"),
        ({"temperature": 1, "known_scores": ["0.5"]}, "segments: its scores"),
        ({"temperature": 1000, "known_scores": [0.5]}, "segments: the temperature"),
    ],
)
def test_what_streams_cannot_have_told_is_refused(said, tmp_path, value, says):
    content = calibrate(said, 0.9, 7, own_model=False).to_content() | {"segments": value}
    assert_refused(content, tmp_path, says)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 5000, '{"version": NaN}'])
def test_what_is_no_json_object_is_refused(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not a calibration"):
        read_calibration(path)
