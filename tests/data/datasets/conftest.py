import pytest

from snn_action.registry import build, parse


@pytest.fixture(scope="session")
def make_catalog():
    """A dataset as a configuration file asks for it."""

    def make(type, path, seed=0, **options):
        return build("dataset", parse("dataset", {"type": type, "path": str(path), **options}), seed)

    return make
