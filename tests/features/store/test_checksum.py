import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch

from snn_action.features.store.checksum import UNSEALED, check, seal
from snn_action.features.store.store import FeatureStore, Rows
from snn_action.features.store.survey import check_shards, survey_store


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    rows = Rows("0" * 64, 'Café/v_"g01"\\.avi', torch.arange(6.0).reshape(3, 2), ((0, 1, 2),))
    FeatureStore(tmp_path).write("rgb", [rows], {"backbone": "small"})
    (path,) = (tmp_path / "shards").iterdir()
    return path


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(shard: Path) -> None:
    with safetensors.safe_open(shard, "pt") as file:
        stated = file.metadata()["checksum"]
    blank = shard.read_bytes().replace(stated.encode(), b"0" * 64)
    assert stated == hashlib.blake2b(blank, digest_size=32).hexdigest()
    assert stated != UNSEALED
    assert check(shard) == "whole"


def test_any_flipped_bit_anywhere_is_found(shard: Path) -> None:
    """Only a file that no longer says that it has a checksum, or says another format, is not proved to be broken."""
    content = bytearray(shard.read_bytes())
    unproved = {content.index(b'"checksum"') + number for number in range(1, 11)}
    unproved.add(content.index(b'format\\": ') + 10)
    for place in range(len(content)):
        for bit in (0, 5):  # 5 is the case of a letter: the same number in hexadecimal digits
            content[place] ^= 1 << bit
            shard.write_bytes(content)
            content[place] ^= 1 << bit
            (found,) = check_shards(survey_store(shard.parents[1]), workers=1)
            assert found.state in ("broken", *(["left"] if place in unproved else [])), (place, bit)


def test_a_truncated_or_longer_file_is_found(shard: Path) -> None:
    content = shard.read_bytes()
    for other in (content[:-1], content + b"\0", content[:100], b""):
        shard.write_bytes(other)
        (found,) = check_shards(survey_store(shard.parents[1]))
        assert found.state == "broken"


def test_a_file_without_a_checksum_cannot_be_verified_or_sealed(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    safetensors.torch.save_file({"features": torch.ones(3, 4)}, path, {"snn_action": "{}"})
    assert check(path) == "none"
    with pytest.raises(ValueError, match="no place"):
        seal(path.read_bytes())
