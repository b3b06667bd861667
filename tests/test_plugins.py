"""Items of others, as a newcomer adds them: those of ``examples/``, in a script and from an installed package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from snn_action.core import registry
from snn_action.core.errors import ConfigError
from snn_action.datasets.synthetic.generate import Plan, generate
from snn_action.models.settings import ModelSettings

ROOT = Path(__file__).parents[1]
ITEMS = {
    "neuron": "qif = newcomer.own_neuron:QIFSettings",
    "model": "gru = newcomer.own_model:GRUSettings",
    "dataset": "flat = newcomer.own_dataset:FlatSettings",
    "backbone": "grid = newcomer.own_backbone:GridSettings",
}
CONFIG = {
    "name": "newcomer",
    "save_dir": "save",
    "device": "cpu",
    "dataset": {"type": "flat", "path": "flat"},
    "clip": {"frames": 4},
    "backbone": {"name": "grid", "cells": 2},
    "features": {"store": "store", "workers": 0},
    "model": {"type": "gru", "units": 8},
    "training": {"epochs": 2, "validation_share": 0},
    "report": {"clips": 0},
}
SPIKING = {"type": "spiking_lmu", "units": 8, "neuron": {"type": "qif", "tau": 0.01}}


@pytest.fixture
def folder(tmp_path):
    """Videos ``flat/<class>-<person>-<number>.avi``, a configuration, and the package without its entry points."""
    generate(tmp_path / "all", Plan(groups=4, clips=1, frames=8, size=32), workers=1)
    (tmp_path / "flat").mkdir()
    for action in ("Bow", "Walk"):
        for person in ("g01", "g02"):
            video = tmp_path / "all" / action / f"v_{action}_{person}_c01.avi"
            shutil.copy(video, tmp_path / "flat" / f"{action}-{person}-c01.avi")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    package = tmp_path / "site" / "newcomer"
    package.mkdir(parents=True)
    for kind in ITEMS:
        shutil.copy(ROOT / "examples" / f"own_{kind}.py", package)
    return tmp_path


def run_python(folder: Path, *words: str) -> str:
    """What Python prints in ``folder``, in a process of its own that has the package on its path."""
    path = os.pathsep.join([str(folder / "site"), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_needs_no_entry_points(folder):
    script = folder / "script.py"
    script.write_text(
        "import json\n"
        "from pathlib import Path\n"
        "import snn_action\n"
        "from newcomer.own_backbone import GridSettings\n"
        "from newcomer.own_dataset import FlatSettings\n"
        "from newcomer.own_model import GRUSettings\n"
        "from newcomer.own_neuron import QIFSettings\n"
        "raw = json.loads(Path('config.json').read_text())\n"
        "items = {'dataset': FlatSettings(path=Path('flat')), 'backbone': GridSettings(cells=2)}\n"
        "for model in (GRUSettings(units=8), {'type': 'spiking_lmu', 'units': 8, 'neuron': QIFSettings(tau=0.01)}):\n"
        "    config = snn_action.make_config({**raw, **items, 'model': model})\n"
        "    run = snn_action.run(config)\n"
        "    saved = snn_action.load_config(run.folder / 'config.json')\n"
        "    assert saved == config, (saved, config)\n"
        "    video = next(Path('flat').iterdir())\n"
        "    print(snn_action.load_run(run.folder).predict(video).class_names)\n"
        "written = {**raw, 'save_dir': Path('save'), 'features': config.features, 'clip': config.clip,\n"
        "           'training': config.training, 'report': config.report, **items, 'model': GRUSettings(units=8)}\n"
        "assert snn_action.Config(**written) == snn_action.load_config('config.json')\n"
    )
    assert run_python(folder, "script.py").splitlines()[-2:] == ["('Bow', 'Walk')"] * 2


def write_entry_points(folder: Path) -> None:
    """What ``pip install`` of the package adds."""
    information = folder / "site" / "newcomer-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: newcomer\nVersion: 1.0\n")
    points = "".join(f"[snn_action.{kind}]\n{line}\n" for kind, line in ITEMS.items())
    (information / "entry_points.txt").write_text(points)


def test_the_conformance_tests_take_an_installed_dataset_with_its_example(folder):
    write_entry_points(folder)
    tests = str(ROOT / "tests" / "conformance" / "test_datasets.py")
    printed = run_python(folder, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", tests, "-k", "flat")
    assert "passed" in printed
    assert "skipped" not in printed


def test_an_installed_package_is_found_by_its_entry_points(folder):
    write_entry_points(folder)
    run_python(folder, "-m", "snn_action", "run", "-c", "config.json", "--run-id", "gru")
    printed = run_python(folder, "-m", "snn_action", "predict", "save/newcomer/gru", "flat/Bow-g01-c01.avi")
    assert printed.count("%") == 2
    config = json.loads((folder / "save" / "newcomer" / "gru" / "config.json").read_text())
    assert config["model"].items() >= {"type": "gru", "units": 8}.items()
    assert config["backbone"]["cells"] == 2
    script = folder / "script.py"
    script.write_text(
        "import json\n"
        "import snn_action as s\n"
        "from snn_action.config import make_schema\n"
        "print(*s.list_neurons('q*'), *s.list_models('g*'), *s.list_datasets('fl*'), *s.list_backbones('grid'))\n"
        "print(s.build_neuron('qif').settings.peak)\n"
        f"config = s.load_config('config.json', ['model={json.dumps(SPIKING)}'])\n"
        "saved = json.loads((s.run(config).folder / 'config.json').read_text())\n"
        "print(saved['model']['neuron']['type'])\n"
        "print(*make_schema()['$defs'])\n"
    )
    names, peak, saved, definitions = run_python(folder, "script.py").splitlines()
    assert names.split() == ["qif", "gru", "flat", "grid"]
    assert (peak, saved) == ("5.0", "qif")
    assert {f"{kind}_{line.split()[0]}" for kind, line in ITEMS.items()} <= set(definitions.split())


def define(name: str) -> type[ModelSettings]:
    """A settings class of that name, in a module that has others."""
    names: dict[str, object] = {}
    exec(
        "from typing import Literal\nfrom snn_action.models.settings import ModelSettings\n"
        f"class Own(ModelSettings):\n    type: Literal[{name!r}] = {name!r}\n",
        names,
    )
    found = names["Own"]
    assert isinstance(found, type)
    return found


def test_what_is_defined_is_known_and_the_last_one_of_a_name_counts(monkeypatch):
    monkeypatch.setattr(registry, "_defined", {})
    first, last = define("own"), define("own")
    assert registry.find_settings("model", "own") is last is not first
    assert registry.list_items("model", "o*") == ["own"]
    assert registry.list_items("neuron", "own") == []
    with pytest.raises(TypeError, match="Own: set 'builds' to what it builds, or write a method 'build'"):
        last().build(3, 2)


def test_a_name_of_this_package_cannot_be_taken(monkeypatch):
    monkeypatch.setattr(registry, "_defined", {})
    with pytest.raises(TypeError, match="Own: there is a model 'lmu' already; choose another name"):
        define("lmu")


def test_settings_of_another_kind_are_an_error(monkeypatch):
    monkeypatch.setattr(registry, "_defined", {})
    with pytest.raises(ConfigError, match="Own describes a model, not a neuron"):
        registry.parse("neuron", define("own")())


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("newcomer.nothing:Settings", "cannot be loaded"),
        ("json:dumps", "is no settings class"),
        ("snn_action.models.settings:LMUSettings", r"needs type: Literal\['own'\] = 'own'"),
    ],
)
def test_an_entry_point_that_does_not_fit_says_so(monkeypatch, value, says):
    point = registry.EntryPoint("own", value, "snn_action.model")
    monkeypatch.setattr(registry, "_plugins", lambda kind: {"own": point} if kind == "model" else {})
    with pytest.raises(ConfigError, match=says) as caught:
        registry.find_settings("model", "own")
    assert "\n" not in str(caught.value)
