import os
import subprocess
import sys

PROGRAM = """
import torch

torch.set_num_threads(1)
from snn_action.models import build_model

model = build_model({"type": "ensemble_array", "n_ensembles": 8, "n_neurons": 20}, 4, 3)
for _ in range(2):
    model(torch.zeros(16, 9, 4))[0].sum().backward()
import numba

print(torch.get_num_threads(), numba.get_num_threads())
"""


def test_kernels_leave_the_number_of_threads_of_pytorch_alone():
    """They share OpenMP; a process that is forked after it has begun more threads would wait for them for ever."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    words = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.stdout == "1 2\n", done.stderr
