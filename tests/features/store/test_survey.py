import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from snn_action.core.errors import ConfigError
from snn_action.features.store.shard import Entry
from snn_action.features.store.store import FeatureStore, Rows
from snn_action.features.store.survey import check_shards, survey_store

from ..conftest import key_of

NAMES = ("Café/v_g01.avi", 'back\\slash"quote"', "plain")


def rows(key: str, name: str = "", clips: int = 1) -> Rows:
    frames = tuple((0, 1, 2) for _ in range(clips))
    return Rows(key_of(key), name or key, torch.ones(3 * clips, 4), frames)


def test_a_store_is_what_its_files_are(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("a"), rows("b", clips=2)], {"backbone": "small", "digest": "0123"})
    store.write("rgb", [rows("b", clips=2)], {"backbone": "small", "digest": "0123"})
    (tmp_path / "shards" / "notes.txt").write_text("mine")
    unfinished, broken = "rgb-1.safetensors.0123456789ab-1-1.part", f"rgb-{'2' * 32}.safetensors"
    (tmp_path / "shards" / unfinished).write_bytes(b"half")
    (tmp_path / "shards" / broken).write_bytes(b"garbage")
    found = survey_store(tmp_path)
    both = next(shard for shard in found.shards if len(shard.entries) == 2)
    assert both.entries == (Entry(key_of("a"), "a", 0, (3,)), Entry(key_of("b"), "b", 3, (3, 3)))
    assert both.backbone == ("small", "0123")
    assert both.size == found.path(both.name).stat().st_size
    assert found.find_doubled() == {key_of("b"): sorted(shard.name for shard in found.shards)}
    assert (found.foreign, found.left, found.unfinished) == ({"notes.txt": "not a shard"}, {}, (unfinished,))
    assert list(found.broken) == [broken]


def test_a_folder_that_is_no_store_is_said_and_not_made_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: not a feature store.*features\.store"):
        survey_store(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_broken_shard_names_its_videos_where_its_header_can_and_where_it_cannot_be_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows(str(number), name) for number, name in enumerate(NAMES)], {})
    (path,) = (tmp_path / "shards").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x01")
    (tensor,) = check_shards(survey_store(tmp_path))
    path.write_bytes(b"\xff" + content[1:])  # the header's length
    (header,) = check_shards(survey_store(tmp_path))
    assert (tensor.state, header.state) == ("broken", "broken")
    assert "checksum" in tensor.problem
    assert tensor.videos == header.videos == NAMES


def test_a_shard_of_before_checksums_is_unverifiable(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("a")], {})
    (path,) = (tmp_path / "shards").iterdir()
    header = {"snn_action": json.dumps(store.read_header(path.name))}
    safetensors.torch.save_file({"features": torch.ones(3, 4)}, path, header)
    ticks: list[None] = []
    (found,) = check_shards(survey_store(tmp_path), 1, lambda: ticks.append(None))
    assert (found.state, found.videos, len(ticks)) == ("unverifiable", ("a",), 1)
