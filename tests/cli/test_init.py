"""Configurations outside the repository: ``snn-action init``, and commands without ``-c``."""

import json
from pathlib import Path

import pytest

from snn_action import __version__
from snn_action.cli import examples
from snn_action.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ("groups=4", "clips_per_group=1", "frames=8", "size=32")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_version(command):
    assert command("--version")[:2] == (0, f"snn-action {__version__}\n")


def test_the_package_has_the_configurations_of_the_repository():
    names = {path.stem for path in CONFIGS.glob("*.json")} - {"schema"}
    assert set(examples.list_examples()) == names
    assert len({examples.describe(json.loads((CONFIGS / f"{name}.json").read_text())) for name in names}) == len(names)


def test_all_are_listed_one_a_line_and_none_is_written(command):
    code, out, _ = command("init", "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == examples.list_examples()
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ((), "config.json"),
        (("--example", "ucf101_lmu"), "ucf101_lmu.json"),
        (("new/folder", "--example", "folder_lmu"), "new/folder/folder_lmu.json"),
        (("new/own.json",), "new/own.json"),
    ],
)
def test_a_configuration_is_written_and_means_what_the_repository_s_means(command, words, path):
    code, out, _ = command("init", *words)
    assert code == 0
    assert f"snn-action run -c {path}" in out
    name = words[words.index("--example") + 1] if "--example" in words else "config"
    assert load_config(path) == load_config(CONFIGS / f"{name}.json")
    assert "$schema" not in json.loads(Path(path).read_text()), "it names a file of the repository"


def test_a_file_that_is_there_is_replaced_by_force_alone(command):
    path = Path("config.json")
    path.write_text("mine")
    assert command("init")[::2] == (2, "error: config.json: the file exists; --force replaces it\n")
    assert path.read_text() == "mine"
    assert command("init", "--force")[0] == 0
    assert load_config(path)


def test_a_link_to_nowhere_is_a_file_that_is_there(command):
    Path("config.json").symlink_to("nowhere.json")
    assert command("init")[0] == 2
    assert not Path("nowhere.json").exists()


def test_a_name_that_is_none_and_a_place_that_is_none(command):
    code, _, err = command("init", "--example", "../config")
    assert (code, "no such configuration" in err, err.count("\n")) == (2, True, 1)
    Path("file").write_text("")
    code, _, err = command("init", "file/config.json")
    assert (code, "file" in err, err.count("\n")) == (1, True, 1)


def test_a_command_without_configuration_takes_the_demo_outside_the_repository(command):
    words = [word for key in SMALL for word in ("-o", f"dataset.{key}")]
    code, out, _ = command("extract", *words, "-o", "clip.frames=4", "-o", "features.workers=0")
    assert code == 0
    assert "48 videos: 48 extracted" in out
    assert {path.name for path in Path().iterdir()} == {"data", "save"}
