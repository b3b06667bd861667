import re

import pytest

from snn_action.features.extraction.extract import extract_features
from snn_action.features.extraction.summary import describe_extraction, show_bytes


def test_it_says_what_was_done_what_was_not_and_where_it_is(catalog, small, configure, monkeypatch):
    config = configure()
    config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"max_bad_share": 0.2})})
    (catalog.videos[3].path / "frame000002.jpg").write_bytes(b"garbage")
    done = extract_features(catalog, config, small, "cpu", progress=False)
    size = sum(path.stat().st_size for path in (config.features.store / "shards").iterdir())
    assert done.bytes == size
    first, second, third, last = describe_extraction(catalog, done).splitlines()
    assert first == "5 videos: 4 extracted, 0 in the store, 1 left out"
    assert re.fullmatch(r"12 images in \d+\.\d s, \d+\.\d videos/s", second)  # 4 + 3 + 4 + 1 frames
    assert third.startswith(f"left out: v3: {catalog.videos[3].path}")
    assert last == f"store: {config.features.store}, {show_bytes(size)}"

    again = extract_features(catalog, config, small, "cpu", progress=False)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    told = describe_extraction(catalog, again)
    assert told.startswith("process 2 of 4: 5 videos: 0 extracted, 4 in the store, 1 left out\n0 images in ")
    assert "videos/s" not in told


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (2**21, "2.0 MiB"), (2**45, "32768.0 GiB")],
)
def test_sizes(size, shown):
    assert show_bytes(size) == shown
