"""Speed of the LMU family, against the machine's own limit, NengoDL and keras-lmu.

    python benchmarks/speed/lmu.py [--peers FOLDER] [--rounds 5]

FOLDER holds the virtual environments ``nengo_dl`` and ``keras_lmu``, made as ``benchmarks/peers/README.md`` says;
without it only the limit is compared. Processes take turns, one of each in a round; figures are medians over rounds of
the medians of each process.

The original LMU: 800 units, order 2, 512 inputs, 25 steps, 14 outputs, batches of 100; a batch is forward, backward and
Adam. Its limit is its matrix products at the rate of a large single-precision product in the same process, turn by
turn: the inputs of all steps forward and their weights' gradient, three for the recurrence (a step of the loop forward,
one backward, the weights' gradient after it), three for the logits.

The others are our own forms beside each other, in one process and turn by turn: over 784 steps all at once and stepped
(``model.step``, what streaming does); with tanh and with spiking hidden units; one frame of a stream at batch 1.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import make_table, write_section
from benchmarks.lib.timing import ask, turns_of
from snn_action.config import TrainingSettings
from snn_action.core.malloc import keep_freed_memory
from snn_action.models import TemporalModel, build_model
from snn_action.training.optimizer import make_optimizer

PEERS = Path(__file__).parents[1] / "peers"
INPUTS, OUTPUTS, STEPS, UNITS, BATCH, PRODUCT = 512, 14, 25, 800, 100, 3000
ORIGINAL = {
    "type": "lmu",
    "units": UNITS,
    "order": 2,
    "theta": float(STEPS),
    "memory_d": 1,
    "hidden_to_memory": True,
    "memory_to_memory": True,
    "hidden_recurrence": True,
    "input_to_hidden": True,
    "dropout": 0.0,
}
LONG = 784
LONG_LMU: dict[str, Any] = {"type": "lmu", "theta": float(LONG), "dropout": 0.0}
LONG_LMU_2: dict[str, Any] = {**LONG_LMU, "memory_d": 1, "order": 468, "units": 346}  # permuted sequential MNIST's
SIZES = {"units": 256, "order": 2, "memory_d": 128, "theta": float(STEPS)}
STREAMED: dict[str, dict[str, Any]] = {
    "lmu": {"type": "lmu"},
    "lmu, the original's": ORIGINAL,
    "spiking_lmu": {"type": "spiking_lmu"},
    "spiking_lmu, input and memory too": {"type": "spiking_lmu", "spiking_input": True, "spiking_memory": True},
    "spiking_lmu_2020": {"type": "spiking_lmu_2020"},
}


LAST = "one memory of order 468, 346 units: training on the last prediction, 50 clips"
ALL = "128 memories of order 4, 128 units: training on all predictions, 16 clips"
CLIP = "128 memories of order 4, 128 units: all predictions for one clip"
PARALLEL = (LAST, ALL, CLIP)


def make_batch(model: TemporalModel, batch: int, steps: int, run: Callable[..., torch.Tensor]) -> Callable[[], None]:
    """A training batch of ``run``, which makes logits (B, T, K) of features: forward, backward, our Adam."""
    model.train()
    x, y = torch.randn(batch, steps, model.in_features), torch.randint(OUTPUTS, (batch,))
    optimizer = make_optimizer(list(model.parameters()), TrainingSettings(optimizer="adam", learning_rate=1e-3))

    def work() -> None:
        optimizer.zero_grad()
        logits = run(x)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.repeat_interleave(logits.shape[1])).backward()
        optimizer.step()

    return work


def step_through(model: TemporalModel, x: torch.Tensor) -> torch.Tensor:
    """Logits (B, T, K), one step after another."""
    state, logits = None, []
    for now in x.unbind(1):
        out, state = model.step(now, state)
        logits.append(out)
    return torch.stack(logits, 1)


def run_original(turns: int) -> dict[str, float]:
    """Seconds of a training batch, and those of its products alone."""
    model = build_model(ORIGINAL, in_features=INPUTS, num_classes=OUTPUTS, seed=0)
    a, b = torch.randn(PRODUCT, PRODUCT), torch.randn(PRODUCT, PRODUCT)
    works = {"product": lambda: a @ b, "batch": make_batch(model, BATCH, STEPS, lambda x: model(x)[0])}
    seconds = {name: statistics.median(values) for name, values in turns_of(works, turns).items()}
    products = BATCH * STEPS * UNITS * (2 * INPUTS + 3 * UNITS + 3 * OUTPUTS)
    return {"seconds": seconds["batch"], "limit": products * seconds["product"] / PRODUCT**3}


def run_parallel(name: str, turns: int) -> dict[str, float]:
    """Seconds over ``LONG`` steps, all at once and stepped."""
    last = name == LAST
    settings, inputs = (LONG_LMU_2, 1) if last else (LONG_LMU, INPUTS)
    model = build_model(settings, in_features=inputs, num_classes=OUTPUTS, seed=0)
    if name == CLIP:
        x = torch.randn(1, LONG, INPUTS)
        model.eval().requires_grad_(False)
        works = {"seconds": lambda: model(x), "other": lambda: step_through(model, x)}
    elif last:
        works = {
            "seconds": make_batch(model, 50, LONG, lambda x: model.forward_last(x)[0].unsqueeze(1)),
            "other": make_batch(model, 50, LONG, lambda x: step_through(model, x)[:, -1:]),
        }
    else:
        works = {
            "seconds": make_batch(model, 16, LONG, lambda x: model(x)[0]),
            "other": make_batch(model, 16, LONG, lambda x: step_through(model, x)),
        }
    return {name: statistics.median(values) for name, values in turns_of(works, turns).items()}


def run_spiking(turns: int) -> dict[str, float]:
    """Seconds of a training batch with spiking hidden units and with tanh ones, of one size."""
    works = {}
    for name, kind in (("seconds", "spiking_lmu"), ("other", "lmu")):
        model = build_model({"type": kind, **SIZES}, in_features=INPUTS, num_classes=OUTPUTS, seed=0)
        works[name] = make_batch(model, 64, STEPS, lambda x, model=model: model(x)[0])
    return {name: statistics.median(values) for name, values in turns_of(works, 10 * turns).items()}


def run_stream(name: str, turns: int) -> dict[str, float]:
    """Seconds of one frame of one clip."""
    model = build_model(STREAMED[name], in_features=INPUTS, num_classes=OUTPUTS, seed=0).eval()
    x, state = torch.randn(1, INPUTS), None

    def work() -> None:
        nonlocal state
        _, state = model.step(x, state)

    with torch.inference_mode():
        return {"seconds": statistics.median(turns_of({"": work}, 50 * turns)[""])}


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[dict[str, float]]]:
    """What each process gives in each round; all have their turn in every round.

    Raises:
        SystemExit: a process did not end well.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            result = ask(command)
            if result is None:
                raise SystemExit(f"{name}: the process failed")
            found[name].append(result)
            print(name, json.dumps(result), file=sys.stderr, flush=True)
    return found


def middle(results: Sequence[dict[str, float]], key: str = "seconds", of: Sequence[dict[str, float]] = ()) -> float:
    """Median over rounds, of ``key`` or, round by round, of its ratio to the seconds ``of`` others."""
    if of:
        return statistics.median(a[key] / b["seconds"] for a, b in zip(results, of, strict=True))
    return statistics.median(result[key] for result in results)


def write_original(peers: Path | None, rounds: int, turns: int) -> None:
    """Measure the original LMU and write its section."""
    commands = {"snn-action": [sys.executable, __file__, "--turns", str(turns), "--one", "original"]}
    if peers:
        keras = [str(peers / "keras_lmu" / "bin" / "python"), str(PEERS / "keras_lmu_train.py"), str(BATCH), str(turns)]
        commands["keras-lmu 0.9"] = [*keras, "graph"]
        commands["keras-lmu 0.9, compiled by XLA"] = [*keras, "xla"]
        nengo = str(peers / "nengo_dl" / "bin" / "python")
        commands["NengoDL 3.6"] = [nengo, str(PEERS / "nengo_dl_lmu.py"), str(BATCH), str(turns)]
    found = measure(commands, rounds)
    ours = found["snn-action"]
    limit = middle(ours, "limit")
    rows = [["the machine's limit", f"{1000 * limit:.1f}", "", f"{middle(ours, 'limit', of=ours):.2f}"]]
    for name, results in found.items():
        share = statistics.median(a["limit"] / b["seconds"] for a, b in zip(ours, results, strict=True))
        rows.append([name, f"{1000 * middle(results):.1f}", f"{share:.0%}", f"{middle(results, of=ours):.2f}"])
    write_section(
        "Speed of the original LMU",
        f"Time of one training batch of the original's LMU in several libraries: {BATCH} clips, {UNITS} units, order "
        f"2, {INPUTS} inputs, {STEPS} steps, {OUTPUTS} outputs, Adam, on {torch.get_num_threads()} threads. *The "
        "machine's limit*: the time of the model's matrix products alone, at the rate of a product of two "
        f"single-precision matrices of {PRODUCT} x {PRODUCT}. It is measured in the same process, in turn with the "
        "batches. *Of the limit*: the limit divided by the time. *Times ours*: the time divided by ours. A time is "
        f"the median of {turns} batches, then the median of {rounds} rounds, in which processes take turns.",
        make_table(["", "ms a batch", "of the limit", "times ours"], rows),
    )


def write_family(rounds: int, turns: int) -> None:
    """Measure our own forms beside each other and write their section."""
    command = [sys.executable, __file__, "--turns", str(turns), "--one"]
    commands = {name: [*command, name] for name in (*PARALLEL, "spiking", *STREAMED)}
    found = measure(commands, rounds)
    rows = []
    for name in PARALLEL:
        ours = f"{1000 * middle(found[name]):.1f}"
        others = f"{1000 * middle(found[name], 'other'):.1f}"
        times = middle(found[name], "other", of=found[name])
        rows.append([f"lmu over {LONG} steps at once, {name}", ours, "stepped", others, f"{times:.1f}"])
    results = found["spiking"]
    ours, others = f"{1000 * middle(results):.2f}", f"{1000 * middle(results, 'other'):.2f}"
    times = statistics.median(result["seconds"] / result["other"] for result in results)
    sizes = f"{SIZES['memory_d']} memories of order {SIZES['order']}, {SIZES['units']} units"
    rows.append([f"lmu, {sizes}: a training batch of {STEPS} steps", others, "spiking_lmu", ours, f"{times:.2f}"])
    rows += [[f"{name}: one frame of a stream", f"{1000 * middle(found[name]):.3f}", "", "", ""] for name in STREAMED]
    write_section(
        "Speed of the LMU family",
        "Each line compares two ways to do the same, or two models, of this library: the time of the first, then the "
        "name and the time of the second (*beside*), then the second time divided by the first (*times*). *Stepped*: "
        f"one step after another instead of all steps at once. On {torch.get_num_threads()} threads. A training batch "
        f"is forward, backward and Adam; a batch of {STEPS} steps has 64 clips. A stream has {INPUTS} inputs and "
        f"batch 1; its lines have no second way. Medians of {rounds} rounds.",
        make_table(["", "ms", "beside", "ms", "times"], rows),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--parts", nargs="+", choices=("original", "family"), default=["original", "family"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        torch.manual_seed(0)
        runs: dict[str, Callable[[int], dict[str, float]]] = {"original": run_original, "spiking": run_spiking}
        runs |= {name: lambda turns, name=name: run_parallel(name, turns) for name in PARALLEL}
        runs |= {name: lambda turns, name=name: run_stream(name, turns) for name in STREAMED}
        with keep_freed_memory():  # as training and evaluation do
            print(json.dumps(runs[arguments.one](arguments.turns)))
        return
    if "original" in arguments.parts:
        write_original(arguments.peers, arguments.rounds, arguments.turns)
    if "family" in arguments.parts:
        write_family(arguments.rounds, arguments.turns)


if __name__ == "__main__":
    main()
