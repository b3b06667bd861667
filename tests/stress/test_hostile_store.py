"""A store in which anything may be damaged, or made by somebody who means harm.

Whatever lies in it, each command works or says which file is at fault; files of others and good shards stay; a row that
is read is the row that was written.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_action.core.errors import WorkError
from snn_action.features.store.checksum import UNSEALED, seal
from snn_action.features.store.removal import take_out
from snn_action.features.store.rewriting import merge, plan_pruning, prune
from snn_action.features.store.store import FeatureStore, Rows
from snn_action.features.store.survey import check_shards, survey_store

BOUNDED = settings(max_examples=20, deadline=None)
KEYS = {hashlib.sha256(bytes([number])).hexdigest(): number for number in range(8)}
FOREIGN = {
    "model.safetensors": b"somebody's weights",
    "notes.txt": b"mine",
    "video.mp4.part": b"a download",
    "rgb-1.safetensors.part": b"nobody's",
    f"rgb-{'f' * 31}.safetensors": b"one digit less",
}

Damage = Callable[[bytes], bytes]


def value_of(key: str) -> torch.Tensor:
    return torch.full((3, 4), float(KEYS[key])) + torch.arange(3).unsqueeze(1) / 10


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """A store of four shards of two videos, and files of others beside them."""
    with tempfile.TemporaryDirectory() as name:
        store = FeatureStore(Path(name))
        for first in range(0, len(KEYS), 2):
            chosen = list(KEYS)[first : first + 2]
            store.write("rgb", [Rows(k, k[:4], value_of(k), ((0, 1), (2,))) for k in chosen], {"backbone": "small"})
        store.close()
        for file, content in FOREIGN.items():
            (Path(name) / "shards" / file).write_bytes(content)
            os.utime(Path(name) / "shards" / file, (0, 0))
        yield Path(name)


@contextmanager
def copied(whole: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(shutil.copytree(whole, Path(name) / "store"))


def own_shards(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "shards").iterdir() if path.name not in FOREIGN)


def read(folder: Path) -> set[str]:
    """The keys that are there, each held to its value, one at a time and all together; a failure names the file."""
    store = FeatureStore(folder)
    try:
        found = set()
        for key in store.find(KEYS):
            try:
                places, shards = store.open([key])
            except WorkError as error:
                assert str(folder) in str(error)  # noqa: PT017 - only some of many fail
                continue
            place = places[key]
            assert place.lengths == (2, 1)
            assert torch.equal(shards[place.shard][place.start : place.start + 3], value_of(key))
            found.add(key)
        assert len(store.open(found)[0]) == len(found)
        return found
    finally:
        store.close()


def try_all(folder: Path) -> set[str]:
    """Every command but those that remove. The keys that are in a store merged from it."""
    survey = survey_store(folder)
    plan_pruning(survey, set(list(KEYS)[::2]), compact=8)
    list(check_shards(survey, workers=1))
    merge(folder.parent / "merged", [folder])
    return read(folder.parent / "merged")


def take_out_broken(folder: Path) -> None:
    broken = [check.shard for check in check_shards(survey_store(folder), workers=1) if check.state == "broken"]
    assert sorted(take_out(folder, broken)) == sorted(broken)
    survey = survey_store(folder)
    prune(survey, plan_pruning(survey, compact=3), compact=3)


def assert_foreign_files_are_there(folder: Path) -> None:
    for file, content in FOREIGN.items():
        assert (folder / "shards" / file).read_bytes() == content


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Bytes overwritten, cut off, put in or flipped, at a place that is a share of the file."""
    kind, share = draw(st.sampled_from(["overwrite", "flip", "truncate", "insert"])), draw(st.floats(0, 1))
    some = draw(st.binary(min_size=1, max_size=64))

    def damage(content: bytes) -> bytes:
        at = min(int(share * len(content)), len(content) - 1)
        if kind == "truncate":
            return content[:at]
        if kind == "insert":
            return content[:at] + some + content[at:]
        new = some if kind == "overwrite" else bytes([content[at] ^ (1 << some[0] % 8)])
        return content[:at] + new + content[at + len(new) :]

    return damage


@BOUNDED
@given(st.lists(damages(), min_size=1, max_size=3))
def test_a_damaged_shard_costs_itself(whole: Path, harm: list[Damage]) -> None:
    with copied(whole) as folder:
        harmed = own_shards(folder)[0]
        content = changed = harmed.read_bytes()
        for damage in harm:
            changed = damage(changed) if changed else changed
        harmed.write_bytes(changed)
        assert len(set(KEYS) - try_all(folder)) <= 2
        take_out_broken(folder)
        assert_foreign_files_are_there(folder)
        assert len(set(KEYS) - read(folder)) <= 2
        kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert changed in kept or changed == content  # where it was, or in ``removed``


@BOUNDED
@given(st.lists(damages(), min_size=1, max_size=3), st.booleans())
def test_a_damaged_index_costs_nothing(whole: Path, harm: list[Damage], is_early: bool) -> None:
    with copied(whole) as folder:
        store = FeatureStore(folder) if not is_early else None
        content = (folder / "index.sqlite").read_bytes()
        for damage in harm:
            content = damage(content) if content else content
        with (folder / "index.sqlite").open("r+b") as file:
            file.write(content)
            file.truncate()
        if store is not None:  # the damage is met while the store is in use
            assert len(store.open(KEYS)[0]) == len(KEYS)
            store.close()
        assert read(folder) == set(KEYS)
        assert try_all(folder) == set(KEYS)
        assert len(own_shards(folder)) == 4
        assert_foreign_files_are_there(folder)


@pytest.mark.parametrize("before", range(-1, 9))
def test_a_damaged_row_of_the_index_costs_nothing(whole: Path, before: int) -> None:
    """One byte before or in a key: among the answers may be a key that nobody asked for."""
    for key in KEYS:
        with copied(whole) as folder:
            FeatureStore(folder).close()
            content = (folder / "index.sqlite").read_bytes()
            at = content.index(key.encode()) - before
            (folder / "index.sqlite").write_bytes(content[:at] + b"\0" + content[at + 1 :])
            assert read(folder) == set(KEYS)


def test_no_byte_of_the_header_of_the_index_costs_anything(whole: Path) -> None:
    """One of them says that nobody may write into the file."""
    with copied(whole) as folder:
        FeatureStore(folder).close()
        content = (folder / "index.sqlite").read_bytes()
        for at in range(100):
            (folder / "index.sqlite").write_bytes(content[:at] + b"\xff" + content[at + 1 :])
            store = FeatureStore(folder)
            assert len(store.open(KEYS)[0]) == len(KEYS), at
            store.close()


@pytest.mark.parametrize("column", ["start", "lengths", "shard"])
@pytest.mark.parametrize("value", [9e999, -1, 2**63 - 1, "[1e999]", "[" * 2000, "9" * 5000, "../x", b"\xff", "", None])
def test_a_hostile_row_of_the_index_costs_nothing(whole: Path, column: str, value: object) -> None:
    with copied(whole) as folder:
        FeatureStore(folder).close()
        index = sqlite3.connect(folder / "index.sqlite")
        with suppress(sqlite3.IntegrityError), index:
            index.execute(f"UPDATE entries SET {column} = ? WHERE key = ?", (value, min(KEYS)))
        index.close()
        assert read(folder) == set(KEYS)


def header_of(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    return found


def with_header(content: bytes, header: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


STRANGE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
) | st.just(json.loads("[" * 200 + "]" * 200))


def list_places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from list_places(one, (*path, key))


def put(value: Any, path: tuple[Any, ...], strange: Any) -> Any:
    if not path:
        return strange
    value[path[0]] = put(value[path[0]], path[1:], strange)
    return value


@BOUNDED
@given(st.data(), st.booleans(), st.sampled_from([f"rgb-{'0' * 32}.safetensors", "other.safetensors"]))
def test_a_hostile_header_with_its_right_checksum_costs_itself(
    whole: Path, data: st.DataObject, is_inner: bool, name: str
) -> None:
    """One value of the header, or of the description in it, is any other; its first file by name has the same keys."""
    with copied(whole) as folder:
        first = own_shards(folder)[0]
        header = header_of(first.read_bytes())
        header["__metadata__"]["checksum"] = UNSEALED
        said = json.loads(header["__metadata__"]["snn_action"])
        places = list(list_places(said if is_inner else header))
        strange = data.draw(STRANGE)
        place = data.draw(st.sampled_from(places))
        if is_inner:
            header["__metadata__"]["snn_action"] = json.dumps(put(said, place, strange))
        else:
            header = put(header, place, strange)
        hostile = folder / "shards" / name
        hostile.write_bytes(with_header(first.read_bytes(), json.dumps(header, separators=(",", ":")).encode()))
        with suppress(ValueError):  # it may have no place for one any more
            hostile.write_bytes(seal(hostile.read_bytes()))
        before = hostile.read_bytes()
        assert try_all(folder) == set(KEYS)
        survey = survey_store(folder)
        is_taken = name in {shard.name for shard in survey.shards}
        take_out_broken(folder)
        assert read(folder) == set(KEYS)
        assert_foreign_files_are_there(folder)
        kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert is_taken or before in kept  # what is a shard may be joined with others, as its keys are there twice


@pytest.mark.parametrize("claimed", [2**63, 2**40, 100_000_001, 10**6, 1, 0])
def test_a_header_of_any_claimed_length_takes_no_memory(whole: Path, claimed: int) -> None:
    with copied(whole) as folder:
        for name in (f"rgb-{'0' * 32}.safetensors", "other.safetensors"):
            path = folder / "shards" / name
            path.write_bytes(struct.pack("<Q", claimed) + b" " * 100)
            os.truncate(path, 2**33)  # a hole, so that what is claimed could be there
        survey = survey_store(folder)
        assert list(survey.broken) == [f"rgb-{'0' * 32}.safetensors"]
        assert "other.safetensors" in survey.foreign
        assert read(folder) == set(KEYS)


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, '{"format": ' + "9" * 5000 + "}", "of a later version"])
def test_what_is_as_it_was_written_is_left(whole: Path, text: str) -> None:
    """That this program cannot read a description whose checksum holds proves no damage."""
    with copied(whole) as folder:
        path = folder / "shards" / f"rgb-{'0' * 32}.safetensors"
        values = {"features": torch.zeros(1, 4)}
        path.write_bytes(content := seal(safetensors.torch.save(values, {"snn_action": text, "checksum": UNSEALED})))
        survey = survey_store(folder)
        assert list(survey.left) == [path.name]
        assert "set_int_max_str_digits" not in survey.left[path.name]
        take_out_broken(folder)
        assert path.read_bytes() == content
