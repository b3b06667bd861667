import json
import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snn_action.config import load_config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.runs.environment import describe_environment
from snn_action.runs.folder import (
    create_run,
    find_changes,
    find_latest_run,
    find_unfinished_run,
    fold_folder,
    learned_settings,
    new_run,
    plain_names,
    read_run_config,
)


@pytest.fixture
def config(write_config):
    return load_config(write_config({"type": "features", "path": "features.npz"}))


def test_a_new_run_holds_its_configuration_and_environment(config):
    folder = create_run(config, "one")
    assert folder == config.save_dir / "test" / "one"
    assert read_run_config(folder) == config
    assert read_run_config(folder, ["seed=4"]).seed == 4
    environment = json.loads((folder / "environment.json").read_text())
    assert environment.keys() == describe_environment().keys()
    assert environment["packages"]["torch"].startswith("2.")


def test_runs_of_the_same_second_have_names_of_their_own(config):
    folders = {create_run(config) for _ in range(3)}
    assert len(folders) == 3


def test_a_name_that_is_taken_or_no_name(config):
    create_run(config, "one")
    with pytest.raises(ConfigError, match=r"one: this run exists; continue it with --resume .*one, or name another"):
        create_run(config, "one")
    with pytest.raises(ConfigError, match="not a plain folder name"):
        create_run(config, "a/b")


def test_a_place_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkError, match="cannot write the run's folder: Not a directory"):
        create_run(config.model_copy(update={"save_dir": tmp_path / "file"}))


def test_a_configuration_that_cannot_be_followed_leaves_no_folder(config):
    with pytest.raises(ConfigError, match="no such"), new_run(config, "one") as folder:
        raise ConfigError("no such video")
    assert not folder.exists()


def test_a_folder_in_which_nothing_began_keeps_what_is_not_ours(config):
    with pytest.raises(ConfigError, match="no such"), new_run(config, "one") as folder:  # noqa: PT012
        (folder / "notes.txt").touch()
        raise ConfigError("no such video")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_start_that_cannot_be_written_leaves_no_folder(config, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("snn_action.core.files._fill", fail)
        with pytest.raises(WorkError, match=r"environment\.json: cannot write the run's folder: No space left"):
            create_run(config, "one")
    assert create_run(config, "one").is_dir()


def test_a_folder_without_a_configuration_is_no_run(config):
    (config.save_dir / "test" / "one").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no run has begun in it; remove it, or name another with --run-id"):
        create_run(config, "one")
    with pytest.raises(ConfigError, match="no run there yet"):
        find_latest_run(config)


def test_a_run_that_can_go_on_stays(config):
    with pytest.raises(WorkError), new_run(config, "one") as first:
        raise WorkError("no network")
    with pytest.raises(KeyboardInterrupt), new_run(config, "two") as second:
        raise KeyboardInterrupt
    with pytest.raises(ConfigError), new_run(config, "three") as third:  # noqa: PT012
        (third / "checkpoints").mkdir()
        (third / "checkpoints" / "last.ckpt").touch()
        raise ConfigError("report")
    for folder in (first, second, third):
        assert (folder / "config.json").is_file()


def test_a_run_that_exists_is_not_removed_by_one_that_may_not_take_its_name(config):
    folder = create_run(config, "one")
    with pytest.raises(ConfigError, match="exists"), new_run(config, "one"):
        pass
    assert (folder / "config.json").is_file()


def test_the_newest_run_is_found(config):
    with pytest.raises(ConfigError, match="no run there yet"):
        find_latest_run(config)
    first, second = create_run(config, "b"), create_run(config, "a")
    os.utime(first / "config.json", ns=(1, 1))
    os.utime(second / "config.json", ns=(2, 2))
    (config.save_dir / "test" / "no run").mkdir()
    assert find_latest_run(config) == second


def test_what_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match="there is no such run folder"):
        read_run_config(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"not the folder of a run \(it has no config\.json\).*begin a new run with"):
        read_run_config(tmp_path)


def test_the_newest_run_of_that_configuration_not_of_its_name(config, write_config):
    first = create_run(config, "a")
    os.utime(first / "config.json", ns=(1, 1))
    other = load_config(
        write_config({"type": "features", "path": "elsewhere.npz"}, training={"epochs": 9}, device="cpu", name="test")
    )
    create_run(other, "b")
    moved = config.model_copy(update={"device": "auto"})
    assert find_latest_run(moved) == first  # newer ones of another configuration are passed over
    third = other.model_copy(update={"seed": 7})
    with pytest.raises(ConfigError, match=r"no run of this configuration.*\n.*seed is 7, was 0"):
        find_latest_run(third)


def test_what_decides_what_is_learned(config):
    learned = learned_settings(config)
    assert learned["dataset.type"] == "features"
    assert learned["model.units"] == 8
    assert learned["clip.streams"] == ["rgb"]
    for free in ("dataset.path", "device", "save_dir", "backbone.batch_size", "features.workers", "report.clips"):
        assert free not in learned
    other = learned_settings(config.model_copy(update={"seed": 3}))
    assert find_changes(learned, learned) == []
    assert find_changes(learned, other) == ["seed is 3, was 0"]
    del other["seed"]  # a key of another version
    assert find_changes(learned, other) == []


def test_folds_lie_below_the_run():
    assert fold_folder(Path("run"), "1", ["1"]) == Path("run")
    assert fold_folder(Path("run"), "2", ["1", "2", "3"]) == Path("run/folds/2")
    assert fold_folder(Path("run"), "../../x", ["../../x", "y"]).parent == Path("run/folds")


def test_plain_names_stay():
    names = ["1", "2", "eli", "Daria_2", "v1.0", "g-3"]
    assert plain_names(names) == names


NAMES = st.text(min_size=1, max_size=6) | st.sampled_from(["x", "X", "./x", "..", ".", "a/b", "con", "\udce9"])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(NAMES, unique=True, max_size=6))
def test_any_text_becomes_one_part_of_a_path_of_its_own(names):
    plain = plain_names(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name, re.ASCII) and len(name) <= 64 for name in plain)
    assert len({name.casefold() for name in plain}) == len(names)
    assert all((Path("run") / name).parent == Path("run") for name in plain)


@pytest.mark.parametrize(
    "names",
    [
        ["x", "./x"],
        ["x", "x/"],
        ["x", "X"],
        ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"],
        ["stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE", "strasse"],
        ["x", "x.", "x "],
        ["k", "\N{KELVIN SIGN}"],
    ],
)
def test_names_that_a_file_system_takes_for_one_are_folders_of_their_own(names, tmp_path):
    folders = [fold_folder(tmp_path, name, names) for name in names]
    seen = {unicodedata.normalize("NFKC", str(folder.resolve())).casefold().rstrip(". ") for folder in folders}
    assert len(seen) == len(names)


def test_a_name_that_looks_like_a_made_one_is_not_taken_for_it():
    (made,) = plain_names(["../x"])
    assert made.startswith("x-")
    assert len(set(plain_names(["../x", made]))) == 2


def test_of_unfinished_runs_the_newest_of_the_same_configuration_is_found(write_config):
    config = load_config(write_config({"type": "features", "path": "x"}))
    other = config.model_copy(update={"seed": 1})
    assert find_unfinished_run(config) is None
    first, second, third = (create_run(config, name) for name in ("c", "b", "a"))
    create_run(other, "d")
    for age, folder in enumerate((third, second, first)):
        os.utime(folder / "config.json", (1000 - age, 1000 - age))
    assert find_unfinished_run(config) == third
    assert find_unfinished_run(config, "c") == first
    assert find_unfinished_run(config, "d") is None
    (third / "report.html").touch()
    assert find_unfinished_run(config) == second
