"""Clips per second and memory of the ensemble array, against the machine's own limit and against NengoDL.

    python benchmarks/speed/ensemble_array.py [--peers FOLDER] [--ensembles 1000 10000]

FOLDER holds the virtual environment ``nengo_dl``, made as ``benchmarks/peers/README.md`` says; without it only the
limit is compared. 25 steps, 512 inputs, 14 outputs, ensembles of 50 SpikingRectifiedLinear neurons, medians of 5.

The limit is what the machine gives in the same run: the matrix products at the rate of a large single-precision
product, and 6 vector operations a neuron-step forward and 12 backward at the rate of a loop of fused multiply-adds.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.machine import BACKWARD, FORWARD, measure_product, measure_vector
from benchmarks.lib.table import make_table, write_section
from benchmarks.lib.timing import REPETITIONS, ask, time_of
from snn_action.core.malloc import keep_freed_memory
from snn_action.models import build_model

STEPS, INPUTS, OUTPUTS, NEURONS = 25, 512, 14, 50
PEAK_BATCH = 100  # at which memory is measured; clips a second at a batch that fills vectors of 16 clips
PEER = Path(__file__).parents[1] / "peers" / "nengo_dl_array.py"


def least_seconds(ensembles: int, batch: int, train: bool, machine: tuple[float, float]) -> float:
    """The limit of a batch; the input needs no gradient."""
    product, vector = machine
    rows = batch * STEPS * ensembles
    products = rows * (INPUTS * (2 if train else 1) + OUTPUTS * (3 if train else 1))
    return products / product + rows * NEURONS * (FORWARD + BACKWARD * train) / vector


def run_ours(ensembles: int, batch: int, train: bool) -> dict[str, float]:
    """As ``nengo_dl_array.py``: a step of Adam on the cross-entropy of time steps, or a forward pass."""
    begin = time.perf_counter()
    settings = {"type": "ensemble_array", "n_ensembles": ensembles, "n_neurons": NEURONS, "gradient": "spike_aware"}
    model = build_model(settings, in_features=INPUTS, num_classes=OUTPUTS, seed=0).train(train)
    built = time.perf_counter() - begin
    x, y = torch.randn(batch, STEPS, INPUTS), torch.randint(OUTPUTS, (batch * STEPS,))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x, keep_state=False)[0].flatten(0, 1), y).backward()
        optimizer.step()

    with torch.set_grad_enabled(train), keep_freed_memory():  # as training and evaluation do
        seconds = time_of(step if train else lambda: model(x, keep_state=False))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"clips_per_second": batch / seconds, "peak_gib": peak, "build_seconds": built}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--ensembles", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--peer-batches", type=int, nargs="+", default=[10, 32])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        ensembles, batch, what = arguments.one
        print(json.dumps(run_ours(int(ensembles), int(batch), what == "train")))
        return
    rows = []
    for ensembles in arguments.ensembles:
        for what in ("infer", "train"):
            machine = measure_product(), measure_vector()
            ours = ask([sys.executable, __file__, "--one", str(ensembles), str(arguments.batch), what])
            if ours is None:
                raise SystemExit(f"{ensembles} ensembles at batch {arguments.batch}: the process failed")
            least = least_seconds(ensembles, arguments.batch, what == "train", machine)
            share = ours["clips_per_second"] * least / arguments.batch
            full = ask([sys.executable, __file__, "--one", str(ensembles), str(PEAK_BATCH), what])
            if full is None:
                raise SystemExit(f"{ensembles} ensembles at batch {PEAK_BATCH}: the process failed")
            row = [str(ensembles), what, f"{ours['clips_per_second']:.0f}", f"{share:.0%}", f"{full['peak_gib']:.2f}"]
            if arguments.peers:
                python = str(arguments.peers / "nengo_dl" / "bin" / "python")
                found = {
                    batch: result
                    for batch in arguments.peer_batches
                    if (result := ask([python, str(PEER), str(ensembles), str(batch), what]))
                }
                fastest = max(found, key=lambda batch: found[batch]["clips_per_second"])
                theirs = found[fastest]["clips_per_second"]
                row += [
                    f"{theirs:.1f} (batch {fastest})",
                    f"{ours['clips_per_second'] / theirs:.1f}",
                    ", ".join(f"{result['peak_gib']:.2f} (batch {batch})" for batch, result in found.items()),
                ]
            rows.append(row)
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["ensembles", "", "clips/s", "of the limit", f"peak GiB at {PEAK_BATCH}"]
    header += ["NengoDL clips/s", "times", "NengoDL peak GiB"] if arguments.peers else []
    write_section(
        "Speed of the ensemble array",
        f"Speed and memory of `ensemble_array` in inference (*infer*) and training (*train*): ensembles of {NEURONS} "
        f"SpikingRectifiedLinear neurons, {STEPS} steps, {INPUTS} inputs, {OUTPUTS} outputs, batches of "
        f"{arguments.batch} clips. Speeds are medians of {REPETITIONS} runs. *Of the limit*: our speed as a share of "
        "what the machine can reach at best, which is measured in the same run (how: the first lines of the script). "
        "*Peak GiB*: the largest memory of the whole process."
        + (
            " NengoDL is measured in the same run, at the batch with which it is fastest; it trains on rates, ours "
            "on spikes. *Times*: our clips/s divided by NengoDL's."
            if arguments.peers
            else ""
        ),
        make_table(header, rows),
    )


if __name__ == "__main__":
    main()
