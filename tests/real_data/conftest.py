"""Tests here need the project's real data and skip where it is absent."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(__file__).parents[2].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the folder 'shared' with real data is not beside the repository")
    return folder
