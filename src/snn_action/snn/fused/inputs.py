"""What kernels are given, laid out as they take it: the same on the CPU and on a GPU."""

from typing import NamedTuple

from torch import Tensor


class NeuronInputs(NamedTuple):
    """Of neurons over time: all contiguous.

    Args:
        current: Input currents (B, T, N).
        lengths: Real steps of each clip (B,), int64.
        states: States before the first step (S, B, N).
        params: What the neuron learns (P,).
    """

    current: Tensor
    lengths: Tensor
    states: Tensor
    params: Tensor


class ArrayInputs(NamedTuple):
    """Of an ensemble array: all contiguous.

    Args:
        x: What each ensemble stands for (E, T, B).
        gain: Gain times encoder (E, N).
        bias: Bias current (E, N).
        decoders: What one spike adds to the decoded value (E, N).
        before: States before the first step (S, E, N, B), or (S, E, N, 1) for all clips.
        mask: 1 on real steps and 0 on padding (T, B); empty where every step is real.
        params: What the neuron learns (P,).
    """

    x: Tensor
    gain: Tensor
    bias: Tensor
    decoders: Tensor
    before: Tensor
    mask: Tensor
    params: Tensor
