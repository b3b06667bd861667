import multiprocessing
import os
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from snn_action.core.errors import WorkError
from snn_action.core.locks import NoLocksError
from snn_action.features.extraction import locks as locks_module
from snn_action.features.extraction.locks import Locks

FORK = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")


def hold(folder: Path, block: str, pipe: Connection) -> None:
    """Take a block and start a process of one's own, as a decoder is one."""
    taken = Locks(folder)
    pipe.send(taken.take(block))
    child = FORK.Process(target=threading.Event().wait)
    child.start()
    pipe.send(child.pid)
    pipe.recv()


@pytest.fixture
def locks(tmp_path):
    found = Locks(tmp_path / "leases")
    yield found
    found.close()


def names(locks: Locks) -> list[str]:
    return sorted(path.name for path in locks.folder.iterdir())


def test_a_lock_names_its_holder_and_excludes_others(locks):
    assert locks.holder("a") is None
    assert locks.take("a")
    assert locks.take("a")
    other = Locks(locks.folder)
    assert not other.take("a")
    assert other.holder("a").startswith(f"process {os.getpid()} on ")
    assert other.take("b")
    locks.end("a")
    assert other.holder("a") is None
    assert other.take("a")
    other.close()
    assert names(locks) == []


def test_a_lock_ends_with_its_process_though_a_child_of_that_lives_on(locks):
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=hold, args=(locks.folder, "a", theirs))
    process.start()
    assert ours.recv() is True
    child = ours.recv()
    try:
        assert locks.holder("a").startswith(f"process {process.pid} on ")
        assert not locks.take("a")
        process.kill()
        process.join()
        assert locks.holder("a") is None
        assert names(locks) == ["a.lock"]
        assert locks.take("a")
    finally:
        os.kill(child, 9)


@pytest.mark.parametrize("text", [b"", b"\xff\x1b[2J" * 2000])
def test_a_holder_whose_name_cannot_be_read_still_holds(locks, text):
    other = Locks(locks.folder)
    assert other.take("a")
    (locks.folder / "a.lock").write_bytes(text)
    assert not locks.take("a")
    assert locks.holder("a").isprintable()
    other.close()


def test_of_many_one_gets_each_block(tmp_path):
    everyone = [Locks(tmp_path / "leases") for _ in range(8)]
    barrier = threading.Barrier(len(everyone))
    taken: list[int] = []

    def take_all(one: Locks) -> None:
        for block in range(40):
            barrier.wait()
            if one.take(str(block)):
                taken.append(block)

    threads = [threading.Thread(target=take_all, args=(one,)) for one in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(40))
    for one in everyone:
        one.close()


def test_who_opened_a_lock_before_it_was_removed_does_not_get_it(locks, monkeypatch):
    """Else two would hold a block: one the removed file, one the new one."""
    late = Locks(locks.folder)
    locks.take("a")
    import fcntl

    flock, ended = fcntl.flock, []

    def end_first(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_NB and not ended:
            ended.append(True)
            locks.end("a")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", end_first)
    assert not late.take("a")
    assert ended
    assert names(locks) == []
    assert late.take("a")
    late.close()


def test_what_killed_processes_left_of_done_blocks_is_removed(locks):
    other = Locks(locks.folder)
    assert other.take("c")
    for name in ("a.lock", "a.0", "a.1", "a.failed", "b.0", "b.lock"):  # numbers: of an earlier version
        (locks.folder / name).write_text("")
    locks.clean({"a", "c", "d"})
    assert names(locks) == ["a.failed", "b.0", "b.lock", "c.lock"]
    other.close()


def test_without_locks_everybody_works_and_it_is_said_once(locks, monkeypatch, caplog):
    def fail(_: Path) -> None:
        raise NoLocksError("Function not implemented")

    monkeypatch.setattr(locks_module, "try_lock", fail)
    assert locks.take("a")
    assert locks.take("b")
    assert locks.holder("a") is None
    locks.end("a")
    assert caplog.text.count("do work twice") == 1


@pytest.mark.parametrize("error", [28, 13, 30])
def test_a_lock_that_cannot_be_made_is_an_error_with_the_way_out(locks, monkeypatch, error):
    def fail(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(WorkError, match=rf"leases: a block cannot be locked: {os.strerror(error)}.*features\.store"):
        locks.take("a")


def test_a_foreign_thing_in_a_lock_s_place_is_named(locks):
    locks.folder.mkdir()
    (locks.folder / "a.lock").mkdir()
    with pytest.raises(WorkError, match=r"a\.lock: a block cannot be locked"):
        locks.take("a")


def test_a_removed_store_is_an_error_with_the_way_out(tmp_path):
    with pytest.raises(WorkError, match=r"gone/leases: a block cannot be locked: No such file.*features\.store"):
        Locks(tmp_path / "gone" / "leases").take("a")
