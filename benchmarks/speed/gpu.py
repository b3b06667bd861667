"""Speed on a GPU: neurons over time and training steps of ensemble arrays, fused against PyTorch's own operations.

    python benchmarks/speed/gpu.py [--dry] [--device cuda]

``--dry`` leaves docs/results.md as it is. Lines are printed as they come.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import make_table, write_section
from snn_action.core import registry
from snn_action.models import build_model
from snn_action.snn.fused import dispatch

LIF_STEPS, LIF_NEURONS, LIF_BATCHES = 100, 1024, (16, 256)
STEPS, INPUTS, OUTPUTS, NEURONS = 25, 512, 14, 50
ENSEMBLES, BATCHES = (1000, 10_000), (100, 512)
TURNS, FEWEST, SECONDS = 20, 3, 8.0


def make_lif(batch: int, device: torch.device) -> Callable[[], object]:
    """Forward, and back to currents: as ``neurons.py``."""
    neuron = registry.parse("neuron", {"type": "lif"}).build("surrogate").to(device)
    noise = 0.5 * torch.randn(batch, LIF_STEPS, LIF_NEURONS, device=device)
    current = (3 * torch.rand(batch, 1, LIF_NEURONS, device=device) + noise).requires_grad_()
    upstream = torch.randn_like(current)
    return lambda: torch.autograd.grad(neuron(current)[0], current, upstream)


def make_array(ensembles: int, batch: int, device: torch.device) -> Callable[[], object]:
    """A step of Adam on the cross-entropy of time steps: as ``ensemble_array.py``."""
    settings = {"type": "ensemble_array", "n_ensembles": ensembles, "n_neurons": NEURONS, "gradient": "spike_aware"}
    model = build_model(settings, in_features=INPUTS, num_classes=OUTPUTS, seed=0).train().to(device)
    x = torch.randn(batch, STEPS, INPUTS, device=device)
    y = torch.zeros(batch * STEPS, dtype=torch.long, device=device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x)[0].flatten(0, 1), y).backward()
        optimizer.step()

    return step


def measure(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Median seconds, after a run that warms up, and GiB of the GPU's memory at most."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds: list[float] = []
    for turn in range(TURNS + 1):
        begin = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        if turn:
            seconds.append(time.perf_counter() - begin)
        if len(seconds) >= FEWEST and sum(seconds) > SECONDS:
            break
    return statistics.median(seconds), torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0


def _never(_: torch.Tensor) -> bool:
    return False


def compare(name: str, batch: int, work: Callable[[], object], neuron_steps: int, device: torch.device) -> list[str]:
    """A line of the table; PyTorch's own operations may need more memory than there is."""
    results = []
    plain = mock.patch.object(dispatch, "is_available", _never)  # a Mock would keep all that it is called with
    kinds: list[AbstractContextManager[object]] = [nullcontext(), plain]
    for kind in kinds:
        with kind:
            try:
                results.append(measure(work, device))
            except torch.OutOfMemoryError:
                results.append((math.nan, math.nan))
        if device.type == "cuda":
            torch.cuda.empty_cache()
    (fused, memory), (own, own_memory) = results
    rate = f"{neuron_steps / fused / 1e9:.2f}"
    row = [name, str(batch), f"{1000 * fused:.2f}", f"{1000 * own:.2f}", f"{own / fused:.1f}", rate]
    row += [f"{memory:.2f}", f"{own_memory:.2f}"]
    row = ["out of memory" if cell == "nan" else cell for cell in row]
    print(" | ".join(row), file=sys.stderr, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="leave docs/results.md as it is")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--ensembles", type=int, nargs="+", default=ENSEMBLES)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rows = []
    for batch in LIF_BATCHES:
        count = batch * LIF_STEPS * LIF_NEURONS
        rows.append(compare(f"{LIF_NEURONS} LIF, {LIF_STEPS} steps", batch, make_lif(batch, device), count, device))
    for ensembles in arguments.ensembles:
        for batch in arguments.batches:
            name, count = f"{ensembles} ensembles, a training step", batch * STEPS * ensembles * NEURONS
            rows.append(compare(name, batch, make_array(ensembles, batch, device), count, device))
    header = ["", "batch", "fused ms", "PyTorch ms", "times", "billion neuron-steps/s", "fused GiB", "PyTorch GiB"]
    table = make_table(header, rows)
    if arguments.dry or device.type != "cuda":
        print(table)
        return
    write_section(
        "Speed on a GPU",
        f"On one {torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}, in float32. *Fused*: this "
        "project's kernels (Triton). *PyTorch*: the same model on the same GPU with PyTorch's own operations, which "
        "start one kernel for each operation of each step. *LIF*: forward and back to the gradient of the currents, "
        f"mode `surrogate`. *Ensembles*: a training step with Adam, mode `spike_aware`, ensembles of {NEURONS} "
        f"SpikingRectifiedLinear neurons, {STEPS} steps, {INPUTS} inputs, {OUTPUTS} outputs. *Times*: PyTorch's time "
        f"divided by ours. *Billion neuron-steps/s*: the speed of the fused kernels. Times are medians of {TURNS} "
        f"runs, or of fewer (at least {FEWEST}) where these take more than {SECONDS:.0f} seconds together. GiB: the "
        "most memory that PyTorch had allocated on the GPU.",
        table,
    )


if __name__ == "__main__":
    main()
