"""Configurations of absurd size or depth: one line, exit code 2, and little time."""

import json
import os

import pytest

BASE = {"name": "x", "dataset": {"type": "features", "path": "x.npz"}, "model": {"type": "lmu"}}

TEXTS = {
    "nested lists": ("[" * 100_000 + "]" * 100_000, "nested more than 64 deep"),
    "nested objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested more than 64 deep"),
    "a long number": (json.dumps(BASE)[:-1] + ', "seed": ' + "9" * 10_000 + "}", "not JSON"),
    "no number": (json.dumps(BASE)[:-1] + ', "seed": NaN}', "NaN is no number of JSON"),
    "a key twice": ('{"name": "x", "name": "y"}', "the key 'name' is there twice"),
    "a long file": ('{"name": "' + "x" * 2**24 + '"}', "more than 16,777,216 bytes"),
    "no text": ("\udcff", "not JSON"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_configuration_is_refused_in_a_line(name, command, tmp_path):
    text, reason = TEXTS[name]
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    code, _, said = command("run", "-c", path)
    assert code == 2
    (line,) = said.strip().splitlines()
    assert str(path) in line
    assert reason in line


def test_what_is_no_file_is_refused(command, tmp_path):
    (tmp_path / "folder.json").mkdir()
    paths = [tmp_path / "folder.json", tmp_path / "absent.json"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        paths.append(tmp_path / "pipe.json")
    for path in paths:
        code, _, said = command("run", "-c", path)
        assert code == 2
        assert f"error: {path}: cannot be read: " in said


ABSURD = [
    ("model.units", 10**12),
    ("model.memory_d", 10**12),
    ("clip.frames", 10**9),
    ("training.batch_size", 10**12),
    ("features.workers", 10**6),
    ("model", {"type": "ensemble_array", "n_neurons": 10**7}),
    ("model", {"type": "lstm", "layers": 10**6}),
    ("model", {"type": "ensemble_array", "neuron": {"type": "sliding_psn", "order": 10**9}}),
]


@pytest.mark.parametrize(("key", "value"), ABSURD, ids=lambda value: str(value)[:40])
def test_a_number_that_nobody_means_is_refused_by_its_key(key, value, command, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(BASE))
    code, _, said = command("run", "-c", path, "-o", f"{key}={json.dumps(value)}")
    assert code == 2
    assert f"  {key.partition('.')[0]}" in said
    assert "less than or equal to" in said


@pytest.mark.parametrize("override", [".".join("a" * 10_000) + "=1", "name=" + "[" * 50_000])
def test_overrides_of_absurd_depth(override, command, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(BASE))
    code, _, said = command("run", "-c", path, "-o", override)
    assert code == 2
    assert len(said) < 1000


def test_a_byte_order_mark_is_no_fault(command, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({**BASE, "save_dir": str(tmp_path / "save")}).encode())
    _, _, said = command("run", "-c", path)
    assert "x.npz: cannot be read" in said


def test_a_model_that_does_not_fit_into_memory_is_named(command, tmp_path, features_file):
    path = tmp_path / "a.json"
    model = {"type": "lmu", "units": 10**6, "memory_d": 10**6}
    dataset = {"type": "features", "path": str(features_file)}
    path.write_text(json.dumps({**BASE, "save_dir": str(tmp_path / "save"), "dataset": dataset, "model": model}))
    code, _, said = command("run", "-c", path)
    assert code == 2
    assert "model: one of this size does not fit into memory" in said
