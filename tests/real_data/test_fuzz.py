"""A small part of ``benchmarks/robustness/fuzz.py``: damaged videos never crash, hang or lie about their frames."""

import importlib.util
import sys
from pathlib import Path

import pytest

from snn_action.datasets.check import find_all_videos

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "robustness" / "fuzz.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("fuzz", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz"]


def test_damaged_videos_cost_themselves_and_nothing_is_said_that_is_not_so(shared, benchmark):
    sources = [path for name in ("ucf101_clips", "weizmann") for path in find_all_videos(shared / "data" / name)]
    outcomes = benchmark.fuzz(sources, 18, seed=1, workers=2)
    assert [outcome.fault for outcome in outcomes if outcome.fault] == []
    assert {outcome.kind for outcome in outcomes} == set(benchmark.KINDS)
    checks = {outcome.check for outcome in outcomes}
    assert "truncated" in checks
    assert any(check.startswith("usable") for check in checks)


def test_the_judge_finds_what_is_wrong(benchmark, tmp_path):
    path = tmp_path / "a.avi"
    check = benchmark.VideoCheck(str(path), frames=10, declared=10)

    def judge(check=check, read=10, reference=(10, None)):
        return benchmark.judge(path, "bit flips", check, read, reference).fault

    assert judge() is None
    assert "10 frames, the reference: (9, None)" in judge(reference=(9, None))
    assert "10 frames, 12 declared" in judge(check=benchmark.VideoCheck(str(path), frames=10, declared=12))
    assert "crashed" in judge(read=benchmark.Failure("the decoder crashed (SIGSEGV)"))
    assert "without the file's name" in judge(read="broken")
    assert "11 frames" in judge(read=11)
