"""Full disks, removed folders, refused permission and read-only stores: what is said, and what is kept."""

import ctypes
import errno
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.core.errors import WorkError
from snn_action.datasets.catalog import Catalog
from snn_action.features.extraction import extract, failures, locks
from snn_action.features.extraction.extract import Extraction, extract_features
from snn_action.features.store import store as store_module
from snn_action.features.store.store import FeatureStore, Rows
from snn_action.features.store.survey import survey_store

from ..conftest import find, key_of, make_catalog, make_config, make_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and limits of POSIX")
NOBODY = 65534
FORK = multiprocessing.get_context("fork") if os.name == "posix" else None


def run(catalog: Catalog, config: Config, backbone: Backbone) -> Extraction:
    return extract_features(catalog, config, backbone, "cpu", progress=False)


def run_apart(function: Callable[[], Any], before: Callable[[], None]) -> Any:
    """``function`` in another process, after ``before`` there: its result, or its error raised here."""

    def work() -> None:
        before()
        try:
            theirs.send((True, function()))
        except Exception as error:
            theirs.send((False, error))

    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=work)
    process.start()
    well, result = ours.recv()
    process.join()
    if not well:
        raise result
    return result


def become_nobody() -> None:
    if os.geteuid() == 0:  # root may do everything
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def reachable(open_folder: Path) -> Catalog:
    return make_catalog([make_folder(open_folder / "videos" / f"v{i}", 4, i) for i in range(4)])


def mount_small_disk(folder: Path) -> None:
    """In a mount namespace of this process's own, so that nothing can stay behind."""
    if ctypes.CDLL(None).unshare(0x00020000) != 0:  # CLONE_NEWNS
        raise PermissionError
    for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", "size=2m", "none", str(folder)]):
        if subprocess.run(["mount", *words], capture_output=True).returncode:
            raise PermissionError


def at_call(number: int, event: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen when the network gets its ``number``-th video."""
    calls: list[None] = []
    embed = extract.embed_clips

    def noted(*arguments: Any) -> torch.Tensor:
        calls.append(None)
        if len(calls) == number:
            event()
        return embed(*arguments)

    monkeypatch.setattr(extract, "embed_clips", noted)


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("mount") is None, reason="needs Linux's mounts")
def test_a_full_disk_keeps_what_is_complete(catalog, small, tmp_path, monkeypatch):
    config = make_config(tmp_path / "disk" / "store", shard_videos=1)
    filler = tmp_path / "disk" / "filler"
    (tmp_path / "disk").mkdir()

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    def fail_and_go_on() -> tuple[str, int, int] | None:
        try:
            mount_small_disk(tmp_path / "disk")
        except PermissionError:
            return None
        with monkeypatch.context() as patched:
            at_call(4, fill, patched)
            with pytest.raises(WorkError) as told:
                run(catalog, config, small)
        filler.unlink()
        done = run(catalog, config, small)
        return str(told.value), done.n_reused, done.n_extracted

    result = run_apart(fail_and_go_on, lambda: None)
    if result is None:
        pytest.skip("needs the right to mount a small file system")
    told, reused, extracted = result
    assert (reused, extracted) == (3, 2)
    assert str(config.features.store) in told
    assert "features.store" in told
    assert "full" in told or "No space left" in told


def test_a_file_that_may_not_grow_leaves_nothing_half(tmp_path):
    resource = pytest.importorskip("resource")
    store = FeatureStore(tmp_path / "store")
    store.write("rgb", [Rows(key_of("x"), "x", torch.ones(3, 4), ((0, 1, 2),))], {})
    store.close()

    def write_more() -> None:
        FeatureStore(tmp_path / "store").write(
            "rgb", [Rows(key_of("y"), "y", torch.ones(9000, 4), (tuple(range(9000)),))], {}
        )

    with pytest.raises(WorkError, match=r"store/shards: cannot write features.*too large.*All earlier shards"):
        run_apart(write_more, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert len(list((tmp_path / "store" / "shards").iterdir())) == 1
    assert find(FeatureStore(tmp_path / "store"), ["x", "y"]).keys() == {"x"}


def no_room(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def add_without_room(store: FeatureStore, _: Any) -> None:
    def fail(_: Any) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    store.database.run(fail)


FULL = {  # where the disk is full, and what is named
    "lock": (locks, "try_lock", no_room, "leases"),
    "shard": (Path, "write_bytes", no_room, "shards"),
    "checksum": (store_module, "seal", no_room, "shards"),
    "sync": (store_module, "_to_disk", no_room, "shards"),
    "rename": (Path, "replace", no_room, "shards"),
    "index": (FeatureStore, "_add", add_without_room, r"index\.sqlite"),
    "failures": (failures, "write_atomic", no_room, r"\.failed"),
}


@pytest.mark.parametrize("step", FULL)
@pytest.mark.parametrize("call", [1, 2])
def test_a_disk_that_fills_at_any_step_is_said_and_loses_nothing(catalog, small, configure, monkeypatch, step, call):
    for bad in (1, 3):
        next(catalog.videos[bad].path.iterdir()).write_bytes(b"garbage")
    config, other = configure(shard_videos=1), configure("other", shard_videos=1)
    dataset = config.dataset.model_copy(update={"max_bad_share": 0.5})
    config, other = (c.model_copy(update={"dataset": dataset}) for c in (config, other))
    expected = run(catalog, other, small)
    owner, name, fail, named = FULL[step]
    original, calls = getattr(owner, name), []

    def full(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        return (fail if len(calls) >= call else original)(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, full)
        with pytest.raises(WorkError, match=rf"{config.features.store}.*{named}.*features\.store") as told:
            run(catalog, config, small)
    assert "full" in str(told.value) or "No space left" in str(told.value)
    assert "shards are complete" in str(told.value)
    assert "goes on from there" in str(told.value)
    assert not list(config.features.store.rglob("*.part"))
    done = run(catalog, config, small)
    assert done.bad.keys() == expected.bad.keys()
    assert done.features.read(range(3))[0].tolist() == expected.features.read(range(3))[0].tolist()
    assert not survey_store(config.features.store).find_doubled()


@pytest.mark.parametrize("gone", ["", "shards", "leases"])
def test_a_folder_that_is_removed_meanwhile_is_named(catalog, small, configure, monkeypatch, gone):
    config = configure(shard_videos=1)
    at_call(3, lambda: shutil.rmtree(config.features.store / gone), monkeypatch)
    if gone == "leases":  # they are only made anew
        assert run(catalog, config, small).n_extracted == 5
        return
    with pytest.raises(WorkError, match=rf"{config.features.store}.*No such file or directory.*features\.store"):
        run(catalog, config, small)


@pytest.mark.parametrize("refused", ["shards", "leases", "index.sqlite"])
def test_refused_permission_is_said(reachable, small, open_folder, refused):
    config = make_config(open_folder / "store")
    FeatureStore(config.features.store).close()
    (config.features.store / "leases").mkdir()
    for path in (config.features.store, *config.features.store.iterdir()):
        path.chmod(0o777)
    (config.features.store / refused).chmod(0o555 if refused != "index.sqlite" else 0o444)
    with pytest.raises(WorkError, match=rf"{config.features.store}/{refused}.*features\.store") as told:
        run_apart(lambda: run(reachable, config, small).n_extracted, become_nobody)
    assert any(words in str(told.value) for words in ("ermission denied", "readonly", "unable to open"))


def test_a_shard_that_may_not_be_read_is_not_called_broken(reachable, small, open_folder):
    config = make_config(open_folder / "store")
    run(reachable, config, small)
    shard = min((config.features.store / "shards").iterdir())
    shard.chmod(0)

    def open_it() -> None:
        FeatureStore(config.features.store).open_shard(shard.name)

    with pytest.raises(WorkError, match=rf"{shard}: this shard may not be used \(cannot be read: Permission denied\)"):
        run_apart(open_it, become_nobody)


@pytest.mark.parametrize("index", ["whole", "lost", "broken", "old"])
def test_a_read_only_store_serves_what_it_has(reachable, small, another, open_folder, index):
    config = make_config(open_folder / "store")
    if index == "old":
        run(make_catalog([video.path for video in reachable.videos[:2]]), config, small)
        old = (config.features.store / "index.sqlite").read_bytes()
    expected = run(reachable, config, small)
    path = config.features.store / "index.sqlite"
    if index == "lost":
        path.unlink()
    elif index != "whole":
        path.write_bytes(old if index == "old" else b"garbage" * 1000)
    for folder in (config.features.store, *(p for p in config.features.store.rglob("*") if p.is_dir())):
        folder.chmod(0o555)

    def read() -> tuple[int, list[Any]]:
        done = run(reachable, config, small)
        return done.n_reused, done.features.read(range(4))[0].tolist()

    before = {p: p.stat().st_mtime_ns for p in config.features.store.rglob("*")}
    assert run_apart(read, become_nobody) == (4, expected.features.read(range(4))[0].tolist())
    assert {p: p.stat().st_mtime_ns for p in config.features.store.rglob("*")} == before
    with pytest.raises(WorkError, match=r"store/shards: cannot write features.*ermission denied.*features\.store"):
        run_apart(lambda: run(reachable, config, another).n_extracted, become_nobody)


def test_a_read_only_store_leaves_out_the_same_videos(reachable, small, open_folder):
    config = make_config(open_folder / "store")
    config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"max_bad_share": 0.5})})
    (reachable.videos[1].path / "frame000002.jpg").write_bytes(b"garbage")
    bad = run(reachable, config, small).bad
    for folder in (config.features.store, *(p for p in config.features.store.rglob("*") if p.is_dir())):
        folder.chmod(0o555)
    assert bad.keys() == {1}
    assert run_apart(lambda: run(reachable, config, small).bad, become_nobody) == bad


def test_the_index_may_lie_elsewhere(catalog, small, configure, tmp_path):
    config = configure(index=tmp_path / "index.sqlite")
    first = run(catalog, config, small)
    assert not (config.features.store / "index.sqlite").exists()
    (tmp_path / "index.sqlite").unlink()
    again = run(catalog, config, small)
    assert (first.n_extracted, again.n_reused) == (5, 5)
    with pytest.raises(WorkError, match=r"none/index\.sqlite.*index of the feature store"):
        run(catalog, configure(index=tmp_path / "none" / "index.sqlite"), small)
