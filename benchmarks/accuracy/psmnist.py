"""Permuted sequential MNIST: parallel LMU and spiking LMU, one pixel a step, 784 steps.

    python benchmarks/accuracy/psmnist.py MNIST.npz [--seeds 3]

One memory of order 468 and theta 784 and 346 hidden units, as Chilkuri and Eliasmith (2021) have it; the permutation is
one for all seeds. The prediction is that of the last step. Settings were chosen with each sixth of the training images
held out in turn (as ``--validate 0`` to ``--validate 5`` does), two seeds or three; then all 60,000 train,
and the test images are opened once, at each run's end.

How it is trained. The memory does not learn, so that of every training image is computed once, and what learns is a
network of one hidden layer on its coefficients (centered, all divided by one deviation; both are folded into the
weights afterwards). Two things keep it from memorizing images, and helped more on the held-out images than noise on
the input, label smoothing or mixed images: each batch is moved a fixed distance up the loss's gradient before it is
learned (Goodfellow et al. 2015), and in training what each hidden unit gives is multiplied by a number drawn around 1.
The weights are a running mean. What mattered most on the held-out images was the hidden units' positive part in the
place of tanh, which also bears twice the rate of learning.

The spiking LMU is stepped through all 784 pixels in the test, its neurons spiking in every step. Its readout forgets
within a step (``tau_readout`` of 0.2 steps), so the last prediction is that of the last step's spikes. For training
that step alone is enough: its currents come from the memory, and what 783 steps of spiking leave in a neuron is a
voltage as good as uniform in [0, 1), so one is drawn for each image and neuron. Gradients are ``spike_aware``.
"""

import argparse
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from torch import Tensor
from torch.nn import functional as F

from benchmarks.lib.table import make_table, write_section
from snn_action.models import build_model
from snn_action.models.lmu import LMU
from snn_action.models.spiking_lmu import SpikingLMU

STEPS, SIXTHS = 784, 6
MEMORY = {"order": 468, "theta": 784.0, "memory_d": 1, "units": 346, "dropout": 0.0}
LMU_SETTINGS = {"type": "lmu", **MEMORY, "activation": "relu"}
SPIKING_SETTINGS = {
    "type": "spiking_lmu",
    **MEMORY,
    "normalize": False,
    "gradient": "spike_aware",
    "max_rates": (1000.0, 1000.0),
    "tau_readout": 0.0002,
}
BATCH, RATE, MOMENTUM, REACH = 250, 0.2, 0.9, 2.5
# At the end: the share of the rate that is left; what the weights' running mean keeps of itself at an update.
LAST_RATE, AVERAGE = 0.3, 0.9995
SPREAD = 0.35  # the share by which a hidden unit is changed at most
EPOCHS = {"lmu": 40, "spiking_lmu": 30}


class Images(NamedTuple):
    """Pixels (N, 784, 1) in [0, 1], permuted, and labels (N,)."""

    pixels: Tensor
    labels: Tensor


def load(path: Path) -> tuple[Images, Images]:
    """Training and test images."""
    order = torch.randperm(STEPS, generator=torch.Generator().manual_seed(0))
    data = np.load(path)
    train, test = (
        Images(
            torch.from_numpy(data[f"x_{part}"]).reshape(-1, STEPS, 1)[:, order] / 255,
            torch.from_numpy(data[f"y_{part}"]).long(),
        )
        for part in ("train", "test")
    )
    return train, test


def make_model(settings: dict[str, object], seed: int) -> LMU | SpikingLMU:
    """The model; its one input weight, of which the hidden layer has a copy in every weight, stays 1."""
    model = build_model(settings, in_features=1, num_classes=10, seed=seed)
    assert isinstance(model, LMU | SpikingLMU)
    with torch.no_grad():
        model.encoder.weight.fill_(1.0)
        if isinstance(model, SpikingLMU):  # made for one large coefficient; here all are about as large
            model.memory_kernel.weight /= math.sqrt(model.settings.order)
    model.encoder.weight.requires_grad_(False)
    return model


@torch.no_grad()
def remember(model: LMU | SpikingLMU, pixels: Tensor) -> Tensor:
    """The memory (N, order) after the last step."""
    empty = torch.zeros(1, 1, model.settings.order)
    parts = [model.memory.last(model.encoder(model.standardizer(part)), empty) for part in pixels.split(5000)]
    return torch.cat(parts).flatten(1)


def compute_logits(model: LMU | SpikingLMU, memory: Tensor) -> Tensor:
    """Logits (B, 10) of the last step in training, from the memory (B, order) alone."""
    current = model.memory_kernel(memory)
    if isinstance(model, LMU):
        return model.readout(current.relu() * torch.empty_like(current).uniform_(1 - SPREAD, 1 + SPREAD))
    state = model.neuron.initial_state(len(current), current.shape[1:], current.device, current.dtype)
    spikes, _ = model.neuron.step(current * model.current_unit, type(state)(torch.rand_like(current)))
    before = model.leak.initial_state(len(current), model.num_classes, current.device, current.dtype)
    logits, _ = model.leak.advance(F.linear(spikes / model.rate_unit, model.readout.weight), before)
    return logits + model.readout.bias


def train(model: LMU | SpikingLMU, images: Images, seed: int) -> None:
    """See the module; gradient descent with momentum, and the running mean of its weights."""
    count, epochs = len(images.labels), EPOCHS[model.settings.type]
    pixels = images.pixels.reshape(1, -1, 1)  # mean and deviation of all: as one clip they are found at once
    model.prepare(pixels, torch.ones(pixels.shape[:2], dtype=torch.bool), images.labels[:1])
    memories = remember(model, images.pixels)
    mean = memories.mean(0)
    deviation = (memories - mean).std()
    memories = (memories - mean) / deviation
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=RATE, momentum=MOMENTUM, nesterov=True)
    updates = count // BATCH * epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min(1, i / (0.1 * updates)) * max(LAST_RATE, 0.5 + 0.5 * math.cos(math.pi * i / updates)),
    )
    mean_weights = [parameter.detach().clone() for parameter in learned]
    torch.manual_seed(seed)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(count)[: count // BATCH * BATCH].view(-1, BATCH):
            seen, labels = memories[batch].requires_grad_(), images.labels[batch]
            worse = F.cross_entropy(compute_logits(model, seen), labels, reduction="sum")
            (slope,) = torch.autograd.grad(worse, seen)
            moved = seen.detach() + REACH * F.normalize(slope, dim=1)
            optimizer.zero_grad()
            F.cross_entropy(compute_logits(model, moved), labels).backward()
            optimizer.step()
            schedule.step()
            torch._foreach_lerp_(mean_weights, [parameter.detach() for parameter in learned], 1 - AVERAGE)
    with torch.no_grad():
        for parameter, averaged in zip(learned, mean_weights, strict=True):
            parameter.copy_(averaged)
        kernel = model.memory_kernel
        kernel.weight /= deviation
        kernel.bias -= kernel.weight @ mean
    model.eval()


@torch.no_grad()
def measure(model: LMU | SpikingLMU, images: Images) -> tuple[float, float]:
    """Accuracy of the last step, and spikes a neuron and step: of the whole run over all pixels."""
    right, spikes = 0, 0.0
    for pixels, labels in zip(images.pixels.split(1000), images.labels.split(1000), strict=True):
        if isinstance(model, LMU):
            logits, _ = model.forward_last(pixels)
        else:
            state = None
            for pixel in pixels.unbind(1):
                logits, state = model.step(pixel, state)
            spikes += float(state.hidden.spikes.sum())
        right += int((logits.argmax(1) == labels).sum())
    count = len(images.labels)
    return right / count, spikes / (count * STEPS * model.settings.units)


def run(settings: dict[str, object], seeds: int, images: Images, unseen: Images) -> list[str]:
    """A line of the table."""
    results, seconds = [], []
    for seed in range(seeds):
        model = make_model(settings, seed)
        begin = time.perf_counter()
        train(model, images, seed)
        seconds.append(time.perf_counter() - begin)
        results.append(measure(model, unseen))
        print(f"{settings['type']} seed {seed}: {results[-1]}, {seconds[-1]:.0f} s", file=sys.stderr, flush=True)
    accuracies, spikes = zip(*results, strict=True)
    return [
        str(settings["type"]),
        f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        ", ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies),
        f"{100 * statistics.mean(accuracies):.2f}",
        f"{statistics.mean(spikes):.2f}" if model.populations else "-",
        f"{statistics.mean(seconds):.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="of the parallel LMU; the spiking one has one")
    parser.add_argument(
        "--validate", type=int, choices=range(SIXTHS), help="this sixth of the training images in the test's place"
    )
    arguments = parser.parse_args()
    images, unseen = load(arguments.mnist)
    if arguments.validate is not None:
        held_out = torch.arange(len(images.labels)) * SIXTHS // len(images.labels) == arguments.validate
        images, unseen = (Images(*(part[chosen] for part in images)) for chosen in (~held_out, held_out))
    load_average = os.getloadavg()[0]
    rows = [run(LMU_SETTINGS, arguments.seeds, images, unseen), run(SPIKING_SETTINGS, 1, images, unseen)]
    table = make_table(["model", "parameters", "test % by seed", "mean", "spikes / neuron / step", "training s"], rows)
    if arguments.validate is not None:
        print(table)
        return
    write_section(
        "Permuted sequential MNIST",
        "The pixels of an MNIST image are read one a step, 784 steps, in one fixed random order. What counts is the "
        "prediction of the last step. 60,000 images train, 10,000 test. The memory (order 468, theta 784) is not "
        "trained. It is computed once; *training s* includes this. The spiking LMU is trained on the last step, but "
        "it runs through all steps in the test (how and why: the first lines of the script). Published for a "
        "parallel LMU of this size: 98.49 % (Chilkuri and Eliasmith 2021). Load of the machine when the run began: "
        f"{load_average:.1f}; threads: {torch.get_num_threads()}.",
        table,
    )


if __name__ == "__main__":
    main()
