"""Permuted sequential MNIST with the Legendre Memory Unit: one pixel a step, 784 steps.

python examples/psmnist_lmu.py mnist.npz [--epochs 10] [--images 3000]

A small part of the task, to see that it learns; benchmarks/accuracy/psmnist.py trains on all of it.
mnist.npz holds x_train (60000, 28, 28) uint8, y_train, x_test and y_test, as Keras distributes it.
"""

import argparse

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.snn import LegendreMemory

ORDER = 256


def load(path: str, part: str, number: int) -> tuple[Tensor, Tensor]:
    """Pixels (N, 784, 1) from 0 to 1 in an order that is random, but the same for all images; labels (N,)."""
    data = np.load(path)
    order = torch.randperm(784, generator=torch.Generator().manual_seed(0))
    pixels = torch.from_numpy(data[f"x_{part}"][:number]).reshape(-1, 784, 1).float() / 255
    return pixels[:, order], torch.from_numpy(data[f"y_{part}"][:number]).long()


@torch.no_grad()
def remember(memory: LegendreMemory, pixels: Tensor) -> Tensor:
    """The memory (N, ORDER) after the last pixel: it does not learn, so each image is remembered once."""
    return torch.cat([memory.last(part, torch.zeros(len(part), 1, ORDER)) for part in pixels.split(1000)]).flatten(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=3000)
    options = parser.parse_args()
    torch.manual_seed(0)

    memory = LegendreMemory(order=ORDER, theta=784.0)
    hidden = nn.Sequential(nn.BatchNorm1d(ORDER), nn.Linear(ORDER, 200), nn.Tanh(), nn.Dropout(0.5), nn.Linear(200, 10))
    images, labels = load(options.data, "train", options.images)
    coefficients = remember(memory, images)
    optimizer = torch.optim.AdamW(hidden.parameters(), lr=2e-3, weight_decay=0.05)
    for epoch in range(options.epochs):
        for batch in torch.randperm(len(images)).split(100):
            loss = F.cross_entropy(hidden(coefficients[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}")
    images, labels = load(options.data, "test", 2000)
    with torch.inference_mode():
        found = hidden.eval()(remember(memory, images)).argmax(-1)
    print(f"test accuracy on 2000 images {100 * (found == labels).float().mean().item():.1f} %")
