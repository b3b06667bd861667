"""Spiking ensembles that each stand for one value, in the input and the memory of a spiking LMU."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn_action.core.errors import ConfigError
from snn_action.models.settings import SpikingLMUSettings
from snn_action.snn.decoders import solve_decoders
from snn_action.snn.ensembles import run_in_chunks
from snn_action.snn.masks import take_last
from snn_action.snn.neurons.base import Neuron, check_finite


class Activity(NamedTuple):
    """Neurons of a population, their spikes (B,) since the clip began, and what they last decoded to (B, E) if used."""

    neurons: Any
    spikes: Tensor
    decoded: Tensor | None = None


class Ensembles(nn.Module):
    """One ensemble a value: gains and biases drawn, decoders solved for the value itself on [-radius, radius]."""

    encoders: Tensor
    bias: Tensor
    decoders: Tensor

    def __init__(self, size: int, neuron: Neuron, settings: SpikingLMUSettings) -> None:
        super().__init__()
        self.neuron, self.radius = neuron, settings.radius
        shape = (size, settings.ensemble_neurons)
        try:
            gain, bias = neuron.gain_bias(
                torch.empty(shape).uniform_(*settings.ensemble_rates), torch.empty(shape).uniform_(-1.0, 0.9)
            )
        except ConfigError as error:
            raise ConfigError(f"ensemble_rates of the input's or the memory's ensembles: {error}") from None
        encoders = gain * (torch.randint(0, 2, shape).to(gain) * 2 - 1)
        self.register_buffer("encoders", encoders / self.radius)
        self.register_buffer("bias", bias)
        self.register_buffer("decoders", solve_decoders(neuron.tuning, encoders, bias) * self.radius)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Activity:
        """Neurons as they start, no spike yet, decoded to zero."""
        neurons = self.neuron.initial_state(batch, self.bias.shape, device, dtype)
        zeros = torch.zeros(batch, len(self.bias), device=device, dtype=dtype)
        return Activity(neurons, zeros[:, 0].clone(), zeros)

    def forward(self, values: Tensor, state: Activity, mask: Tensor | None) -> tuple[Tensor, Activity]:
        """What spikes decode to (B, T, E) of ``values`` (B, T, E)."""
        check_finite(values, "value of ensemble")
        values = values.to(self.bias)
        decoded, spikes, neurons = run_in_chunks(
            self.neuron, mask, state.neurons, values, self.encoders, self.bias, self.decoders
        )
        return decoded, Activity(neurons, state.spikes + spikes, take_last(decoded, mask))
