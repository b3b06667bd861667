"""MNIST with leaky integrate-and-fire neurons: an image is shown for some steps, its pixels as constant currents.

python examples/mnist_lif.py mnist.npz [--epochs 1] [--steps 20] [--images 10000]

mnist.npz holds x_train (60000, 28, 28) uint8, y_train, x_test and y_test, as Keras distributes it.
"""

import argparse

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.snn import LIF, Lowpass, Sequential


def load(path: str, part: str, number: int) -> tuple[Tensor, Tensor]:
    """Images (N, 784) from 0 to 1, and labels (N,)."""
    data = np.load(path)
    images, labels = data[f"x_{part}"][:number], data[f"y_{part}"][:number]
    return torch.from_numpy(images).flatten(1).float() / 255, torch.from_numpy(labels).long()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=10000)
    options = parser.parse_args()
    torch.manual_seed(0)

    net = Sequential(nn.Linear(784, 200), LIF(gradient="surrogate", unit="count"), Lowpass(0.005), nn.Linear(200, 10))
    with torch.no_grad():
        net[0].weight *= 10  # currents must pass the threshold, 1
        net[3].weight *= 10  # filtered spikes, 0 or 1 a step, are small
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    images, labels = load(options.data, "train", options.images)
    for epoch in range(options.epochs):
        for batch in torch.randperm(len(images)).split(100):
            shown = images[batch].unsqueeze(1).expand(-1, options.steps, -1)  # (B, T, 784)
            logits, _ = net(shown)  # (B, T, 10); the state starts anew with each batch
            loss = F.cross_entropy(logits.mean(1), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}")

    net.eval()
    images, labels = load(options.data, "test", 2000)
    with torch.inference_mode():
        shown = images.unsqueeze(1).expand(-1, options.steps, -1)
        logits, _ = net(shown)
        spikes, _ = net[:2](shown)
    print(f"test accuracy on 2000 images {100 * (logits.mean(1).argmax(-1) == labels).float().mean().item():.1f} %")
    print(f"{spikes.mean().item():.3f} spikes a neuron and step")
