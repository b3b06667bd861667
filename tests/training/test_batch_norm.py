"""Two processes whose shares differ, against one that has the whole batch."""

import os
import subprocess
import sys

import torch
from torch import nn

from snn_action.training.batch_norm import share_statistics

SCRIPT = """
import copy

import torch
from torch import nn

from snn_action.core import distributed
from snn_action.training.batch_norm import share_statistics

torch.manual_seed(0)
x, weight = torch.randn(2, 7, 3, 4, 4, dtype=torch.float64)
def check(momentum):
    whole = nn.BatchNorm2d(3, momentum=momentum).double()
    with torch.no_grad():
        whole.weight.uniform_()
        whole.bias.uniform_()
    own, filled, before = (copy.deepcopy(whole) for _ in range(3))
    seen = x.clone().requires_grad_()
    expected = whole(seen)
    (expected * weight).sum().backward()
    first = distributed.is_main()
    share = slice(0, 5) if first else slice(5, 7)
    given = x[share].clone().requires_grad_()
    with share_statistics(nn.Sequential(own), counts=True):
        found = own(given)
    (found * weight[share]).sum().backward()
    total = own.weight.grad.clone()
    torch.distributed.all_reduce(total)
    with share_statistics(filled, counts=first):  # the other's share is there to fill up
        torch.testing.assert_close(filled(x), before(x))
    torch.testing.assert_close(found, expected[share])
    torch.testing.assert_close(given.grad, seen.grad[share])
    torch.testing.assert_close(total, whole.weight.grad)
    for one in (own, filled):
        torch.testing.assert_close(one.running_mean, whole.running_mean)
        torch.testing.assert_close(one.running_var, whole.running_var)
        assert one.num_batches_tracked == 1
        assert "forward" not in vars(one)


with distributed.group():  # once: a second one would be given the addresses of the first
    for momentum in (0.1, None):
        check(momentum)
"""


def test_statistics_and_gradients_are_those_of_the_whole_batch(tmp_path):
    script = tmp_path / "share.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_in_one_process_nothing_is_changed():
    norm = nn.BatchNorm1d(3)
    with share_statistics(norm, counts=True):
        assert "forward" not in vars(norm)
    torch.testing.assert_close(norm.running_mean, torch.zeros(3))
