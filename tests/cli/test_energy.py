import json
import re
import shutil

import numpy as np
import pytest

from snn_action.config import make_config
from snn_action.core import run_access
from snn_action.evaluation.energy.targets import list_targets
from snn_action.report import write_report
from snn_action.runs import pipeline

SPIKING = {"type": "spiking_lmu", "units": 12, "order": 2, "theta": 6.0, "memory_d": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that all tests of this module copy."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("energy")
    labels = np.repeat([0, 1, 2], 8)
    features = rng.normal(size=(24, 6, 5)) + 2 * rng.normal(size=(3, 5))[labels][:, None]
    names = np.array(["Archery", "Bowling", "Diving"])
    ids = np.array([f"{names[k]}/v_{names[k]}_g{n % 8 + 1:02d}_c01.avi" for n, k in enumerate(labels)])
    split = np.array(["test" if n % 8 < 2 else "train" for n in range(24)])
    path = folder / "features.npz"
    np.savez(path, features=features, labels=labels, class_names=names, video_ids=ids, split=split)
    config = {
        "name": "energy",
        "save_dir": str(folder / "save"),
        "device": "cpu",
        "dataset": {"type": "features", "path": str(path)},
        "model": SPIKING,
        "training": {"epochs": 1},
    }
    return pipeline.run(make_config(config), run_id="one").folder


@pytest.fixture
def finished(made, tmp_path):
    return shutil.copytree(made, tmp_path / "one")


def test_energy_of_a_run(finished, command, tmp_path):
    code, out, _ = command("energy", finished, "--layers", "--chip", "xylo", "--json", tmp_path / "e.json")
    assert code == 0
    for name in list_targets():
        assert re.search(rf"^{name} +[\d.]+", out, re.MULTILINE), out
    assert "Estimates, not measurements, in microjoules for one clip of 6 time steps" in out
    assert re.search(r"^hidden neurons +head", out, re.MULTILINE)
    assert re.search(r"^neurons +12 +1000 +fits", out, re.MULTILINE)
    written = json.loads((tmp_path / "e.json").read_text())
    metrics = json.loads((finished / "metrics.json").read_text())
    assert written["estimates"] == metrics["energy"]["estimates"]
    assert [layer["name"] for layer in written["layers"]] == [
        layer["name"] for layer in metrics["energy"]["layers"]["head"]
    ]
    code, _, _ = command("energy", finished, "--bits", 32, "--json", tmp_path / "e.json")
    assert code == 0  # weights as they are: what the run's operations count
    sums = sum(layer["effective_macs"] for layer in json.loads((tmp_path / "e.json").read_text())["layers"])
    assert sums == metrics["operations"]["model"]["effective_macs"]


def test_a_target_of_ones_own_and_other_widths(finished, command, tmp_path):
    from snn_action.evaluation.energy.targets import load_target

    own = json.loads(load_target("45nm").model_dump_json())
    own |= {"name": "mine", "mac": {"16": 1.0}, "ac": {"16": 1.0}, "neuron_update": {"16": 1.0}}
    (tmp_path / "mine.json").write_text(json.dumps({**own, "state_update": {"16": 1.0}}))
    code, out, _ = command("energy", finished, "--target", tmp_path / "mine.json", "--bits", 16, "--sources")
    assert code == 0
    assert re.search(r"^mine +[\d.]+", out, re.MULTILINE)
    assert "Horowitz" in out
    code, out, _ = command("energy", finished, "--target", "loihi2", "--bits", 32)
    assert code == 0
    assert "target loihi2: no figure of" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bits", "7"), "--bits 7: must be one of 4, 8, 16, 32"),
        (("--target", "45mn"), "unknown target '45mn'"),
        (("--chip", "loihi"), "unknown chip 'loihi'"),
    ],
)
def test_wrong_words(finished, command, words, message):
    code, _, errors = command("energy", finished, *words)
    assert code == 2
    assert message in errors


def test_runs_that_cannot_be_told(finished, command, tmp_path):
    assert command("energy", tmp_path / "none")[0] == 2
    metrics = json.loads((finished / "metrics.json").read_text())
    (finished / "metrics.json").write_text(json.dumps({**metrics, "energy": {"layers": 3}}))
    code, _, errors = command("energy", finished)
    assert code == 1
    assert "metrics.json: broken" in errors
    layers = {"head": [{"name": "x", "part": "head", "kind": "synapses", "steps": "many"}]}
    (finished / "metrics.json").write_text(json.dumps({**metrics, "energy": {"steps": 3, "layers": layers}}))
    code, _, errors = command("energy", finished)
    assert code == 1
    assert "steps of a layer is 'many'" in errors
    del metrics["energy"]
    (finished / "metrics.json").write_text(json.dumps(metrics))
    code, _, errors = command("energy", finished)
    assert code == 1
    assert "an older version wrote it; count them with: snn-action evaluate" in errors
    assert command("report", finished)[0] == 0
    (finished / "metrics.json").unlink()
    code, _, errors = command("energy", finished)
    assert code == 1
    assert "not finished" in errors


@pytest.mark.real_figures
def test_the_report_shows_the_card_and_the_figure(finished):
    page = write_report(finished).read_text()
    assert "mathdefault" not in page  # numbers on the axes are plain text
    assert 'id="energy"' in page
    assert "Estimates in microjoules, not measurements" in page
    assert (finished / "figures" / "energy.png").stat().st_size > 1000


def test_what_a_killed_run_leaves_of_any_figure_is_known_as_ours(finished):
    figures = [path.name for path in (finished / "figures").iterdir()]
    assert "energy.png" in figures
    assert all(run_access._OWN_FILE.fullmatch(name) for name in figures), figures
