"""What a network tells whoever counts its operations (``evaluation.operations``); while nobody counts, nothing happens.

Matrix products and convolutions need no word: the counter sees them. A part speaks where what PyTorch computes is not
what the network does at each step: a convolution in the place of a step of the memory, weights that are multiplied
value by value, spikes that are scaled before they meet their weights, values that are carried from step to step.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Connection(NamedTuple):
    """Synapses that carry numbers: one for each weight, used once a step.

    Attributes:
        inputs: (..., N) of all clips and steps.
        weight: Of shape (N) but for one more axis, that of the targets.
        axis: Which one that is; None: there is none, each input has one target.
        name: Of the layer, where the weight is computed from those that the network keeps; else it has their name.
        fan_in: Weights of one target; None: with an axis of targets all but those of this axis, without one a single.
        bias: Of the targets; None: that which the network keeps beside the weight, if there is one.
    """

    inputs: Tensor
    weight: Tensor
    axis: int | None = 0
    name: str = "weights"
    fan_in: int | None = None
    bias: Tensor | None = None


class Spiking(Protocol):
    """Layers that spike, whose state holds a field ``spikes`` for each population, in order."""

    populations: Any
    synapses: Any


Tell = Callable[[], Sequence[Connection]]


class Listener(Protocol):
    """Who counts."""

    def count_as(self, tell: Tell) -> AbstractContextManager[None]:
        """See ``count_as``."""

    def count_updates(self, values: int) -> None:
        """See ``count_updates``."""

    def count_events(self, name: str, neurons: int, events: Sequence[int], states: int) -> None:
        """See ``count_events``."""

    def count_spiking(self, layers: Spiking, state: Any, steps: int) -> None:
        """See ``count_spiking``."""

    def by_changes(self) -> AbstractContextManager[None]:
        """See ``by_changes``."""

    def by_decoded(self) -> AbstractContextManager[None]:
        """See ``by_decoded``."""


_listener: Listener | None = None
_place: tuple[str, ...] = ()


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Let ``listener`` hear what networks tell."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


@contextmanager
def inside(part: str) -> Iterator[None]:
    """Layers that are told of inside are those of a ``part`` of the network: their names begin with its."""
    global _place
    before, _place = _place, (*_place, part)
    try:
        yield
    finally:
        _place = before


def place_name(name: str) -> str:
    """The name of a layer that is told of here."""
    return ".".join((*_place, name))


def is_counting() -> bool:
    """Whether somebody listens."""
    return _listener is not None


def count_as(tell: Tell) -> AbstractContextManager[None]:
    """What is computed inside counts as the connections that ``tell`` gives at its end, and as nothing else."""
    return nullcontext() if _listener is None else _listener.count_as(tell)


def count_elsewhere() -> AbstractContextManager[None]:
    """What is computed inside is no product of its own: updates of neurons, and weights made anew."""
    return count_as(tuple)


def count_updates(values: int) -> None:
    """So many values were carried from one step to the next, each multiplied and added to, without a synapse."""
    if _listener is not None:
        _listener.count_updates(values)


def count_events(name: str, neurons: int, events: Sequence[int], states: int = 2) -> None:
    """So many neurons of a layer were updated at each step, and sent so many changes in it, each a number.

    Each has so many ``states``: what has come in so far, and what its receivers hold; or the latter alone, where the
    former is kept elsewhere or comes anew at each step.
    """
    if _listener is not None:
        _listener.count_events(place_name(name), neurons, events, states)


def count_spiking(layers: Spiking, state: Any, steps: int) -> None:
    """So many steps of ``layers`` that spike went from rest to ``state``, for a network that keeps no state itself."""
    if _listener is not None:
        _listener.count_spiking(layers, state, steps)


def by_changes() -> AbstractContextManager[None]:
    """What is computed inside is a product of changes that were sent, to be added to what receivers hold."""
    return nullcontext() if _listener is None else _listener.by_changes()


def by_decoded(spiking: bool) -> AbstractContextManager[None]:
    """Where ``spiking``: inside, products are of numbers that spikes were decoded to, zero where no spike came."""
    return _listener.by_decoded() if spiking and _listener is not None else nullcontext()
