import json
import multiprocessing
import os
import time

import pytest

from snn_action.core.errors import WorkError
from snn_action.features.extraction import failures as failures_module
from snn_action.features.extraction.failures import Failures, age
from snn_action.features.store.unfinished import clock
from snn_action.video.settings import LimitSettings

LIMITS = LimitSettings()


def test_what_failed_since_the_beginning_is_told(tmp_path):
    mine, theirs = Failures(tmp_path / "leases", LIMITS), Failures(tmp_path / "leases", LIMITS)
    assert (mine.read("a"), theirs.read("a")) == ({}, {})
    mine.write("a", {"key": "broken"})
    assert theirs.read("a") == {"key": "broken"}
    assert theirs.read("b") == {}
    theirs.write("a", {})
    assert mine.read("a") == {}


def test_what_failed_before_or_under_other_limits_is_tried_again(tmp_path):
    failures = Failures(tmp_path, LIMITS)
    assert failures.read("a") == {}
    failures.write("a", {"key": "broken"})
    assert Failures(tmp_path, LimitSettings(timeout=1)).read("a") == {}
    then = time.time() - 1
    os.utime(tmp_path / "a.failed", (then, then))
    assert Failures(tmp_path, LIMITS).read("a") == {}
    deep, other = '{"reasons":' * 100_000, json.dumps({"limits": LIMITS.model_dump(mode="json"), "reasons": {"key": 1}})
    for text in ("{", "[]", "7", '{"reasons": {}}', deep, other):
        (tmp_path / "a.failed").write_text(text)
        assert failures.read("a") == {}


@pytest.mark.skipif(age(os.getpid()) is None, reason="needs Linux's /proc")
def test_under_torchrun_all_began_with_the_agent(tmp_path, monkeypatch):
    Failures(tmp_path, LIMITS).write("a", {"key": "broken"})
    then = time.time() - 100
    os.utime(tmp_path / "a.failed", (then, then))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setattr(failures_module, "age", {os.getppid(): 1000.0}.get)
    assert Failures(tmp_path, LIMITS).read("a") == {"key": "broken"}
    monkeypatch.setattr(failures_module, "age", {os.getppid(): 10.0}.get)
    assert Failures(tmp_path, LIMITS).read("a") == {}


@pytest.mark.skipif(age(os.getpid()) is None, reason="needs Linux's /proc")
def test_ages_and_clocks_agree_with_this_machine_s(tmp_path):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert 0 <= age(pool._pool[0].pid) <= age(os.getpid())
        gone = pool._pool[0].pid
    assert age(gone) is None
    assert abs(clock(tmp_path) - time.time()) < 5
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WorkError, match=r"gone/leases: cannot be written.*features\.store"):
        Failures(tmp_path / "gone" / "leases", LIMITS).read("a")
    failures = Failures(tmp_path / "leases", LIMITS)
    failures.read("a")
    (tmp_path / "leases").rmdir()
    with pytest.raises(WorkError, match=r"a\.failed: cannot be written: No such file"):
        failures.write("a", {"key": "broken"})
