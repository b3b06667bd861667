"""Kernels in every kind of process: forked, in a pool, without a compiler, with nowhere to write."""

import multiprocessing
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from snn_action.models import build_model
from snn_action.snn.fused import dispatch

PROGRAM = """
import torch

torch.set_num_threads(1)
from snn_action.models import build_model

model = build_model({"type": "ensemble_array", "n_ensembles": 8, "n_neurons": 20}, 4, 3, seed=0)
features = torch.linspace(-2, 2, 16 * 9 * 4).view(16, 9, 4)
for _ in range(2):
    logits, _ = model(features)
    logits.sum().backward()
from snn_action.snn.fused import dispatch

print(torch.get_num_threads(), dispatch._works(), f"{float(logits.detach().square().sum()):.3f}")
"""


def run_apart(program: str = PROGRAM, **environment: str) -> tuple[list[str], str]:
    """What the program prints, and its warnings."""
    words = [sys.executable, "-c", program]
    given = {**os.environ, **environment}
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=given, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@pytest.fixture(scope="module")
def usual() -> list[str]:
    return run_apart()[0]


def test_kernels_leave_the_number_of_threads_of_pytorch_alone(usual):
    assert usual[:2] == ["1", "True"]


def test_without_numbas_compiler_pytorchs_operations_do_the_same_and_one_line_says_so(usual):
    printed, said = run_apart(NUMBA_DISABLE_JIT="1")
    assert printed == ["1", "False", usual[2]]
    assert said.count("PyTorch's own operations are used") == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"NUMBA_THREADING_LAYER": "nonsense"},
        {"NUMBA_NUM_THREADS": "1", "PYTHONOPTIMIZE": "1"},
        {"NUMBA_CACHE_DIR": "/dev/null/nonsense"},
    ],
)
def test_settings_of_numba_do_not_matter(environment, usual):
    printed, said = run_apart(**environment)
    assert printed == usual
    assert not said


@pytest.mark.parametrize("place", ["/dev/null/nonsense", ""])
def test_where_nothing_can_be_written_kernels_are_compiled_and_one_line_says_so(place, usual):
    """The second: no home directory either, and a user that has no name."""
    homeless = "" if place else "import os, pwd; del os.environ['HOME']; os.getuid = lambda: 12345\n"
    forward = PROGRAM.replace("    logits.sum().backward()\n", "")  # half as much to compile
    printed, said = run_apart(homeless + forward, XDG_CACHE_HOME=place)
    assert printed == usual
    assert said.count("every process compiles them anew") == 1


@pytest.fixture
def work():
    """A model that has run here, its input and its output."""
    model = build_model({"type": "ensemble_array", "n_ensembles": 4, "n_neurons": 10}, 6, 3, seed=1).eval()
    features = torch.linspace(-2, 2, 9 * 20 * 6).view(9, 20, 6)
    return model, features, model(features)[0].detach()


def infer(model, features) -> np.ndarray:
    return model(features)[0].detach().numpy()


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_a_pool_runs_kernels_after_its_parent_did(start, work):
    """A child that waits for its parent's threads would wait for ever; ``get`` gives up."""
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} here")
    model, features, expected = work
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tried here
        with multiprocessing.get_context(start).Pool(1) as pool:
            found = pool.apply_async(infer, (model, features)).get(240)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_child_computes_after_its_parent_did_so_with_several_threads():
    program = (
        PROGRAM.replace("set_num_threads(1)", "set_num_threads(2)")
        + """
import multiprocessing, warnings

warnings.simplefilter("ignore")
big = torch.randn(600, 600)
(big @ big).exp().sum()


def child():
    (big @ big).exp().sum()
    assert torch.isfinite(model(features)[0]).all()


process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
print(process.exitcode)
process.kill()
"""
    )
    assert run_apart(program, OMP_NUM_THREADS="2")[0][-1] == "0"


class _Inferred(Dataset):
    def __init__(self, model, features) -> None:
        self.model, self.features = model, features

    def __len__(self) -> int:
        return 2

    def __getitem__(self, _: int) -> np.ndarray:
        return infer(self.model, self.features)


def test_a_loaders_workers_run_kernels(work):
    model, features, expected = work
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for found in DataLoader(_Inferred(model, features), batch_size=1, num_workers=2, timeout=240):
            torch.testing.assert_close(found[0], expected)


def test_work_is_shared_out_among_threads_each_job_once(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for jobs in (1, 2, 7, 100):
        done = np.zeros(jobs, int)

        def function(begin, end, step, done=done):
            done[begin:end] += step

        dispatch.share_out(function, jobs, 10**9, step=2)
        assert (done == 2).all()


def test_what_goes_wrong_in_another_thread_is_raised(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def function(begin, _):
        if begin:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        dispatch.share_out(function, 20, 10**9)


def test_results_do_not_depend_on_the_number_of_threads(work, monkeypatch):
    model, features, expected = work
    monkeypatch.setattr(dispatch, "SMALL", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(model(features)[0], expected)


def test_kernels_that_give_wrong_results_are_not_used(monkeypatch, caplog):
    cpu, _ = dispatch.load()
    dispatch._works.cache_clear()
    monkeypatch.setattr(cpu, "neurons_forward", lambda *_, **__: None)
    try:
        assert not dispatch.is_available(torch.zeros(1))
    finally:
        dispatch._works.cache_clear()
    assert "their results are wrong" in caplog.text
