import multiprocessing
import os
import time
from pathlib import Path

import pytest

from snn_action.features.extraction import holder
from snn_action.features.extraction.holder import age, clock, is_gone, is_marked_gone, this_process

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs Linux's /proc")


def name_itself(pipe):
    pipe.send(this_process())
    pipe.recv()


@pytest.fixture
def other():
    """A process, killed at the end, and what it calls itself."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=name_itself, args=(theirs,))
    process.start()
    yield process, ours.recv()
    process.kill()
    process.join()


def test_a_process_is_gone_when_it_is_killed_even_where_nobody_has_waited_for_it(other):
    process, name = other
    host, pid, start, mark = name.host, name.pid, name.start, name.mark
    assert host == this_process().host
    assert pid == process.pid
    assert is_gone(host, pid, start) is False
    assert is_marked_gone(mark) is False
    process.kill()
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert is_gone(host, pid, start) is True
    process.join()
    assert is_gone(host, pid, start) is True
    assert is_marked_gone(mark) is True


def test_a_number_that_another_process_has_now_does_not_hold():
    me = this_process()
    assert is_gone(me.host, me.pid, me.start) is False
    assert is_gone(me.host, me.pid, me.start - 1) is True


@pytest.mark.parametrize("mark", ["", "uuid", "abc-1-2", "abc-x-2", "abc-1-", "abc-²-2"])
def test_of_other_hosts_and_foreign_marks_nothing_is_known(mark):
    me = this_process()
    assert is_gone("elsewhere", me.pid, me.start) is None
    assert is_gone(me.host, me.pid, None) is None
    assert is_marked_gone(mark) is None


def test_a_process_that_proc_hides_is_not_said_to_be_gone(monkeypatch, tmp_path):
    me = this_process()
    monkeypatch.setattr(holder, "_PROC", tmp_path)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_gone(me.host, me.pid, me.start) is None


def test_ages_and_clocks_agree_with_this_machine_s(other, tmp_path):
    young, old = age(other[0].pid), age(os.getpid())
    assert 0 <= young < 60
    assert young <= old
    assert abs(clock(tmp_path) - time.time()) < 5
    assert list(tmp_path.iterdir()) == []
