"""Runs on videos that are made once for each test process."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from snn_action.config import make_config
from snn_action.runs import pipeline
from tests.conftest import encode_videos, make_small_on_videos


@pytest.fixture(scope="session")
def train_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a run on videos like those of ``video_set``, made when it is first asked for; not to be changed."""
    made: dict[str, Path] = {}

    def train(**sections: object) -> Path:
        key = repr(sections)
        if key not in made:
            place = tmp_path_factory.mktemp("trained")
            config = make_config(make_small_on_videos(place, encode_videos(place / "videos"), **sections))
            made[key] = pipeline.run(config, run_id="one").folder
        return made[key]

    return train


@pytest.fixture
def trained(train_once, tmp_path: Path) -> Path:
    """A trained run of the test's own."""
    return Path(shutil.copytree(train_once(), tmp_path / "trained"))
