"""Mackey-Glass series (tau 17), predicted 15 steps ahead: stacked LMU and LSTM of about 18,000 parameters.

    python benchmarks/accuracy/mackey_glass.py [--seeds 3]

The data are made as in the notebook of the LMU's authors (``experiments/mackey-glass.ipynb`` of keras-lmu): 128 series
of 5,000 steps, the first half to learn from, the second to test on. Learning rates were chosen on the last 16 of the
training series, with the rest to learn from; then all 64 train. The test series are opened once, at each run's end.
"""

import argparse
import math
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from torch import Tensor, nn

from benchmarks.lib.table import make_table, write_section
from snn_action.models import TemporalModel, build_model

TAU, AHEAD = 17, 15
SERIES, STEPS, WASHOUT = 128, 5000, 100
FIRST = 50  # steps in which a model has not yet seen what it needs
WINDOW, BATCH, UPDATES = 190, 32, 1200
VALIDATION = 16


class Entry(NamedTuple):
    """A model's settings and its largest learning rate."""

    name: str
    settings: dict[str, object]
    rate: float


ENTRIES = [
    Entry(
        "stacked LMU",
        {
            "type": "stacked_lmu",
            "layers": 4,
            "units": 40,
            "memory_d": 8,
            "order": 8,
            "theta": 20.0,
            "dropout": 0.0,
        },
        0.032,
    ),
    Entry("LSTM", {"type": "lstm", "layers": 4, "units": 25, "readout_units": 25, "dropout": 0.0}, 0.032),
]


def make_series(count: int, steps: int, seed: int = 0) -> np.ndarray:
    """``tanh(x - 1)`` (count, steps) of ``dx/dt = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x``.

    Euler's rule with ten small steps a step; each series starts at 1.2, with a past drawn uniformly from 1.1 to 1.3.
    """
    small = 10
    past = 1.2 + 0.2 * (np.random.default_rng(seed).random((TAU * small, count)) - 0.5)
    x, place = np.full(count, 1.2), 0
    series = np.empty((steps, count))
    for t in range(steps):
        for _ in range(small):
            delayed = past[place].copy()
            past[place] = x
            place = (place + 1) % len(past)
            x = x + (0.2 * delayed / (1 + delayed**10) - 0.1 * x) / small
        series[t] = x
    return np.tanh(series - 1).T


def load() -> tuple[Tensor, Tensor]:
    """Training and test series (64, 5015, 1), without the training mean."""
    series = make_series(SERIES, WASHOUT + STEPS + AHEAD)[:, WASHOUT:]
    train, test = np.split(series, 2)
    mean = train.mean()
    return tuple(torch.from_numpy(part - mean).float().unsqueeze(2) for part in (train, test))


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def make_model(settings: dict[str, object], seed: int) -> TemporalModel:
    """The model with one number in the place of logits."""
    model = build_model(settings, in_features=1, num_classes=2, seed=seed)
    readout = model.readout
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.readout = nn.Linear(readout.in_features, 1)
    return model


def train(model: TemporalModel, series: Tensor, rate: float, seed: int) -> None:
    """Mean squared error on random windows, Adam, a warm-up and a cosine of the learning rate."""
    generator = torch.Generator().manual_seed(seed)
    length = series.shape[1] - AHEAD
    model.prepare(
        series[:, :length], torch.ones(len(series), length, dtype=torch.bool), torch.zeros(len(series)).long()
    )
    scale = series.std()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1, i / (0.05 * UPDATES)) * (0.5 + 0.5 * math.cos(math.pi * i / UPDATES))
    )
    model.train()
    for _ in range(UPDATES):
        which = torch.randint(len(series), (BATCH, 1), generator=generator)
        start = torch.randint(length - WINDOW + 1, (BATCH, 1), generator=generator)
        place = start + torch.arange(WINDOW)
        predicted, _ = model(series[which, place])
        loss = (predicted - series[which, place + AHEAD] / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():  # in the units of the series from here on
        model.readout.weight *= scale
        model.readout.bias *= scale


@torch.no_grad()
def measure(model: TemporalModel, series: Tensor) -> tuple[float, float]:
    """Root mean squared error over the root mean square of the targets: of all steps, and without the first ones."""
    model.eval()
    predicted = torch.cat([model(part[:, :-AHEAD])[0] for part in series.split(8)])
    wanted = series[:, AHEAD:]
    error, power = (predicted - wanted).square(), wanted.square().mean()
    return float((error.mean() / power).sqrt()), float((error[:, FIRST:].mean() / power).sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validate", metavar="RATE", type=float, nargs="+", help="try learning rates; no test series")
    arguments = parser.parse_args()
    series, test = load()
    if arguments.validate:
        for entry in ENTRIES:
            for rate in arguments.validate:
                model = make_model(entry.settings, seed=0)
                train(model, series[:-VALIDATION], rate, seed=0)
                error = measure(model, series[-VALIDATION:])
                print(
                    f"{entry.name}, rate {rate}: NRMSE {error[0]:.4f}, after {FIRST} steps {error[1]:.4f}", flush=True
                )
        return
    rows = []
    for entry in ENTRIES:
        errors, seconds = [], []
        for seed in range(arguments.seeds):
            model = make_model(entry.settings, seed)
            begin = time.perf_counter()
            train(model, series, entry.rate, seed)
            seconds.append(time.perf_counter() - begin)
            errors.append(measure(model, test))
            print(f"{entry.name} seed {seed}: {errors[-1]}, {seconds[-1]:.0f} s", file=sys.stderr, flush=True)
        columns = [[100 * value for value in part] for part in zip(*errors, strict=True)]
        rows.append(
            [
                entry.name,
                f"{count_parameters(model):,}",
                *(
                    f"{statistics.mean(c):.2f} ± {statistics.stdev(c):.2f}" if len(c) > 1 else f"{c[0]:.2f}"
                    for c in columns
                ),
                f"{statistics.mean(seconds):.0f}",
            ]
        )
    write_section(
        "Mackey-Glass",
        f"The Mackey-Glass series (tau {TAU}) is predicted {AHEAD} steps ahead. The models learn from {SERIES // 2} "
        f"series and are tested on as many others, each of {STEPS:,} steps. *NRMSE*: the root mean squared error, "
        "divided by the root mean square of the centered targets; smaller is better. A cell is the mean ± the "
        f"standard deviation over {arguments.seeds} seeds. In the first {FIRST} steps, a model has not yet seen as "
        "much of a series as it needs; these steps make up most of the error of all steps, and the next column "
        "leaves them out. Published in the notebook of the LMU's authors, for about 18,000 parameters and all steps: "
        "LMU 5.4 %, LSTM 7.9 %.",
        make_table(
            ["model", "parameters", "NRMSE %", f"NRMSE % after {FIRST} steps", "training s"],
            rows,
        ),
    )


if __name__ == "__main__":
    main()
