"""The checkpoint that training goes on from may be anybody's: it is fitted to the model or refused by its name."""

from pathlib import Path

import pytest
import torch

from snn_action.core.errors import ConfigError
from tests.training.conftest import make_settings, train_small


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> dict:
    """Of a training that stopped after its first epoch."""
    folder = tmp_path_factory.mktemp("begun")
    train_small(folder, make_settings(epochs=1))
    found: dict = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return found


LINE = {"epoch": 0, "train": {"loss": 1.0}, "validation": {"loss": 1.0}, "seconds": 1.0}
HOSTILE = {
    "moment of one number": lambda states: states[0]["state"][0].update(exp_avg=torch.zeros(1)),
    "moment of another type": lambda states: states[0]["state"][0].update(exp_avg_sq=True),
    "no moments": lambda states: states[0]["state"].update({0: {}}),
    "no state": lambda states: states.__setitem__(0, {}),
    "a list": lambda states: states.__setitem__(0, [1]),
    "no groups": lambda states: states[0].update(param_groups=[]),
}


def write(folder: Path, content: dict, **changes: object) -> Path:
    path = folder / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    torch.save({**content, **changes}, path)
    return path


def refuse(folder: Path, path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train_small(folder, make_settings(epochs=2))
    assert str(caught.value).startswith(f"{path}: holds no training to go on with (")
    assert str(caught.value).endswith("; remove it to train from the start")


@pytest.mark.parametrize("name", HOSTILE)
def test_moments_that_do_not_fit_are_refused(content, tmp_path, name):
    states = [{"state": {k: {**v} for k, v in content["optimizer_states"][0]["state"].items()}}]
    states[0]["param_groups"] = content["optimizer_states"][0]["param_groups"]
    HOSTILE[name](states)
    refuse(tmp_path, write(tmp_path, content, optimizer_states=states))


@pytest.mark.parametrize(
    "lines",
    [
        1,
        [1],
        [{**LINE, "epoch": "0"}],
        [{**LINE, "epoch": 2**70}],
        [{**LINE, "validation": {}}],
        [{**LINE, "validation": {"loss": [1]}}],
        [{**LINE, "seconds": None}],
        [{**LINE, "train": 3}],
        [{**LINE, 3: 3}],
    ],
    ids=str,
)
def test_epochs_that_are_none_are_refused(content, tmp_path, lines):
    refuse(tmp_path, write(tmp_path, content, lines=lines))


def test_what_one_wrote_oneself_is_gone_on_from(content, tmp_path):
    write(tmp_path, content)
    train_small(tmp_path, make_settings(epochs=2))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
