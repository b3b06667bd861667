"""A neuron from its name and settings."""

from collections.abc import Mapping
from typing import Any

from snn_action.core import registry
from snn_action.snn.neurons.base import Neuron
from snn_action.snn.settings import Gradient, NeuronSettings


def build_neuron(settings: NeuronSettings | Mapping[str, Any] | str, gradient: Gradient | None = None) -> Neuron:
    """The neuron that ``settings``, a mapping such as ``{"type": "lif", "tau_rc": 0.01}`` or a name alone describe.

    Raises:
        ConfigError: ``type`` is unknown, a key does not fit, or the neuron has no such gradient mode.
    """
    if isinstance(settings, str):
        settings = {"type": settings}
    parsed: NeuronSettings = registry.parse("neuron", settings)
    return parsed.build(gradient)


def list_neurons(pattern: str = "*") -> list[str]:
    """Names of neurons that match a pattern such as ``"*lif*"``: this package's and those of plug-ins."""
    return registry.list_items("neuron", pattern)
