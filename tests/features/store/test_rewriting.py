import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from snn_action.core.errors import ConfigError, WorkError
from snn_action.features.store import rewriting, shard
from snn_action.features.store.checksum import UNSEALED, seal
from snn_action.features.store.removal import measure_removed, take_out
from snn_action.features.store.rewriting import merge, plan_pruning, prune
from snn_action.features.store.shard import read_description
from snn_action.features.store.store import FeatureStore, Rows
from snn_action.features.store.survey import check_shards, survey_store

from ..conftest import find, key_of

MADE_BY = {"backbone": "small", "digest": "0123"}


def value_of(key: str) -> Tensor:
    """What any store holds under a key: two clips, of 2 and 3 rows."""
    return torch.full((5, 4), float(ord(key))) + torch.arange(5).unsqueeze(1) / 10


def write(folder: Path, *shards: str, stream: str = "rgb", made_by: dict[str, str] = MADE_BY) -> FeatureStore:
    """A store with a shard for each word, with a video for each of its letters."""
    store = FeatureStore(folder)
    for keys in shards:
        store.write(stream, [Rows(key_of(k), f"video {k}", value_of(k), ((0, 1), (4, 5, 6))) for k in keys], made_by)
    return store


def holds(folder: Path) -> str:
    """All keys of a store, each read and held to its value; doubled ones twice."""
    store = FeatureStore(folder)
    shards = survey_store(folder).shards
    keys = sorted(entry.name.removeprefix("video ") for shard in shards for entry in shard.entries)
    for key, place in find(store, keys).items():
        assert place.lengths == (2, 3)
        assert torch.equal(store.open_shard(place.shard)[place.start : place.start + 5], value_of(key))
        entry = next(e for e in store.read_header(place.shard)["entries"] if e["key"] == key_of(key))
        assert (entry["name"], entry["frames"]) == (f"video {key}", [[0, 1], [4, 5, 6]])
    assert len(find(store, keys)) == len(set(keys))
    assert all(check.state == "whole" for check in check_shards(survey_store(folder)))
    return "".join(keys)


def do_prune(folder: Path, needed: str | None = None, compact: int = 0) -> None:
    survey = survey_store(folder)
    plan = plan_pruning(survey, None if needed is None else set(map(key_of, needed)), compact)
    before = sorted(path.name for path in (folder / "shards").iterdir())
    assert before == sorted(path.name for path in (folder / "shards").iterdir()), "a plan changes nothing"
    prune(survey, plan, compact)


def test_doubled_keys_go_and_one_of_each_stays(tmp_path: Path) -> None:
    write(tmp_path, "abc", "cd", "d", "a")
    assert holds(tmp_path) == "aabccdd"
    do_prune(tmp_path)
    assert holds(tmp_path) == "abcd"
    survey = survey_store(tmp_path)
    plan = plan_pruning(survey)
    assert (plan.files, plan.broken, plan.rewritten, plan.dropped, plan.freed) == ({}, {}, {}, 0, 0)


def test_of_doubled_keys_the_whole_copy_stays(tmp_path: Path) -> None:
    write(tmp_path, "ab", "ab")
    first = min((tmp_path / "shards").iterdir())
    content = first.read_bytes()
    first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    do_prune(tmp_path)
    assert not first.exists()
    assert holds(tmp_path) == "ab"


def test_only_what_is_needed_stays_where_that_is_said(tmp_path: Path) -> None:
    write(tmp_path, "abc", "de", "f")
    survey = survey_store(tmp_path)
    plan = plan_pruning(survey, set(map(key_of, "bf")))
    assert plan.dropped == 4
    before = sum(path.stat().st_size for path in (tmp_path / "shards").iterdir())
    do_prune(tmp_path, "bf")
    assert holds(tmp_path) == "bf"
    freed = before - sum(path.stat().st_size for path in (tmp_path / "shards").iterdir())
    assert plan.freed == pytest.approx(freed, rel=0.2)


BROKEN = f"rgb-{'0' * 32}.safetensors"


def test_only_what_is_ours_and_broken_or_abandoned_goes(tmp_path: Path) -> None:
    write(tmp_path, "a")
    shards = tmp_path / "shards"
    of_host = "rgb-x.safetensors.0123456789ab-12-5.part"
    foreign = (
        "notes.txt",
        "notes.part",
        "x.safetensors",
        "rgb-old.safetensors.part",
        "rgb-y.safetensors.elsewhere-1-1.part",
    )
    for name in (*foreign, of_host, f"new{of_host}", BROKEN):
        (shards / name).write_bytes(b"garbage")
    for name in (*foreign, of_host):
        os.utime(shards / name, (0, 0))
    (shards / "folder.safetensors").mkdir()
    (shards / "link.safetensors").symlink_to(shards / BROKEN)
    (shards / f"{of_host}.{of_host}").symlink_to(shards / of_host)
    before = {path.name for path in shards.iterdir()}
    do_prune(tmp_path)
    assert before - {path.name for path in shards.iterdir()} == {BROKEN, of_host}
    assert [path.read_bytes() for path in (tmp_path / "removed").iterdir()] == [b"garbage"]
    assert holds(tmp_path) == "a"


def test_what_was_taken_out_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path, "a")
    for content in (b"one", b"two"):
        (tmp_path / "shards" / BROKEN).write_bytes(content)
        do_prune(tmp_path)
    assert {p.name: p.read_bytes() for p in (tmp_path / "removed").iterdir()} == {BROKEN: b"one", f"{BROKEN}.1": b"two"}
    assert measure_removed(tmp_path) == (2, 6)
    shutil.rmtree(tmp_path / "removed")
    (tmp_path / "removed").symlink_to(tmp_path / "shards")
    (tmp_path / "shards" / BROKEN).write_bytes(b"three")
    with pytest.raises(WorkError, match="removed: is a link"):
        do_prune(tmp_path)


def change(path: Path, **said: object) -> None:
    """Write a shard's header anew, with its right checksum."""
    metadata = {"snn_action": json.dumps(read_description(path)[1] | said), "checksum": UNSEALED}
    path.write_bytes(safetensors.torch.save({"features": torch.ones(5, 4)}, metadata))
    path.write_bytes(seal(path.read_bytes()))


def test_a_later_format_and_what_may_not_be_read_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a", "b", "c")
    later, closed, _ = sorted((tmp_path / "shards").iterdir())
    change(later, format=2)
    real = shard.open_regular

    def refuse(path: Path) -> object:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(shard, "open_regular", refuse)
    survey = survey_store(tmp_path)
    assert survey.left == {
        later.name: "of another format (2), of a later version of this program?",
        closed.name: "cannot be read: Permission denied",
    }
    states = {check.shard: check.state for check in check_shards(survey)}
    assert [states[later.name], states[closed.name]] == ["left", "left"]
    do_prune(tmp_path, "c", compact=9)
    assert take_out(tmp_path, [later.name, closed.name]) == []
    monkeypatch.undo()
    assert later.exists()
    assert closed.exists()


def test_of_doubled_keys_a_shard_that_can_be_checked_stays(tmp_path: Path) -> None:
    write(tmp_path, "a", "a")
    first, second = sorted((tmp_path / "shards").iterdir())
    header = {"snn_action": json.dumps(read_description(first)[1])}
    safetensors.torch.save_file(safetensors.torch.load_file(first), first, header)  # as of before there were checksums
    do_prune(tmp_path)
    assert list((tmp_path / "shards").iterdir()) == [second]


def test_small_shards_are_joined_with_their_kind(tmp_path: Path) -> None:
    write(tmp_path, "a", "b", "c", "d", "e", "fghi")
    write(tmp_path, "m", "n", stream="difference")
    write(tmp_path, "x", made_by={"backbone": "other"})
    do_prune(tmp_path, compact=3)
    assert holds(tmp_path) == "abcdefghimnx"
    sizes = sorted((s.stream, s.backbone[0], len(s.entries)) for s in survey_store(tmp_path).shards)
    wanted = [("difference", "small", 2), ("rgb", "other", 1), ("rgb", "small", 2), ("rgb", "small", 3)]
    assert sizes == [*wanted, ("rgb", "small", 4)]
    assert plan_pruning(survey_store(tmp_path), compact=2).rewritten == {}


def test_who_has_a_shard_open_keeps_it(tmp_path: Path) -> None:
    store = write(tmp_path, "ab")
    features = store.open_shard(find(store, "b")["b"].shard)
    do_prune(tmp_path, "a")
    assert torch.equal(features[5:], value_of("b"))


def test_a_kill_before_the_old_shard_goes_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "abc")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            do_prune(tmp_path, "ab")
    assert holds(tmp_path) == "aabbc"
    do_prune(tmp_path, "ab")
    assert holds(tmp_path) == "ab"


def test_a_broken_shard_costs_itself_and_its_rows_are_not_written_anew(tmp_path: Path) -> None:
    write(tmp_path, "ab", "cd")
    path = min((tmp_path / "shards").iterdir())
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    do_prune(tmp_path, "ac")
    assert holds(tmp_path) in ("a", "c")
    assert (tmp_path / "removed" / path.name).exists()


def test_a_shard_that_breaks_between_plan_and_pruning_is_kept(tmp_path: Path) -> None:
    write(tmp_path, "ab")
    (path,) = (tmp_path / "shards").iterdir()
    survey = survey_store(tmp_path)
    plan = plan_pruning(survey, {key_of("a")})
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WorkError, match=r"wrong checksum.*run this again"):
        prune(survey, plan)
    assert path.exists()


@pytest.mark.parametrize("links", [True, False])
def test_merging_takes_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)
    target, one, two = (tmp_path / name for name in ("target", "one", "two"))
    write(target, "ab")
    write(one, "bc", "de")
    write(two, "ef", "ab")
    done = merge(target, [one, two])
    assert holds(target) == "abcdef"
    assert (done.shards, done.entries, done.present, done.broken) == (1, 2, 4, {})
    assert (holds(one), holds(two)) == ("bcde", "abef")
    assert not list((target / "shards").glob("*.part"))
    again = merge(target, [one, two])
    assert (again.shards, again.entries, again.present) == (0, 0, 8)
    (linked,) = (path for path in (one / "shards").iterdir() if (target / "shards" / path.name).exists())
    assert (linked.stat().st_nlink == 2) == links


def test_merging_leaves_broken_shards_where_they_are_and_names_them(tmp_path: Path) -> None:
    write(tmp_path / "one", "ab", "c")
    harmed = find(FeatureStore(tmp_path / "one"), "a")["a"].shard
    path = tmp_path / "one" / "shards" / harmed
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (path.parent / BROKEN).write_bytes(b"garbage")
    (path.parent / "x.safetensors").write_bytes(b"garbage")  # nobody's
    done = merge(tmp_path / "new", [tmp_path / "one"])
    assert holds(tmp_path / "new") == "c"
    assert set(done.broken) == {str(path), str(path.parent / BROKEN)}
    assert len(list((tmp_path / "new" / "shards").iterdir())) == 1


def test_merging_refuses_itself_and_what_is_no_store(tmp_path: Path) -> None:
    write(tmp_path / "one", "a")
    with pytest.raises(ConfigError, match="into itself"):
        merge(tmp_path / "one", [tmp_path / "one" / ".." / "one"])
    with pytest.raises(ConfigError, match="not a feature store"):
        merge(tmp_path / "one", [tmp_path])


def test_a_full_disk_leaves_the_target_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "target", "a")
    write(tmp_path / "one", "b")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(rewriting.shutil, "copyfile", full)
    with pytest.raises(WorkError, match="No space left on device; make room"):
        merge(tmp_path / "target", [tmp_path / "one"])
    assert holds(tmp_path / "target") == "a"
