"""Layers one after another, of which some have a state: a network from the library's parts."""

from typing import Any

from torch import Tensor, nn

from snn_action.snn.ensemble_array import EnsembleArray
from snn_action.snn.legendre import LegendreMemory
from snn_action.snn.neurons.base import Neuron
from snn_action.snn.neurons.synapses import Synapse


class Sequential(nn.Sequential):
    """``nn.Sequential`` that hands states on: ``net(x)`` gives the output and the state of the whole network.

    Layers with a state (neurons, synapses, memories, ensemble arrays, other ``Sequential``) take ``(x, state, mask)``
    and give ``(y, state)``, x (B, T, ...). All others, such as ``nn.Linear``, take x as it is, and must treat each
    time step alone. A ``LegendreMemory`` gives (B, T, size, order); ``nn.Flatten(2)`` makes (B, T, size order) of it.

        net = Sequential(nn.Linear(28, 100), LIF(gradient="surrogate"), nn.Linear(100, 10))
        logits, state = net(x)                                        # (B, T, 28) to (B, T, 10)
        logits, state = net.step(x[:, 0], state)                      # (B, 28) to (B, 10)
    """

    def forward(
        self, x: Tensor, state: tuple[Any, ...] | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Output (B, T, ...) of ``x`` (B, T, ...), and the state after each clip's last real step.

        Args:
            x: What the first layer takes.
            state: One entry for each layer with a state, in order, as returned; None: all begin.
            mask: (B, T), true on real steps, which come before the others.

        Raises:
            ValueError: the state has another number of entries, or a layer refuses its input.
        """
        layers = [layer for layer in self if is_stateful(layer)]
        if state is not None and len(state) != len(layers):
            raise ValueError(f"state must have {len(layers)} entries, one a layer with a state, not {len(state)}")
        before = iter((None,) * len(layers) if state is None else state)
        after = []
        for layer in self:
            if is_stateful(layer):
                x, new = layer(x, next(before), mask)
                after.append(new)
            else:
                x = layer(x)
        return x, tuple(after)

    def step(self, x: Tensor, state: tuple[Any, ...] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """``forward`` on one time step: output (B, ...) of ``x`` (B, ...), and the state after it."""
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state


def is_stateful(layer: nn.Module) -> bool:
    """Whether a layer takes and gives a state."""
    return isinstance(layer, Neuron | Synapse | LegendreMemory | EnsembleArray | Sequential)


__all__ = ["Sequential", "is_stateful"]
