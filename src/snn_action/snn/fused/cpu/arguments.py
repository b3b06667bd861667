"""What a strip is given: one structure of addresses and counts each, which ``loops`` builds and ``strips`` unpacks.

A strip in machine code is a function of 64-bit integers: those of its structure, in order, with those of structures in
it in their places. Addresses are of float32 numbers, and distances count such numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, get_type_hints

Structure = TypeVar("Structure", bound=tuple[Any, ...])


class Weights(NamedTuple):
    """Where gains, biases and decoders of neurons side by side lie."""

    gain: int
    bias: int
    decoder: int


class States(NamedTuple):
    """Where states lie: ``row`` from neuron to neuron, ``apart`` from state to state."""

    address: int
    row: int
    apart: int


class ArrayForward(NamedTuple):
    """Of ``strips.array_forward``; ``x``, ``mask`` and ``decoded`` are rows of 16 numbers, ``stride`` apart."""

    steps: int
    stride: int
    x: int
    mask: int
    weights: Weights
    params: int
    before: States
    decoded: int
    spikes: int
    after: States


class ArrayBackwardOfRates(NamedTuple):
    """Of ``strips.array_backward_of_rates``; ``x``, ``mask``, ``grad_decoded`` and ``grad_x`` are rows as before."""

    steps: int
    stride: int
    x: int
    mask: int
    weights: Weights
    params: int
    before: States
    grad_decoded: int
    grad_spike: int
    grad_x: int
    grad_weights: int
    grad_params: int


class ArrayBackward(NamedTuple):
    """Of ``strips.array_backward``; ``scratch`` has room for the states of one neuron at all steps."""

    given: ArrayBackwardOfRates
    scratch: int


class NeuronsForward(NamedTuple):
    """Of ``strips.neurons_forward``; ``current`` and ``spikes`` are rows, ``stride`` apart, states lie ``apart``."""

    steps: int
    stride: int
    current: int
    spikes: int
    state: int
    apart: int
    params: int


class NeuronsBackward(NamedTuple):
    """Of ``strips.neurons_backward``; ``current``, ``grad_spikes`` and ``grad_current`` are rows, ``stride`` apart."""

    steps: int
    stride: int
    current: int
    grad_spikes: int
    state: int
    grad_state: int
    apart: int
    params: int
    grad_current: int
    grad_params: int
    scratch: int


def count(structure: type[tuple[Any, ...]]) -> int:
    """How many integers a structure has."""
    return sum(1 if kind is int else count(kind) for kind in get_type_hints(structure).values())


def unpack(structure: type[Structure], integers: Sequence[Any]) -> Structure:
    """The structure whose integers these are."""
    return _unpack(structure, iter(integers))


def _unpack(structure: type[Structure], integers: Iterator[Any]) -> Structure:
    kinds = get_type_hints(structure).values()
    return structure(*(next(integers) if kind is int else _unpack(kind, integers) for kind in kinds))
