"""Spiking rectified linear neuron: integrates ``max(J, 0)`` and may fire several times in a step (Nengo).

    v' = v + max(J, 0) dt
    n = floor(v'),  output n amplitude / dt
    v = v' - n

Without feedback the spike counts are exactly ``diff(floor(v0 + cumsum(max(J, 0) dt)))``. Its rate is
``amplitude max(J, 0)``.
"""

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from snn_action.snn.neurons.base import OutputUnit
from snn_action.snn.neurons.rectified_linear import linear_gain_bias
from snn_action.snn.neurons.spiking import Voltage, VoltageNeuron, fire_often
from snn_action.snn.settings import Gradient, SpikingRectifiedLinearSettings, SpikingSettings, SurrogateName


def dynamics(current: Tensor, state: Voltage, settings: SpikingSettings) -> tuple[Tensor, Voltage]:
    """One step: output (B, N) of ``current`` (B, N) in spikes a second, and the state after it; see ``fire_often``."""
    return fire_often(state.voltage + current.relu() * settings.dt, settings)


class SpikingRectifiedLinear(VoltageNeuron):
    """Module around ``dynamics``."""

    Settings = SpikingRectifiedLinearSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            amplitude: float = 1.0,
            initial_voltage: Literal["zero", "uniform"] = "zero",
            seed: int = 0,
            surrogate: SurrogateName = "arctan",
            settings: SpikingRectifiedLinearSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def dynamics(self, current: Tensor, state: Voltage) -> tuple[Tensor, Voltage]:
        """One step, computed by the module's function ``dynamics``."""
        return dynamics(current, state, self.settings)

    def rate(self, current: Tensor) -> Tensor:
        """``amplitude max(J, 0)``."""
        return current.relu() * self.amplitude

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """See ``linear_gain_bias``."""
        return linear_gain_bias(max_rates, intercepts)
