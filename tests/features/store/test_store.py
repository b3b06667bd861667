import json
import logging
import multiprocessing
import os
import random
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from snn_action.core.errors import WorkError
from snn_action.features.store import store as store_module
from snn_action.features.store.store import FeatureStore, Place, Rows

from ..conftest import find, key_of


def rows(key: str, n: int = 3, clips: int = 1, value: float = 0.0) -> Rows:
    frames = tuple(tuple(range(clip, clip + n)) for clip in range(clips))
    features = torch.full((n * clips, 4), value) + torch.arange(n * clips).unsqueeze(1)
    return Rows(key_of(key), f"video {key}", features, frames)


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "shards").iterdir())


def test_what_was_written_is_found_and_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "a" / "store")
    store.write("rgb", [rows("x", 3), rows("y", 2, clips=2, value=100.0)], {"trained_on": "nothing"})
    store.write("difference", [rows("z")], {})
    found = find(store, ["x", "y", "z", "absent"])
    assert found.keys() == {"x", "y", "z"}
    shard = found["x"].shard
    assert shard.startswith("rgb-")
    assert found["y"] == Place(shard, 3, (2, 2))
    assert found["z"].shard.startswith("difference-")
    assert store.open_shard(shard)[3:5, 0].tolist() == [100.0, 101.0]
    header = store.read_header(shard)
    assert header["stream"] == "rgb"
    assert header["provenance"] == {"trained_on": "nothing"}
    assert header["entries"][1]["name"] == "video y"
    assert header["entries"][1]["frames"] == [[0, 1], [1, 2]]


def test_many_keys_are_found_at_once(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows(f"{i}", 1) for i in range(1201)], {})
    found = find(store, [f"{i}" for i in range(1300)])
    assert len(found) == 1201
    assert all(place.start == int(key) for key, place in found.items())


def test_a_shard_is_memory_mapped(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [Rows(key_of("x"), "x", torch.ones(50_000, 256), (tuple(range(50_000)),))], {})
    features = store.open_shard(find(store, ["x"])["x"].shard)
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("needs Linux's table of mapped files")
    address = features.data_ptr()
    ranges = [line.split(maxsplit=5) for line in maps.read_text().splitlines() if line.endswith(".safetensors")]
    assert any(int(r[0].split("-")[0], 16) <= address < int(r[0].split("-")[1], 16) for r in ranges)


@pytest.mark.parametrize("harm", ["lost", "garbage", "empty", "other format", "no table"])
def test_the_index_is_made_anew_from_the_shards(tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x"), rows("y")], {})
    expected = find(store, ["x", "y"])
    store.close()
    index = tmp_path / "index.sqlite"
    if harm == "lost":
        index.unlink()
    elif harm in ("garbage", "empty"):
        index.write_bytes(b"garbage" * 1000 if harm == "garbage" else b"")
    else:
        connection = sqlite3.connect(index)
        connection.execute("PRAGMA user_version = 99" if harm == "other format" else "DROP TABLE shards")
        connection.commit()
        connection.close()
    with caplog.at_level(logging.WARNING):
        assert find(FeatureStore(tmp_path), ["x", "y"]) == expected
    assert ("made anew" in caplog.text) == (harm in ("garbage", "other format"))


def test_lost_and_new_shards_are_noticed(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x")], {})
    lost = find(store, ["x"])["x"].shard
    other = FeatureStore(tmp_path)
    other.write("rgb", [rows("y")], {})
    (tmp_path / "shards" / lost).unlink()
    store.refresh()
    assert find(store, ["x", "y"]).keys() == {"y"}
    with pytest.raises(WorkError, match=lost):
        store.open_shard(lost)


def test_of_two_shards_with_one_key_either_serves(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    for _ in range(2):
        store.write("rgb", [rows("x")], {})
    first = find(store, ["x"])["x"].shard
    assert first == shards(tmp_path)[0]
    (tmp_path / "shards" / first).unlink()
    store.refresh()
    assert find(store, ["x"])["x"].shard == shards(tmp_path)[0]


@pytest.mark.parametrize("harm", ["truncated", "garbage", "foreign", "other rows", "unfinished"])
def test_what_is_no_complete_shard_is_passed_over(tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x")], {})
    path = tmp_path / "shards" / shards(tmp_path)[0]
    content = path.read_bytes()
    if harm == "truncated":
        path.write_bytes(content[:-4])
    elif harm == "garbage":
        path.write_bytes(b"garbage")
    elif harm == "foreign":
        safetensors.torch.save_file({"features": torch.ones(3, 4)}, path)
    elif harm == "other rows":
        header = json.dumps(store.read_header(path.name))
        safetensors.torch.save_file({"features": torch.ones(2, 4)}, path, {"snn_action": header})
    else:
        path.rename(path.with_name(path.name + ".part"))
    (tmp_path / "index.sqlite").unlink()
    with caplog.at_level(logging.WARNING):
        again = FeatureStore(tmp_path)
    assert find(again, ["x"]) == {}
    assert ("passed over" in caplog.text and path.name in caplog.text) == (harm != "unfinished")


def test_a_broken_shard_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(tmp_path)
    (tmp_path / "shards" / "rgb-0.safetensors").write_bytes(b"garbage")
    with caplog.at_level(logging.WARNING):
        for key in "xyz":
            store.write("rgb", [rows(key)], {})
            store.refresh()
    assert caplog.text.count("passed over") == 1
    assert find(store, "xyz").keys() == set("xyz")


def test_a_failed_write_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x")], {})
    before = shards(tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "_to_disk", full_disk)
        with pytest.raises(WorkError, match=rf"{tmp_path}.*No space left.*features\.store"):
            store.write("rgb", [rows("y")], {})
    assert shards(tmp_path) == before
    store.write("rgb", [rows("y")], {})
    assert find(FeatureStore(tmp_path), ["x", "y"]).keys() == {"x", "y"}


def test_a_removed_folder_is_named(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    (tmp_path / "store" / "shards").rmdir()
    with pytest.raises(WorkError, match="store/shards: cannot write features"):
        store.write("rgb", [rows("x")], {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match=r"file/store: cannot make the feature store.*features\.store"):
        FeatureStore(tmp_path / "file" / "store")


def _write_many(folder: Path, name: str, n: int) -> None:
    store = FeatureStore(folder)
    for i in range(n):
        store.write("rgb", [rows(f"{name}{i}", value=float(i))], {})
        store.refresh()


def test_processes_share_a_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    processes = [context.Process(target=_write_many, args=(tmp_path, name, 15)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = FeatureStore(tmp_path)
    found = find(store, [f"{name}{i}" for name in "abc" for i in range(15)])
    assert len(found) == 45
    assert all(store.open_shard(place.shard)[0, 0] == int(key[1:]) for key, place in found.items())
    assert len(shards(tmp_path)) == 45


def test_a_folder_that_has_not_changed_is_not_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x")], {})
    os.utime(tmp_path / "shards", (0, 0))
    store.refresh()
    with monkeypatch.context() as patched:
        patched.setattr(store_module.os, "scandir", lambda *_: pytest.fail("looks through the folder"))
        assert find(FeatureStore(tmp_path), ["x"]).keys() == {"x"}
    other = FeatureStore(tmp_path)
    other.write("rgb", [rows("y")], {})
    (tmp_path / "shards" / find(store, ["x"])["x"].shard).unlink()
    store.refresh()
    assert find(store, ["x", "y"]).keys() == {"y"}


def test_a_folder_of_now_is_always_looked_at(tmp_path: Path) -> None:
    """Its time may not tell two changes apart that follow each other at once."""
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x")], {})
    path = tmp_path / "shards" / find(store, ["x"])["x"].shard
    state = path.parent.stat()
    store.refresh()
    path.unlink()
    os.utime(path.parent, ns=(state.st_atime_ns, state.st_mtime_ns))
    store.refresh()
    assert find(store, ["x"]) == {}


def harm_index(folder: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(folder / "index.sqlite")
    with connection:
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("start", 1),
        ("start", -3),
        ("start", "text"),
        ("start", 2**62),
        ("lengths", "[1]"),
        ("lengths", "[" * 100_000),
        ("lengths", "7"),
        ("lengths", b"\xff"),
        ("shard", "../../elsewhere.safetensors"),
        ("shard", "rgb-0.safetensors"),
        ("shard", 5),
        ("shard", "other"),
    ],
)
def test_an_index_that_says_other_than_the_shards_is_made_anew(tmp_path: Path, column: str, value: object) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x", 3, value=7.0), rows("y", 2)], {})
    store.write("rgb", [rows("z")], {})
    expected = find(store, "xyz")
    store.close()
    value = expected["z"].shard if value == "other" else value
    harm_index(tmp_path, f"UPDATE OR REPLACE entries SET {column} = ? WHERE key = ?", value, key_of("x"))
    again = FeatureStore(tmp_path)
    places, opened = again.open(map(key_of, "xyz"))
    assert places == {key_of(name): place for name, place in expected.items()}
    assert opened[expected["x"].shard][0, 0] == 7.0


def test_a_damaged_index_costs_no_second_extraction(tmp_path: Path) -> None:
    """Random bytes anywhere: what is in the shards is found, though a damaged page hides it."""
    store = FeatureStore(tmp_path)
    names = [f"{number}" for number in range(400)]
    for first in range(0, 400, 100):
        store.write("rgb", [rows(name) for name in names[first : first + 100]], {})
    expected = find(store, names)
    store.close()
    whole = (tmp_path / "index.sqlite").read_bytes()
    rng = random.Random(0)
    for _ in range(25):
        content = bytearray(whole)
        at = rng.randrange(len(content) - 64)
        content[at : at + 64] = rng.randbytes(64)
        (tmp_path / "index.sqlite").write_bytes(content)
        again = FeatureStore(tmp_path)
        places, _ = again.open(map(key_of, names))
        assert places == {key_of(name): place for name, place in expected.items()}
        again.close()


def test_a_shard_that_broke_in_place_is_extracted_again_at_the_next_start(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x")], {})
    path = tmp_path / "shards" / find(store, "x")["x"].shard
    os.utime(path.parent, (0, 0))
    store.refresh()
    times, content = path.stat(), path.read_bytes()
    path.write_bytes(b"garbage".ljust(len(content)))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(WorkError, match=rf"{path.name}: this shard is missing or broken .* Start again"):
        store.open([key_of("x")])
    store.close()
    assert find(FeatureStore(tmp_path), "x") == {}


def test_features_that_somebody_pruned_are_said_to_be_gone(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x")], {})
    (tmp_path / "shards" / find(store, "x")["x"].shard).unlink()
    with pytest.raises(WorkError, match="features of 1 videos are not there any more"):
        store.open([key_of("x")])


def test_links_folders_and_names_that_are_no_text_cost_themselves(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x")], {})
    shard = tmp_path / "shards" / find(store, "x")["x"].shard
    (shard.parent / "dangling.safetensors").symlink_to("nowhere")
    (shard.parent / "link.safetensors").symlink_to(shard)
    (shard.parent / "folder.safetensors").mkdir()
    if os.name == "posix":
        os.mkfifo(shard.parent / "pipe.safetensors")
    if sys.platform == "linux":
        shutil.copy(shard, shard.parent / os.fsdecode(b"\xff.safetensors"))
    again = FeatureStore(tmp_path)
    assert find(again, "x")["x"].shard == shard.name
    assert again.measure() >= shard.stat().st_size


def test_a_shard_of_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write("rgb", [rows("x", value=7.0)], {"backbone": "small"})
    path = tmp_path / "shards" / find(store, "x")["x"].shard
    header = {"snn_action": json.dumps(store.read_header(path.name))}
    safetensors.torch.save_file({"features": torch.full((3, 4), 7.0)}, path, header)
    places, shards = FeatureStore(tmp_path).open([key_of("x")])
    assert places[key_of("x")] == Place(path.name, 0, (3,))
    assert shards[path.name].eq(7.0).all()


def test_many_shards_enter_a_lost_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path)
    for number in range(7):
        store.write("rgb", [rows(f"{number}", value=float(number))], {})
    store.close()
    (tmp_path / "index.sqlite").unlink()
    monkeypatch.setattr(store_module, "_TOGETHER", 3)
    again = FeatureStore(tmp_path)
    found = find(again, map(str, range(7)))
    assert [float(again.open_shard(found[str(i)].shard)[0, 0]) for i in range(7)] == list(range(7))
