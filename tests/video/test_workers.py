import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from snn_action.video.workers import AHEAD, Failure, map_apart


def double(number):
    return 2 * number


@pytest.mark.parametrize("workers", [1, 3, 50])
def test_results_come_in_order(workers):
    assert list(map_apart(double, range(20), workers, 60)) == [2 * number for number in range(20)]


def test_there_may_be_nothing_to_do_and_there_must_be_somebody_to_do_it():
    assert list(map_apart(double, [], 2, 60)) == []
    with pytest.raises(ValueError, match="0 workers"):
        map_apart(double, [1], 0, 60)


def test_tensors_travel_whole():
    shape = (40, 3, 16, 16)

    def make(seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last)

    for seed, found in enumerate(map_apart(make, range(6), 2, 60)):
        assert torch.equal(found, make(seed))
        assert found.stride() == make(seed).stride()


def misbehave(item):
    kind, number = item
    if kind == "segfault":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # without the traceback that pytest would print
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(7)
    if kind == "hang":
        time.sleep(600)
    if kind == "raise":
        raise MemoryError("too large")
    return number


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_each_failure_costs_its_own_item_and_says_why(workers):
    kinds = ["segfault", "well", "segfault", "exit", "well", "hang", "raise", "well", "hang", "well", "segfault"]
    reasons = {
        "segfault": Failure("the decoder crashed (SIGSEGV)"),
        "exit": Failure("the decoder crashed (exit code 7)"),
        "hang": Failure("the decoder hangs: given up after 1.5 s; see features.limits.timeout"),
        "raise": Failure("MemoryError: too large"),
    }
    items = [(kind, number) for number, kind in enumerate(kinds)]
    found = list(map_apart(misbehave, items, workers, 1.5))
    assert found == [reasons.get(kind, number) for kind, number in zip(kinds, range(len(kinds)), strict=True)]


def die_while_sending(number):
    def send_half(self, content, write=os.write):
        write(self.fileno(), content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    if number == 2:
        Connection._send = send_half
    return bytes(100_000)


def test_a_worker_that_is_killed_while_it_sends_costs_its_own_item():
    found = list(map_apart(die_while_sending, range(5), 2, 60))
    assert found[2] == Failure("the decoder crashed (SIGKILL)")
    assert found[:2] + found[3:] == [bytes(100_000)] * 4


def test_workers_that_are_killed_while_idle_cost_no_more_than_what_they_are_given_next():
    results = map_apart(lambda _: os.getpid(), range(60), 2, 60)
    pids = {next(results) for _ in range(9)}
    time.sleep(0.3)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert wait_until_gone(pids)
    found = list(results)
    assert len(found) == 51
    assert sum(isinstance(result, Failure) for result in found) <= len(pids)


def test_a_slow_caller_is_not_taken_for_a_hang():
    results = []
    for result in map_apart(double, range(6), 2, 0.2):
        time.sleep(0.3)
        results.append(result)
    assert results == [0, 2, 4, 6, 8, 10]


def test_only_a_few_items_are_done_ahead(tmp_path):
    def note(number):
        (tmp_path / str(number)).touch()
        return number

    results = map_apart(note, range(50), 2, 60)
    next(results)
    time.sleep(0.3)
    assert len(list(tmp_path.iterdir())) <= 1 + 2 * AHEAD
    results.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_items_are_asked_for_when_a_worker_is_free(workers):
    asked = []

    def coming():
        for number in range(9):
            asked.append(number)
            yield number

    results = map_apart(double, coming(), workers, 60)
    assert asked == []
    for number, result in enumerate(results):
        assert result == 2 * number
        assert len(asked) <= number + AHEAD * workers
    assert asked == list(range(9))
    assert list(map_apart(double, iter([]), workers, 60)) == []


def test_a_failure_to_give_items_is_the_caller_s():
    def coming():
        yield 1
        raise OSError("no more")

    results = map_apart(double, coming(), 1, 60)
    with pytest.raises(OSError, match="no more"):
        list(results)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids):
    for _ in range(200):
        if not any(map(is_alive, pids)):
            return True
        time.sleep(0.05)
    return False


def test_workers_end_with_the_iterator():
    results = map_apart(lambda _: os.getpid(), range(50), 3, 60)
    pids = {next(results) for _ in range(10)}
    results.close()
    assert wait_until_gone(pids)


CALLER = """
import os, sys, time
from snn_action.video.workers import map_apart
def work(number):
    if number > 1:
        time.sleep(600)
    return os.getpid()
for pid in map_apart(work, range(9), 2, 600):
    print(pid, flush=True)
"""


def test_workers_end_with_a_caller_that_is_killed():
    caller = subprocess.Popen([sys.executable, "-c", CALLER], stdout=subprocess.PIPE, text=True)
    pids = {int(caller.stdout.readline()) for _ in range(2)}
    caller.kill()
    caller.wait()
    caller.stdout.close()
    assert pids
    assert wait_until_gone(pids)


def work_in_a_daemon(items):
    return [result.reason if isinstance(result, Failure) else result for result in map_apart(misbehave, items, 2, 60)]


def test_a_daemonic_process_works_itself(capfd):
    """A worker of a pool may start no others."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(work_in_a_daemon, ([("well", 1), ("raise", 2), ("well", 3)],)).get(120) == [
            1,
            "MemoryError: too large",
            3,
        ]
    assert "videos are decoded in it" in capfd.readouterr().err
