import json
import re
import shutil

import numpy as np
import pytest

from snn_action.config import make_config
from snn_action.core import run_access
from snn_action.evaluation.energy.targets import list_targets, load_target
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


def test_weights_of_4_bits(finished, command, tmp_path):
    code, out, _ = command("energy", finished, "--bits", 4, "--chip", "akida", "--json", tmp_path / "e.json")
    assert code == 0
    assert "no figure of" not in out
    for name in list_targets():
        assert re.search(rf"^{name} +[\d.]+", out, re.MULTILINE), out
    assert "weights of 4 bits, activations and arithmetic of 8 bits" in out
    assert "that of matrices rounded to 4 bits" in out
    assert re.search(r"^weight_bits +4 +4 +fits", out, re.MULTILINE)
    written = json.loads((tmp_path / "e.json").read_text())
    assert (written["bits"], written["activation_bits"]) == (4, 8)


def test_bytes_ranges_and_frames(finished, command, tmp_path):
    words = ("--layers", "--target", "45nm", "--target", "loihi2", "--json", tmp_path / "e.json")
    code, out, _ = command("energy", finished, *words)
    assert code == 0
    assert "Bytes of a clip on 45nm:" in out
    assert "Bytes of a clip on loihi2:" in out
    assert re.search(r"^layer +part +run as +local read +local written +on chip read", out, re.MULTILINE)
    assert re.search(r"^hidden spikes +head +(events|dense) ", out, re.MULTILINE)
    assert re.search(r"^all +head +- +[\d.]+ k?B", out, re.MULTILINE)
    assert re.search(r"^target +model +its range +a step", out, re.MULTILINE)
    written = json.loads((tmp_path / "e.json").read_text())
    (row, _) = written["estimates"]
    low, high = row["ranges"]["head"]["low"], row["ranges"]["head"]["high"]
    assert (low, high) == (row["head"] / row["factor"], row["head"] * row["factor"])
    assert re.search(rf"^45nm +\S+ +{low:.3g} to {high:.3g} +{row['head'] / 6:.3g} ", out, re.MULTILINE)
    assert written["layers"][0]["bytes"].keys() == {"45nm", "loihi2"}
    shares = [
        {one: layer[one] for one in ("activation_sparsity", "connection_sparsity")} for layer in written["layers"]
    ]
    assert {"activation_sparsity": 0.0, "connection_sparsity": 0.0} in shares
    assert written["counts"]["head"]["frame"]["neuron_updates"] == 12
    code, out, _ = command("energy", finished, "--layers")
    assert out.count("Bytes of a clip on") == 1


def test_what_is_said_of_chips(finished, command):
    code, out, _ = command("energy", finished, "--chip", "akida", "--chip", "xylo", "--sources", "--target", "45nm")
    assert code == 0
    assert re.search(r"^recurrence +1 +- +does not fit +a layer is connected to itself", out, re.MULTILINE)
    assert re.search(r"^inputs +5 +16 +fits", out, re.MULTILINE)
    assert re.search(r"^outputs +3 +8 +fits", out, re.MULTILINE)
    assert "chip akida: BrainChip Akida AKD1000\n80 units for 1.2 million neurons" in out
    assert "- SynSense, Rockpool documentation" in out
    assert "- BrainChip" not in command("energy", finished, "--chip", "xylo", "--sources")[1]
    (finished / "config.json").write_text("[]")
    code, out, _ = command("energy", finished, "--chip", "akida")
    assert code == 0
    assert re.search(r"^recurrence +- +- +not known", out, re.MULTILINE)


def test_a_model_that_is_too_large_for_a_target(finished, command, tmp_path):
    metrics = json.loads((finished / "metrics.json").read_text())
    layer = metrics["energy"]["layers"]["head"][0]
    layer |= {"parameters": 60_000_000, "nonzero": 60_000_000}
    (finished / "metrics.json").write_text(json.dumps(metrics))
    code, out, _ = command("energy", finished, "--json", tmp_path / "e.json")
    assert code == 0
    assert (
        "loihi2: larger than the memory that its figures hold for: weights of the model 57.22 MiB, memory 24 MiB."
        in out
    )
    assert not re.search(r"^(45nm|spinnaker|gpu): larger", out, re.MULTILINE)
    written = json.loads((tmp_path / "e.json").read_text())
    large = {row["target"] for row in written["estimates"] if row["too_large"]}
    assert large == {"loihi2", "microcontroller", "spinnaker2"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bits", "7"), "--bits 7: must be one of 4, 8, 16, 32"),
        (("--target", "45mn"), "unknown target '45mn'"),
        (("--chip", "loihi"), "unknown chip 'loihi'"),
        (("--json", "none/e.json"), "--json none/e.json: there is no folder none"),
        (("--json", "/"), "--json /: a folder; name a file"),
    ],
)
def test_wrong_words(finished, command, words, message):
    code, out, errors = command("energy", finished, *words)
    assert (code, out) == (2, "")
    assert message in errors


def test_own_targets_have_names_of_their_own(finished, command, tmp_path):
    own = load_target("45nm").model_dump(mode="json")
    (tmp_path / "mine.json").write_text(json.dumps(own))
    code, _, errors = command("energy", finished, "--target", "45nm", "--target", tmp_path / "mine.json")
    assert code == 2
    assert "--target: 2 are named '45nm'; change 'name' in your file" in errors
    (tmp_path / "mine.json").write_text(json.dumps({**own, "name": "mine"}))
    code, out, _ = command("energy", finished, "--target", "45nm", "--target", tmp_path / "mine.json")
    assert code == 0
    assert re.search("^mine ", out, re.MULTILINE)


def test_all_chips_and_one_of_them_again(finished, command):
    code, out, _ = command("energy", finished, "--chip", "all", "--chip", "xylo")
    assert code == 0
    assert len(re.findall("^xylo ", out, re.MULTILINE)) == 1


def test_runs_that_cannot_be_told(finished, command, tmp_path):
    assert command("energy", tmp_path / "none")[0] == 2
    code, _, errors = command("energy", finished / "metrics.json")
    assert code == 2
    assert "a file, and counts are in a run's folder" in errors
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
    (finished / "metrics.json").write_text(json.dumps({**metrics, "energy": {"steps": 3, "layers": {"head": []}}}))
    code, _, errors = command("energy", finished)
    assert code == 1
    assert "the head has no layers" in errors
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
    assert "the energy is that of matrices rounded to 8 bits" in page
    assert '<th class="n">Its range</th>' in page


def test_the_report_says_what_fits_on_chips_and_into_targets(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    akida = metrics["energy"]["chips"][0]
    assert (akida["chip"], akida["fits"]) == ("akida", False)
    page = write_report(finished).read_text()
    assert "<h3>On chips</h3>" in page
    assert "<td>akida</td><td>does not fit</td>" in page
    assert "larger than the memory" not in page
    metrics["energy"]["estimates"][0]["too_large"] = "larger than the memory that its figures hold for"
    del metrics["energy"]["chips"]  # as in runs of older versions
    (finished / "metrics.json").write_text(json.dumps(metrics))
    page = write_report(finished).read_text()
    assert "45nm: larger than the memory that its figures hold for." in page
    assert "<h3>On chips</h3>" not in page
    for row in metrics["energy"]["estimates"]:
        for key in ("too_large", "ranges", "per_frame", "bytes"):
            del row[key]
    (finished / "metrics.json").write_text(json.dumps(metrics))
    assert "Its range" in write_report(finished).read_text()


def test_what_a_killed_run_leaves_of_any_figure_is_known_as_ours(finished):
    figures = [path.name for path in (finished / "figures").iterdir()]
    assert "energy.png" in figures
    assert all(run_access._OWN_FILE.fullmatch(name) for name in figures), figures
