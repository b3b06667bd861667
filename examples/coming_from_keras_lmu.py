"""Coming from keras-lmu: the same layer in both, with the weights of a layer that keras-lmu has trained.

    keras-lmu                                    snn-action
    LMU(memory_d, order, theta, hidden_cell)     the parts below, or snn_action.models.lmu.LMU, which has a readout, too
    LMUFFT                                       the same classes: without feedback all steps are computed at once
    theta in steps, discretizer="zoh"            the same
    trainable_theta=True                         trained="theta"
    kernel                                       nn.Linear before the memory; LMU's encoder
    hidden_to_memory, memory_to_memory           the same keys of LMU
    input_to_hidden                              the same key of LMU
    hidden_cell=SimpleRNNCell(units)             nn.RNN after the memory; LMU: units, hidden_recurrence=True
    return_sequences=True                        all steps are returned, and the state after the last one

    cell = keras.layers.SimpleRNNCell(5)
    lmu = keras_lmu.LMU(memory_d=2, order=6, theta=12, hidden_cell=cell, input_to_hidden=True,
                        hidden_to_memory=False, memory_to_memory=False, return_sequences=True)
    y = lmu(x)
    numpy.savez("layer.npz", x=x, y=y, kernel=lmu.layer.cell.kernel, cell_kernel=cell.kernel,
                cell_recurrent=cell.recurrent_kernel, cell_bias=cell.bias)

python examples/coming_from_keras_lmu.py [layer.npz]     (without a file, weights are drawn)
"""

import sys

import numpy as np
import torch
from torch import nn

from snn_action.snn import LegendreMemory

ORDER, THETA = 6, 12.0


def draw():
    torch.manual_seed(0)
    sizes = {"x": (2, 30, 3), "kernel": (3, 2), "cell_kernel": (15, 5), "cell_recurrent": (5, 5), "cell_bias": (5,)}
    return {name: 0.3 * torch.randn(size) for name, size in sizes.items()}


if __name__ == "__main__":
    given = {key: torch.from_numpy(value) for key, value in np.load(sys.argv[1]).items()} if sys.argv[1:] else draw()
    x = given["x"]  # (B, T, D)
    memory, _ = LegendreMemory(ORDER, THETA)(x @ given["kernel"])  # (B, T, memory_d, order)
    seen = torch.cat([memory.flatten(2), x], -1)  # input_to_hidden
    rnn = nn.RNN(seen.shape[2], len(given["cell_bias"]), batch_first=True)
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(given["cell_kernel"].T)
        rnn.weight_hh_l0.copy_(given["cell_recurrent"].T)
        rnn.bias_ih_l0.copy_(given["cell_bias"])
        rnn.bias_hh_l0.zero_()
        y, _ = rnn(seen)
    print(f"input {tuple(x.shape)}, memory {tuple(memory.shape)}, output {tuple(y.shape)}")
    if "y" in given:
        print(f"keras-lmu's output differs from ours by {(y - given['y']).abs().max().item():.1e} at most")
