"""Speed of single neurons and of an array's neurons on the CPU, against snnTorch, SpikingJelly and Norse.

    python benchmarks/speed/neurons.py --peers FOLDER [--dry]

FOLDER holds the virtual environment ``torch``, made as ``benchmarks/peers/README.md`` says; without it only this
project is measured. docs/results.md is written only with FOLDER and without ``--dry``.

Each measurement is a process of its own; all take turns, ``--rounds`` times, and the median round counts. What is
measured: ``peers/torch_neurons.py``.
"""

import argparse
import json
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.machine import BACKWARD, FORWARD, measure_vector
from benchmarks.lib.table import make_table, write_section
from benchmarks.lib.timing import REPETITIONS, ask, time_of
from snn_action.core import registry
from snn_action.core.malloc import keep_freed_memory
from snn_action.snn.fused import ensemble_array as fused

LIF_BATCH, LIF_STEPS, LIF_NEURONS = 16, 100, 1024
STEPS, ENSEMBLES, NEURONS = 25, 1000, 50
PEER = Path(__file__).parents[1] / "peers" / "torch_neurons.py"
OURS, LIMIT = "snn_action", "limit of the machine"
TASKS = {"lif train": "LIF, forward and backward", "array infer": "array, forward", "array train": "array, training"}
MODES = {"lif train": ["surrogate"], "array infer": ["spike_aware"], "array train": ["surrogate", "spike_aware"]}
LIBRARIES = {"snntorch": "snnTorch", "spikingjelly": "SpikingJelly", "norse": "Norse"}


def run_lif(batch: int, mode: str) -> tuple[float, float]:
    """Seconds and spikes a neuron-step; the gradient is that of ``(spikes * upstream).sum()``."""
    neuron = registry.parse("neuron", {"type": "lif"}).build(mode)
    noise = 0.5 * torch.randn(batch, LIF_STEPS, LIF_NEURONS)
    current = (3 * torch.rand(batch, 1, LIF_NEURONS) + noise).requires_grad_()
    upstream = torch.randn_like(current)
    seconds = time_of(lambda: torch.autograd.grad(neuron(current)[0], current, upstream))
    return seconds, neuron.count(neuron(current)[0]).mean().item()


def run_array(batch: int, mode: str, train: bool) -> tuple[float, float]:
    """Seconds and spikes a neuron-step; values lie as the kernel has them."""
    shape = ENSEMBLES, NEURONS
    neuron = registry.parse("neuron", {"type": "spiking_rectified_linear"}).build(mode)
    intercepts = 1.9 * torch.rand(shape) - 1
    gain = (200 + 200 * torch.rand(shape)) / (1 - intercepts)
    encoders = torch.randint(0, 2, shape) * 2 - 1
    values = (2 * torch.rand(ENSEMBLES, STEPS, batch) - 1).permute(2, 1, 0)
    inputs = [values, gain * encoders, -intercepts * gain, torch.randn(shape) / NEURONS]
    inputs = [tensor.requires_grad_(train) for tensor in inputs]
    upstream = torch.randn(ENSEMBLES, STEPS, batch).permute(2, 1, 0)
    state = tuple(neuron.initial_state(batch, shape, values.device, values.dtype))
    run = partial(fused.run, *inputs, state, neuron.equations("count"), neuron.equations("rate_count"), mode=mode)
    with torch.set_grad_enabled(train):
        seconds = time_of((lambda: torch.autograd.grad(run().decoded, inputs, upstream)) if train else run)
    return seconds, run().spikes.mean().item() / (STEPS * ENSEMBLES * NEURONS)


def run_limit(task: str, batch: int) -> dict[str, Any]:
    """As ``run_ours``: an array's neurons at the rate of a loop of fused multiply-adds, with nothing else to do."""
    operations, count = FORWARD + BACKWARD * (task == "array train"), batch * STEPS * ENSEMBLES * NEURONS
    rate = measure_vector() / operations
    form = f"{operations} vector operations a neuron-step"
    return {"form": form, "milliseconds": 1000 * count / rate, "neuron_steps_per_second": rate}


def run_ours(task: str, batch: int, mode: str) -> dict[str, Any]:
    """As ``peers/torch_neurons.py``."""
    torch.manual_seed(0)
    if mode == LIMIT:
        return run_limit(task, batch)
    with keep_freed_memory():
        if task == "lif train":
            (seconds, spikes), count = run_lif(batch, mode), batch * LIF_STEPS * LIF_NEURONS
        else:
            seconds, spikes = run_array(batch, mode, task == "array train")
            count = batch * STEPS * ENSEMBLES * NEURONS
    return {
        "form": mode,
        "milliseconds": 1000 * seconds,
        "neuron_steps_per_second": count / seconds,
        "spikes_per_neuron_step": spikes,
    }


def measure(task: str, arguments: argparse.Namespace) -> dict[tuple[str, int, str], dict[str, Any]]:
    """The median round of each library, batch and, of ours, mode; what needs too much memory is left out."""
    name, what = task.split()
    batches = [LIF_BATCH] if name == "lif" else arguments.peer_batches
    batch = LIF_BATCH if name == "lif" else arguments.batch
    commands = {
        (OURS, batch, mode): [sys.executable, __file__, "--one", task, str(batch), mode] for mode in MODES[task]
    }
    if name == "array":
        commands[LIMIT, batch, ""] = [sys.executable, __file__, "--one", task, str(batch), LIMIT]
    if arguments.peers:
        python = str(arguments.peers / "torch" / "bin" / "python")
        for library in ("snntorch", "spikingjelly", "norse") if name == "lif" else ("snntorch", "spikingjelly"):
            for each in batches:
                commands[library, each, ""] = [python, str(PEER), library, name, str(each), what]
    rounds = defaultdict(list)
    for _ in range(arguments.rounds):
        for key, command in commands.items():
            if result := ask(command):
                rounds[key].append(result)
                print(task, *key, json.dumps(result), file=sys.stderr, flush=True)
    missing = {library for library, *_ in commands} - {library for library, *_ in rounds}
    if missing:
        raise SystemExit(f"{task}: no process of {', '.join(sorted(missing))} ended well")
    return {key: sorted(results, key=speed)[len(results) // 2] for key, results in rounds.items()}


def speed(result: dict[str, Any]) -> float:
    """Neuron-steps a second."""
    return float(result["neuron_steps_per_second"])


def make_rows(task: str, found: dict[tuple[str, int, str], dict[str, Any]]) -> list[list[str]]:
    """A line for each of our modes, the first of which is the measure, for the limit if there is one, and for each

    library at its fastest batch.
    """
    ours = {key: result for key, result in found.items() if key[0] in (OURS, LIMIT)}
    limit = next((speed(result) for key, result in ours.items() if key[0] == LIMIT), None)
    peers = {}
    for key in sorted(found.keys() - ours.keys(), key=lambda key: speed(found[key])):
        peers[key[0]] = key
    lines = ours | {key: found[key] for key in reversed(peers.values())}
    measure = speed(next(iter(ours.values())))
    return [
        [
            TASKS[task],
            LIBRARIES.get(library, library),
            result["form"],
            str(batch),
            f"{result['milliseconds']:.1f}",
            f"{speed(result) / 1e6:.0f}",
            f"{measure / speed(result):.2f}",
            f"{limit / speed(result):.2f}" if limit else "",
        ]
        for (library, batch, _), result in lines.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--batch", type=int, default=96, help="of the array, ours")
    parser.add_argument("--peer-batches", type=int, nargs="+", default=[10, 32, 96], help="of the array, the peers'")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="leave docs/results.md as it is")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        task, batch, mode = arguments.one
        print(json.dumps(run_ours(task, int(batch), mode)))
        return
    rows = [row for task in TASKS for row in make_rows(task, measure(task, arguments))]
    header = ["", "library", "form", "batch", "ms", "million neuron-steps/s", "times ours", "times the limit"]
    table = make_table(header, rows)
    if arguments.dry or not arguments.peers:
        print(table)
        return
    write_section(
        "Speed of neurons",
        "The same task in several libraries, in float32. There are three tasks. *LIF, forward and backward*: "
        f"{LIF_NEURONS} LIF neurons over {LIF_STEPS} steps, and back to the gradient of their currents. *Array, "
        f"forward*: {ENSEMBLES} values over {STEPS} steps; each value drives {NEURONS} integrate-and-fire neurons, "
        "whose spikes are decoded to one value again. *Array, training*: the same, and the gradients of values, "
        "gains, biases and decoders. Each library has the fastest form that it offers (column *form*), its own "
        "surrogate, and in the array the batch with which it is fastest. All keep freed memory. The neurons are not "
        "quite the same: ours are Nengo's, which means LIF with a refractory time and with the time of a spike "
        "within its step, and integrate-and-fire with several spikes a step and no negative current. *Times ours*: "
        "the time of one neuron-step, divided by that of our first line of the task. *Times the limit*: the same, "
        f"divided by that of the limit. The limit of the machine is the time of {FORWARD} vector operations a "
        f"neuron-step forward and {BACKWARD} more backward, at the rate of fused multiply-adds in registers, measured "
        "in the same rounds. The last column thus says how many times faster than a library a program could be at "
        f"most. A time is the median of {REPETITIONS} runs, then the median of {arguments.rounds} rounds.",
        table,
    )


if __name__ == "__main__":
    main()
