"""What spiking neurons share: their settings, the voltage at a clip's start, several spikes in one step."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from snn_action.snn.neurons.base import Neuron, fill
from snn_action.snn.neurons.surrogate import SURROGATES, attach
from snn_action.snn.settings import SpikingSettings


class Voltage(NamedTuple):
    """Voltage (B, N) in units of the threshold."""

    voltage: Tensor


class VoltageNeuron(Neuron):
    """Base of neurons whose one state is their voltage; modes ``rate``, ``spike_aware`` and ``surrogate``."""

    settings: SpikingSettings

    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Voltage:
        """Zero, or one random voltage a neuron, the same in every clip."""
        return Voltage(draw_voltage(self.settings, batch, shape, device, dtype))


def draw_voltage(
    settings: SpikingSettings, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Voltages (B, ...) at a clip's start: zero, or one random value in [0, 1) a neuron, the same in every clip."""
    if settings.initial_voltage == "zero":
        return fill(0.0, batch, shape, device, dtype)
    generator = torch.Generator().manual_seed(settings.seed)
    return torch.rand(*shape, generator=generator).to(device, dtype).expand(batch, *shape)


def fire_often(voltage: Tensor, settings: SpikingSettings, signed: bool = False) -> tuple[Tensor, Voltage]:
    """``n = floor(v')`` spikes, as output (B, N) in spikes a second, and the state with ``v = v' - n``.

    Backward, a spike's derivative is the surrogate's at the nearest threshold, which is 1, 2, ..., and where spikes
    are ``signed`` 0, -1, ... as well; the membrane's gradient runs through ``v' - n``.
    """
    spikes = voltage.detach().floor()
    if torch.is_grad_enabled() and voltage.requires_grad:
        nearest = voltage.detach().round()
        if not signed:
            nearest = nearest.clamp(min=1)
        spikes = attach(spikes, voltage - nearest, SURROGATES[settings.surrogate])
    return spikes * (settings.amplitude / settings.dt), Voltage(voltage - spikes)
