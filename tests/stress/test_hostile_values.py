"""Files of a run whose values are absurd: each is refused by its name, in a line, before work begins."""

import json

import numpy as np
import pytest

from snn_action.config import load_config
from snn_action.evaluation.calibration import Calibration
from snn_action.runs.answer import Prediction
from snn_action.runs.split_file import read_split
from snn_action.runs.timing import read_timing

pytestmark = pytest.mark.usefixtures("few_figures")


def put(content: object, place: str, value: object) -> object:
    *inner, last = (int(key) if key.isdecimal() else key for key in place.split("/"))
    node = content
    for key in inner:
        node = node[key]
    node[last] = value
    return content


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("splits.json", "backbone", [1]),
        ("splits.json", "class_names", ["one"]),
        ("splits.json", "class_names", ["one", "one"]),
        ("splits.json", "class_names", "abc"),
        ("splits.json", "folds/0/test", [1]),
        ("splits.json", "bad_videos", []),
        ("splits.json", "videos/Archery 1/label", 1e308),
        ("splits.json", "videos/Archery 1/more", "x"),
        ("splits.json", "settings", [[]]),
        ("metrics.jsonl", "0/seconds", [None]),
        ("metrics.jsonl", "0/seconds", 10**400),
        ("metrics.jsonl", "0/epoch", "0"),
        ("calibration.json", "temperature", 0),
        ("calibration.json", "segments", {"temperature": 1e308, "known_scores": [0.5]}),
        ("calibration.json", "segments", {"temperature": 1, "known_scores": [float("nan")]}),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_its_file(command, received, name, place, value):
    path = received / name
    text = path.read_text() if path.exists() else Calibration(1.5, "energy", (0.5,), 0.95, 3, 2, True).to_json()
    lines = name.endswith(".jsonl")
    content = put([json.loads(line) for line in text.splitlines()] if lines else json.loads(text), place, value)
    path.write_text("\n".join(map(json.dumps, content)) if lines else json.dumps(content))
    code, _, err = command("evaluate", received)
    assert (code, str(path) in err, "--debug" in err) == (2, True, False), err


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("energy/steps", "\x1b[2J"),
        ("energy/layers/head/0/parameters", 10**60),
        ("energy/layers/head/0/fan_in", 1e308),
        ("energy/layers/head/0/values", float("nan")),
        ("energy/layers/head/0", 3),
        ("energy/layers", []),
        ("energy", 3),
    ],
)
def test_absurd_counts_are_refused_by_their_file(command, received, place, value):
    path = received / "metrics.json"
    path.write_text(json.dumps(put(json.loads(path.read_text()), place, value)))
    code, _, err = command("energy", received)
    assert (code, f"{path}: broken" in err, "\x1b" in err) == (1, True, False), err


def test_names_of_layers_cannot_steer_a_terminal(command, received):
    path = received / "metrics.json"
    path.write_text(json.dumps(put(json.loads(path.read_text()), "energy/layers/head/0/name", "a\x1b[2Jb")))
    code, out, _ = command("energy", received, "--layers")
    assert (code, "\x1b" in out, r"a\x1b[2Jb" in out) == (0, False, True)


@pytest.mark.parametrize(
    "said", [{"frames": 1, "seconds": 1e308}, {"frames": 1e308, "seconds": 1}, [], {"frames": True}]
)
def test_steps_that_lie_absurdly_far_apart_are_not_believed(received, finished, said):
    (received / "timing.json").write_text(json.dumps(said))
    timing = read_timing(received, load_config(finished / "config.json"))
    assert timing is None or timing.choose_every(1000.0) < 10**13


def test_names_of_a_received_run_cannot_steer_a_terminal(command, received):
    """``click`` takes escapes out where nobody watches; a terminal gets them all."""
    path = received / "splits.json"
    path.write_text(path.read_text().replace("Archery", r"\u009b2J\u001b[31mArchery"))
    split = read_split(received)
    assert all(name.isprintable() for name in split.class_names)
    code, _, err = command("evaluate", received)
    assert code == 2
    assert "\x9b" not in err


def test_what_is_said_of_a_video_cannot_steer_a_terminal():
    said = Prediction("\x9b2J.avi", ("a\x9b", "b"), np.array([0.4, 0.6]), (), ())
    assert all(line.isprintable() for line in said.to_text().split("\n"))


def test_a_frame_size_of_thousands_of_digits_is_refused_in_a_line(command, received):
    code, _, err = command("predict", received, "-", "--frame-size", "9" * 5000 + "x1")
    assert (code, "give width and height in pixels" in err, len(err) < 200) == (2, True, True)
