"""What rate neurons share: one gradient mode, and, but for those that adapt, no state."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from snn_action.snn.neurons.base import Neuron
from snn_action.snn.settings import Gradient


class Empty(NamedTuple):
    """No state: the output depends on the present current alone."""


class RateNeuron(Neuron):
    """Base of rate neurons; their one mode is ``rate``, and without a state the output of a step is their rate."""

    gradients: ClassVar[tuple[Gradient, ...]] = ("rate",)
    spiking: ClassVar[bool] = False

    def dynamics(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Output (B, N) of ``current`` (B, N), in units a second, and the state as it was."""
        return self.rate(current), state

    def initial_state(self, batch: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Any:
        """Empty."""
        del batch, shape, device, dtype  # nothing to lay out
        return Empty()
