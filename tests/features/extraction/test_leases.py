import json
import multiprocessing
import os
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from snn_action.core.errors import WorkError
from snn_action.features.extraction import leases as leases_module
from snn_action.features.extraction.holder import Holder, this_process
from snn_action.features.extraction.leases import LIMIT, Lease, Leases

FORK = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")


def hold(folder: Path, block: str, pipe: Connection) -> None:
    pipe.send(type(Leases(folder).take(block)).__name__)
    pipe.recv()


@pytest.fixture
def leases(tmp_path):
    found = Leases(tmp_path / "leases")
    yield found
    found.close()


def write_lease(folder: Path, name: str, age: float = 0.0, **change: object) -> Path:
    """A lease of a process on another host, last touched ``age`` seconds ago."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({"host": "elsewhere", "name": "node7", "pid": 12, "start": 5, **change}))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def names(leases: Leases) -> list[str]:
    return sorted(path.name for path in leases.folder.iterdir())


def test_a_lease_names_its_holder_and_excludes_others(leases):
    assert leases.holder("a") is None
    lease = leases.take("a")
    assert isinstance(lease, Lease)
    other = Leases(leases.folder)
    assert other.take("a") == other.holder("a") == this_process()
    assert isinstance(other.take("b"), Lease)
    assert f"process {os.getpid()} on " in str(other.holder("a"))
    leases.end(lease, done=True)
    assert isinstance(other.take("a"), Lease)
    other.close()
    assert names(leases) == []


def test_a_lease_ends_at_once_with_its_process_on_this_host(leases):
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=hold, args=(leases.folder, "a", theirs))
    process.start()
    assert ours.recv() == "Lease"
    path = leases.folder / "a.0"
    os.utime(path, (0, 0))  # its age does not matter while its process can be seen
    assert leases.take("a").pid == process.pid
    process.kill()
    process.join()
    assert leases.holder("a") is None
    assert isinstance(leases.take("a"), Lease)


def test_elsewhere_it_ends_when_it_is_too_old_by_the_file_system_s_clock(leases, monkeypatch):
    write_lease(leases.folder, "young.0", LIMIT - 10)
    write_lease(leases.folder, "old.0", LIMIT + 10)
    assert leases.take("young") == Holder("elsewhere", "node7", 12, 5)
    assert isinstance(leases.take("old"), Lease)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's clock does not matter
    assert leases.take("young") == Holder("elsewhere", "node7", 12, 5)


def test_elsewhere_it_ends_when_it_does_not_change_though_its_date_lies_in_the_future(leases, monkeypatch):
    write_lease(leases.folder, "dead.0", -86400)
    living = write_lease(leases.folder, "living.0", -86400)
    now = time.monotonic()
    for passed in (0, LIMIT - 1):
        monkeypatch.setattr(time, "monotonic", lambda seconds=passed: now + seconds)
        assert isinstance(leases.holder("dead"), Holder)
        assert isinstance(leases.holder("living"), Holder)
        os.utime(living, (time.time() + 90000 + passed,) * 2)
    monkeypatch.setattr(time, "monotonic", lambda: now + LIMIT + 1)
    assert isinstance(leases.take("living"), Holder)
    assert isinstance(leases.take("dead"), Lease)


def told(**change: object) -> bytes:
    this = this_process()
    return json.dumps({"host": this.host, "name": this.name, "pid": this.pid, "start": this.start, **change}).encode()


STRANGE = [
    told(host=["x"]),
    told(name=None),
    told(pid="1"),
    told(pid=-1),
    told(pid=10**30),
    told(pid=True),
    told(start=[]),
]
ALL = [b"", b"{", b"[]", b'{"host": "x"}', b'{"host":' * 90_000, b"\xff", *STRANGE]


@pytest.mark.parametrize("content", ALL, ids=range(len(ALL)))  # the number of this process is in some
def test_a_lease_without_a_name_counts_until_it_is_old(leases, content):
    path = write_lease(leases.folder, "a.0")
    path.write_bytes(content)
    assert isinstance(leases.take("a"), Holder)
    os.utime(path, (0, 0))
    assert isinstance(leases.take("a"), Lease)


def test_an_ended_lease_is_taken_over_by_one_of_many(tmp_path):
    folder = tmp_path / "leases"
    for block in range(40):
        write_lease(folder, f"{block}.0", LIMIT + 10)
        write_lease(folder, f"{block}.1", LIMIT + 10)
    everyone = [Leases(folder) for _ in range(8)]
    barrier = threading.Barrier(len(everyone))
    taken: list[tuple[int, object]] = []

    def take_all(one: Leases) -> None:
        for block in range(40):
            barrier.wait()
            taken.append((block, one.take(str(block))))

    threads = [threading.Thread(target=take_all, args=(one,)) for one in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [block for block, got in taken if isinstance(got, Lease)]
    assert sorted(winners) == list(range(40))
    assert len(taken) == 320
    for one in everyone:
        one.close()


def test_a_stale_view_takes_nothing_away(leases, monkeypatch):
    """What a rename would get wrong: two find a lease ended; the second one acts after the first has taken over."""
    write_lease(leases.folder, "a.0", LIMIT + 10)
    late = Leases(leases.folder)
    look = Leases._look
    views = [look(late, "a")]
    lease = leases.take("a")
    monkeypatch.setattr(Leases, "_look", lambda self, block: views.pop() if views else look(self, block))
    assert late.take("a") == this_process()
    assert not lease.is_lost()


def test_it_is_noticed_that_a_lease_is_lost(leases):
    lease = leases.take("a")
    assert not lease.is_lost()
    write_lease(leases.folder, "a.1")
    assert lease.is_lost()
    leases.end(lease, done=False)
    assert names(leases) == ["a.1"]
    again = leases.take("b")
    (leases.folder / "b.0").unlink()
    assert again.is_lost()


def test_a_thread_touches_what_is_held_and_nothing_else(leases, monkeypatch):
    monkeypatch.setattr(leases_module, "BEAT", 0.02)
    leases.take("a")
    leases.take("b")
    foreign = write_lease(leases.folder, "b.0", 100)  # somebody else's by now
    path = leases.folder / "a.0"
    os.utime(path, (0, 0))
    for _ in range(500):
        if path.stat().st_mtime > 0:
            break
        time.sleep(0.01)
    assert path.stat().st_mtime > time.time() - 60
    assert foreign.stat().st_mtime < time.time() - 90


def test_what_killed_processes_left_of_done_blocks_is_removed(leases):
    write_lease(leases.folder, "a.0", LIMIT + 10)
    write_lease(leases.folder, "a.1", LIMIT + 10)
    write_lease(leases.folder, "b.0", LIMIT + 10)
    write_lease(leases.folder, "c.0", LIMIT + 10)
    write_lease(leases.folder, "c.1")
    leases.clean({"a", "c", "d"})
    assert names(leases) == ["b.0", "c.0", "c.1"]


def test_a_block_that_was_not_finished_keeps_its_generations(leases):
    write_lease(leases.folder, "a.0", LIMIT + 10)
    lease = leases.take("a")
    assert names(leases) == ["a.0", "a.1"]
    leases.end(lease, done=False)
    assert names(leases) == ["a.0"]
    leases.end(leases.take("a"), done=True)
    assert names(leases) == []


@pytest.mark.parametrize("error", [28, 13, 30])
def test_a_lease_that_cannot_be_written_is_an_error_with_the_way_out(leases, monkeypatch, error):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            raise OSError(error, os.strerror(error))

        def write(self, _):
            return 0

    original = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, mode="r", **how: Full() if mode == "xb" else original(self, mode, **how)
    )
    with pytest.raises(WorkError, match=rf"leases: leases cannot be taken: {os.strerror(error)}.*features\.store"):
        leases.take("a")


def test_a_foreign_thing_in_a_lease_s_place_is_named(leases):
    leases.folder.mkdir()
    (leases.folder / "a.0").mkdir()
    if os.name == "posix":
        os.mkfifo(leases.folder / "b.0")
    for block in ("a", "b") if os.name == "posix" else ("a",):
        with pytest.raises(WorkError, match=rf"{block}\.0: leases cannot be taken"):
            leases.take(block)


def test_a_removed_store_is_an_error_with_the_way_out(tmp_path):
    with pytest.raises(WorkError, match=r"gone/leases: leases cannot be taken: No such file.*features\.store"):
        Leases(tmp_path / "gone" / "leases").take("a")
