"""What chips ask of a temporal model that counts do not tell: its inputs and outputs, and whether it has loops."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snn_action.evaluation.energy.account import Account

# Whether a layer is connected to itself. The memory of an LMU, spiking or not, is fed back by its matrix A, also where
# that is one number; the filters and leaks of neurons, and a running mean, are states without a connection.
LOOPS = {
    "ensemble_array": False,
    "lmu": True,
    "lstm": True,
    "mean_pool": False,
    "spiking_lmu": True,
    "spiking_lmu_2020": True,
    "stacked_lmu": True,
}


@dataclass(frozen=True)
class Shape:
    """Of a temporal model; None: not known.

    Attributes:
        inputs: Values of a step that it needs.
        outputs: Classes.
        recurrent: Whether one of its layers is connected to itself.
    """

    inputs: int | None = None
    outputs: int | None = None
    recurrent: bool | None = None


def find_shape(model: Mapping[str, Any], account: Account) -> Shape:
    """The shape of the head of ``account`` by the configuration of its ``model``.

    The baseline has one weight for each feature and class, so its layer tells how many of them there are.
    """
    readout = next((layer for layer in account.baseline if layer.kind == "synapses"), None)
    inputs, streams, inner = readout.fan_in if readout else None, 1, model
    while isinstance(inner.get("model"), Mapping):  # several streams, or an encoder before it
        number = inner.get("streams", 1)
        streams, inner = streams * (number if isinstance(number, int) else 1), inner["model"]
    kept = inner.get("memory_d")
    if inputs and inner.get("encoders") == "selected" and not inner.get("input_to_hidden") and isinstance(kept, int):
        inputs = min(inputs, streams * kept)  # the others are not looked at
    name = inner.get("type")
    recurrent = LOOPS.get(name) if isinstance(name, str) else None
    return Shape(inputs, readout.outputs if readout else None, recurrent)
