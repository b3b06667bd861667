"""Bytes that a layer reads and writes in one clip, by kind and by level of memory.

The memory model. A network runs one step after another, at batch 1, on a machine with three levels: a *local* buffer or
register file beside the arithmetic, memory *on chip*, and memory *off chip* (DRAM). One word is read or written once
for each time that the text below says. A number, be it weight or activation, has ``bits``; a weight that was trained to
have fewer has those (``Layer.weight_bits``); a state or a partial sum has ``STATE_BITS[bits]``; a spike is an event of
``EVENT_BITS``, its neuron's address; a change that is sent (sigma-delta coding) is an event with a number of ``bits``.
A layer is run in one of two ways:

dense   Every stored weight and every input is read once a step, and their products are made, whatever the inputs are.
        Sums are kept in registers until they are complete (output-stationary); each product reads its input from the
        local buffer.
events  For each input that is not zero, the weights behind it are read, and the sum of each target is read and written
        (input-stationary). Nothing is read for an input of zero. Biases are read at each step, or once a clip where
        inputs are changes, as the sums are kept then.

Weights are stored as a full matrix or, where this takes less room, as those alone that are not zero, with an address of
``EVENT_BITS`` each. A target that is not event-driven has only full matrices.

A weight that serves several places of one step (a convolution, the matrices of a Legendre memory) is fetched once a
step and then read from the local buffer at each product. Results of a layer are written once a step. A neuron's state
is read and written at every step, and its spikes are written as events; all other values that are carried from step to
step are read and written at every step.

Where things lie: weights on chip, if those of the whole part of the network (head or backbone) fit there, else off
chip; sums and states in the local buffer if all of the layer's fit there, else on chip; activations and events on chip.

What is left out: instructions, control, the network on the chip, leakage, clocks, and values that are not products or
states (activation functions, biases' additions, standardization).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from snn_action.evaluation.energy.layers import Layer

Way = Literal["dense", "events"]
Level = Literal["local", "on_chip", "off_chip"]
LEVELS: tuple[Level, ...] = get_args(Level)
STATE_BITS = {4: 16, 8: 16, 16: 16, 32: 32}
EVENT_BITS = 16


@dataclass(frozen=True)
class Bytes:
    """Bytes of one clip by kind, of one level of memory; a partial sum counts as a state."""

    weights_read: float = 0.0
    activations_read: float = 0.0
    activations_written: float = 0.0
    states_read: float = 0.0
    states_written: float = 0.0

    def __add__(self, other: "Bytes") -> "Bytes":
        """Both together."""
        return Bytes(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    @property
    def read(self) -> float:
        """Of all kinds."""
        return self.weights_read + self.activations_read + self.states_read

    @property
    def written(self) -> float:
        """Of all kinds."""
        return self.activations_written + self.states_written

    @property
    def total(self) -> float:
        """Read and written."""
        return self.read + self.written


@dataclass(frozen=True)
class Traffic:
    """Bytes of one clip that are read and written, and of which kind they are.

    Attributes:
        weights_read: Bytes of weights that come from where the weights lie.
        activations_read: Bytes of numbers and events that a layer takes in.
        activations_written: Bytes of numbers and events that it gives.
        states_read: Bytes of neurons' and other states.
        states_written: The same, written.
        local_weights: Bytes of shared weights that the products read beside the arithmetic.
        local_inputs: Bytes of inputs that they read there.
        local_sums: Bytes of partial sums that they read and write there, as many each.
    """

    weights_read: float = 0.0
    activations_read: float = 0.0
    activations_written: float = 0.0
    states_read: float = 0.0
    states_written: float = 0.0
    local_weights: float = 0.0
    local_inputs: float = 0.0
    local_sums: float = 0.0

    @property
    def local(self) -> float:
        """What the products move beside the arithmetic."""
        return self.local_weights + self.local_inputs + self.local_sums


def measure_traffic(layer: Layer, bits: int, way: Way, *, skips_zeros: bool = True) -> Traffic:
    """Bytes that ``layer`` moves in one clip with numbers of ``bits`` (4, 8, 16 or 32): see the module.

    Weights that are zero are left out where ``skips_zeros``.
    """
    number, state, event = bits / 8, STATE_BITS[bits] / 8, EVENT_BITS / 8
    weight = layer.find_weight_bits(bits) / 8
    if layer.kind != "synapses":
        moved, sent = layer.states * layer.steps * state, event + (number if layer.by_changes else 0)
        return Traffic(states_read=moved, states_written=moved, activations_written=layer.spikes * sent)
    written = layer.outputs * layer.steps * number
    listed = skips_zeros and is_stored_sparse(layer, bits)
    word = weight + (event if listed else 0)
    if way == "dense":
        products = count_dense(layer, bits, skips_zeros=skips_zeros)
        return Traffic(
            weights_read=(layer.nonzero if listed else layer.parameters) * layer.steps * word,
            activations_read=layer.values * (1 / 8 if layer.by_spikes else number),  # a spike or none: one bit
            activations_written=written,
            local_weights=products * weight if layer.is_shared else 0.0,
            local_inputs=products * number,
        )
    done = layer.effective_macs + layer.effective_acs
    met = done if listed else layer.active * layer.fan_out
    used = min((layer.nonzero - layer.biases) * layer.steps, met) if layer.is_shared else met
    starts = 1 if layer.by_changes else layer.steps
    return Traffic(
        weights_read=(used + layer.biases * starts) * word,
        activations_read=layer.active * (event if layer.by_spikes else number + (event if layer.by_changes else 0)),
        activations_written=written,
        local_weights=done * weight if layer.is_shared else 0.0,
        local_sums=done * 2 * state,
    )


def place_traffic(moved: Traffic, *, products: Level, states: Level, weights: Level) -> dict[Level, Bytes]:
    """What is moved at each level, by where the products' own bytes, the states and the weights lie."""
    beside = Bytes(moved.local_weights, moved.local_inputs, 0.0, moved.local_sums / 2, moved.local_sums / 2)
    parts: tuple[tuple[Level, Bytes], ...] = (
        (products, beside),
        (states, Bytes(states_read=moved.states_read, states_written=moved.states_written)),
        (weights, Bytes(weights_read=moved.weights_read)),
        ("on_chip", Bytes(activations_read=moved.activations_read, activations_written=moved.activations_written)),
    )
    return {level: sum((part for place, part in parts if place == level), Bytes()) for level in LEVELS}


def count_dense(layer: Layer, bits: int, *, skips_zeros: bool = True) -> float:
    """Products of the way ``dense``: of all weights, or of those that are stored."""
    listed = skips_zeros and is_stored_sparse(layer, bits)
    return layer.dense_macs * (layer.nonzero / layer.parameters if listed else 1.0)


def is_stored_sparse(layer: Layer, bits: int) -> bool:
    """Whether a list of the weights that are not zero takes less room than all of them."""
    width = layer.find_weight_bits(bits)
    return layer.nonzero * (width + EVENT_BITS) < layer.parameters * width


def size_of_weights(layers: Sequence[Layer], bits: int) -> float:
    """Bytes of all weights of ``layers``, each stored in the way that takes less room."""
    widths = [(layer, layer.find_weight_bits(bits)) for layer in layers]
    return sum(min(layer.nonzero * (width + EVENT_BITS), layer.parameters * width) / 8 for layer, width in widths)


def size_of_states(layer: Layer, bits: int) -> float:
    """Bytes of the states or partial sums that a layer works on in one step."""
    held = layer.outputs if layer.kind == "synapses" else layer.states
    return held * STATE_BITS[bits] / 8
