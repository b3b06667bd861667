from ..video.conftest import videos  # noqa: F401 - a fixture
