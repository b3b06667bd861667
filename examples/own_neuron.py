"""A neuron of your own: the quadratic integrate-and-fire neuron (Ermentrout and Kopell 1986).

    tau dv/dt = v^2 + J,   a spike where v >= peak, then v = -peak

In a script, it is known by its ``type`` from here on; in a package of your own, by one entry point:
[project.entry-points."snn_action.neuron"] qif = "my_package.own_neuron:QIFSettings"
"""

from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from snn_action.snn import SURROGATES, Neuron, NeuronSettings, attach


class QIFSettings(NeuronSettings):
    type: Literal["qif"] = Field("qif", description="Which neuron this is")
    builds: ClassVar[str] = "QIF"
    tau: float = Field(0.02, gt=0, description="Time constant in seconds")
    peak: float = Field(5.0, gt=0, description="Voltage of a spike; minus this after it")


class QIFState(NamedTuple):
    voltage: Tensor  # (B, N)


class QIF(Neuron):
    Settings = QIFSettings

    def dynamics(self, current, state):
        peak, share = self.settings.peak, self.dt / self.settings.tau
        voltage = state.voltage + share * (state.voltage.square() + current)
        spikes = attach((voltage >= peak).to(voltage.dtype), voltage / peak - 1, SURROGATES["arctan"])
        return spikes / self.dt, QIFState(torch.where(voltage >= peak, -peak, voltage.clamp(min=-peak)))

    def initial_state(self, batch, shape, device, dtype):
        return QIFState(torch.full((batch, *shape), -self.settings.peak, device=device, dtype=dtype))

    def rate(self, current):  # of continuous time: exact for small dt
        root = current.clamp(min=1e-6).sqrt()
        return torch.where(current > 1e-6, root / (2 * self.settings.tau * (self.settings.peak / root).arctan()), 0.0)

    def gain_bias(self, max_rates, intercepts):  # the current that gives the rate is found by bisection
        low, high = torch.zeros_like(max_rates), torch.full_like(max_rates, 1e6)
        for _ in range(60):
            middle = (low + high) / 2
            slow = self.rate(middle) < max_rates
            low, high = torch.where(slow, middle, low), torch.where(slow, high, middle)
        gain = high / (1 - intercepts)
        return gain, -gain * intercepts


if __name__ == "__main__":
    currents = torch.linspace(0.5, 5, 10)
    spikes, _ = QIF(dt=1e-4)(currents.expand(1, 10000, -1))
    print("spikes in a second:", spikes.mean(1).round().int().tolist()[0])
    print("rate:              ", QIF().rate(currents).round().int().tolist())
