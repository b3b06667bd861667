"""A layer of a spiking CNN: neurons behind a normalized convolution; the equations are those of ``spiking_cnn``."""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.backbones.settings import SpikingCNNSettings
from snn_action.core.errors import ConfigError
from snn_action.snn.counting import count_elsewhere, is_counting
from snn_action.snn.neurons.base import Neuron


class LayerState(NamedTuple):
    """Neurons of a layer (B, H, W, C), and their spikes (B,) since the clip began."""

    neurons: Any
    spikes: Tensor


class NormalizedConvolution(nn.Module):
    """``BN(W * x)``, in evaluation mode one convolution with the folded weights."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int) -> None:
        super().__init__()
        # oneDNN's backward pass of a 1 x 1 convolution with a stride, channels last, writes beside its memory
        self.step = stride if side == 1 else 1
        self.convolution = nn.Conv2d(inputs, outputs, side, stride // self.step, side // 2, bias=False)
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_in", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(outputs)

    def fold(self) -> tuple[Tensor, Tensor]:
        """Weights and bias that do the same as convolution and normalization in evaluation mode."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return self.convolution.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale

    def shrink(self, side: int) -> int:
        """Side of the output for images of that side."""
        return (side - 1) // (self.step * self.convolution.stride[0]) + 1

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C', H', W')`` of ``x`` (N, C, H, W)."""
        if self.step > 1:
            x = x[:, :, :: self.step, :: self.step].contiguous(memory_format=torch.channels_last)
        if self.training or is_counting():  # whoever counts knows weights by their names
            normalized: Tensor = self.norm(self.convolution(x))
            return normalized
        return F.conv2d(x, *self.fold(), self.convolution.stride, self.convolution.padding)


class SpikingLayer(nn.Module):
    """Neurons behind a normalized convolution; see the module."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int, number: int, s: SpikingCNNSettings) -> None:
        super().__init__()
        self.part = NormalizedConvolution(inputs, outputs, side, stride)
        draws = hasattr(s.neuron, "seed") and getattr(s.neuron, "initial_voltage", "uniform") != "zero"
        own = {"seed": getattr(s.neuron, "seed", 0) + number} if draws else {}  # else alike, and so are their kernels
        self.neuron: Neuron = s.neuron.model_copy(update=own).build(s.gradient)
        self.neuron.unit = "count"
        self.gain, self.bias = 1.0, 0.0
        if s.max_rate is not None:
            try:
                gain, bias = self.neuron.gain_bias(torch.tensor([s.max_rate]), torch.tensor([s.intercept]))
            except ConfigError as error:
                raise ConfigError(f"backbone.max_rate: {error}; null: the normalized input is the current") from None
            self.gain, self.bias = float(gain), float(bias)

    def forward(self, x: Tensor, state: LayerState, mask: Tensor | None, of_spikes: bool) -> tuple[Tensor, LayerState]:
        """Spikes ``(N, C', H', W')`` of real frames, counted, of ``x`` (N, C, H, W) of these, and the state after."""
        with count_elsewhere() if of_spikes and self.neuron.spiking else nullcontext():  # counted by population
            z = self.part(x)
        current = (z.permute(0, 2, 3, 1).to(state.spikes) * self.gain + self.bias).contiguous()
        over_time = spread(current, len(state.spikes), mask)
        spikes, neurons = self.neuron(over_time, state.neurons, mask)
        count = state.spikes + spikes.abs().flatten(1).sum(1)
        found = spikes.flatten(0, 1) if mask is None else spikes[mask]
        return found.permute(0, 3, 1, 2), LayerState(neurons, count)


def spread(found: Tensor, batch: int, mask: Tensor | None) -> Tensor:
    """What was found of real frames (N, ...) as (B, T, ...), zero elsewhere."""
    if mask is None:
        return found.view(batch, -1, *found.shape[1:])
    return found.new_zeros(*mask.shape, *found.shape[1:]).index_put((mask,), found)
