"""Every example is run, with data beside the repository where it needs some, and does what it says."""

import json
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from snn_action.datasets.synthetic.generate import Plan, generate

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples"
SHARED = ROOT.parent / "shared"
MOST_LINES = 60


@pytest.fixture
def run(monkeypatch, capsys):
    """Run an example as a script; what it printed."""

    def run(name: str, *words: object) -> str:
        monkeypatch.setattr("sys.argv", [name, *map(str, words)])
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def find_shared(place: str) -> Path:
    path = SHARED / place
    if not path.exists():
        pytest.skip(f"{place} is not in the folder 'shared' beside the repository")
    return path


def find_number(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    assert match, text
    return float(match[1])


def test_a_neuron_and_its_plots(run, tmp_path):
    printed = run("neuron_and_plots.py", "--figure", tmp_path / "neuron.png")
    assert find_number(r"differ by at most ([\d.]+) spikes", printed) < 1
    assert (tmp_path / "neuron.png").read_bytes().startswith(b"\x89PNG")


def test_mnist_with_lif(run):
    data = find_shared("data/mnist.npz")
    printed = run("mnist_lif.py", data, "--images", 3000, "--steps", 15)
    assert find_number(r"images ([\d.]+) %", printed) > 50  # one in ten by chance


def test_psmnist_with_the_lmu(run):
    printed = run("psmnist_lmu.py", find_shared("data/mnist.npz"), "--images", 1500, "--epochs", 4)
    assert find_number(r"images ([\d.]+) %", printed) > 60


def test_own_videos(run):
    printed = run("own_videos.py")
    *_, of_file, of_frames = re.split(r"^(?=\S)", printed.rstrip(), flags=re.MULTILINE)
    assert of_file.splitlines()[1:] == of_frames.splitlines()[1:]
    assert of_file.count("%") == 3


def test_own_neuron(run):
    counted, rates = (json.loads(line.partition(":")[2]) for line in run("own_neuron.py").splitlines()[:2])
    assert np.allclose(counted, rates, atol=2)
    assert min(counted) > 5


def test_own_model(run):
    printed = run("own_model.py")
    assert find_number(r"differs by (\S+) from", printed) < 1e-5
    assert "by its name: GRU" in printed


def test_own_dataset(run, tmp_path):
    generate(tmp_path / "all", Plan(groups=4, clips=1, frames=8, size=32), workers=1)
    (tmp_path / "flat").mkdir()
    for name in ("Bow", "Walk"):
        for path in (tmp_path / "all" / name).glob("*.avi"):
            _, action, person, number = path.stem.split("_")
            shutil.copy(path, tmp_path / "flat" / f"{action}-{person}-{number}.avi")
    printed = run("own_dataset.py", tmp_path / "flat")
    assert "8 videos of the classes Bow, Walk" in printed
    assert printed.count("6 videos train, 2 test") == 4


def test_own_backbone(run):
    assert "cells 4: images (2, 3, 64, 64) to features (2, 256)" in run("own_backbone.py")


@pytest.mark.filterwarnings("ignore:Skipping some optimization steps because SciPy")
def test_coming_from_nengodl(run):
    pytest.importorskip("nengo")
    assert find_number(r"from ours by (\S+) at", run("coming_from_nengodl.py")) < 1e-5


def test_coming_from_keras_lmu(run, tmp_path):
    """Weights and output are those of a layer of keras-lmu 0.9, in single precision."""
    assert "output (2, 30, 5)" in run("coming_from_keras_lmu.py")
    golden = np.load(find_shared("golden/nengo_golden.npz"))
    cell = "lmu_ff/w/lmu.simple_rnn_cell."
    np.savez(
        tmp_path / "layer.npz",
        x=golden["lmu_ff/x"].astype(np.float32),
        y=golden["lmu_ff/y"],
        kernel=golden["lmu_ff/w/lmu.kernel:0"],
        cell_kernel=golden[f"{cell}kernel:0"],
        cell_recurrent=golden[f"{cell}recurrent_kernel:0"],
        cell_bias=golden[f"{cell}bias:0"],
    )
    printed = run("coming_from_keras_lmu.py", tmp_path / "layer.npz")
    assert find_number(r"from ours by (\S+) at", printed) < 1e-5


@pytest.mark.parametrize("name", ["coming_from_spikingjelly.py", "coming_from_snntorch.py"])
def test_coming_from_a_library_of_pytorch(run, name):
    printed = run(name)
    assert find_number(r"(\d+) spikes", printed) > 1000
    assert find_number(r"(\d+) differ", printed) == 0
    assert find_number(r"outputs differ by (\S+)", printed) < 1e-5


def read_cells(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["notebook"])
    names: dict[str, object] = {"__name__": "__main__"}
    for number, source in enumerate(read_cells(path)):
        exec(compile(source, f"{path.name}, cell {number}", "exec"), names)


def test_examples_are_short_and_listed():
    listed = re.findall(r"\]\((\w+\.\w+)\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    found = [path for path in FOLDER.iterdir() if path.suffix in (".py", ".ipynb")]
    assert sorted(listed) == sorted(path.name for path in found)
    for path in found:
        lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".py" else read_cells(path)
        assert sum(part.count("\n") + 1 for part in lines) < MOST_LINES, path
