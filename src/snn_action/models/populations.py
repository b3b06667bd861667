"""Spiking neurons of a network, and the synapses behind them: how many there are, and whose."""

from typing import NamedTuple


class Population(NamedTuple):
    """Spiking neurons of one kind.

    Attributes:
        name: Of the population, alone in its model.
        neurons: How many there are.
        fan_out: Weights that one spike adds up.
        targets: Values to which the spikes of all of them add up; 0: as many as ``fan_out``, where each neuron is
            connected to each of them.
        biases: Of the values to which the spikes add up.
    """

    name: str
    neurons: int
    fan_out: int
    targets: int = 0
    biases: int = 0


class Synapses(NamedTuple):
    """Synapses with one set of weights, as of a convolution, behind the sum of spikes of some populations.

    Attributes:
        name: Of what they lead to.
        sources: Names of the populations, all of ``inputs`` neurons.
        inputs: Places at which their spikes arrive.
        outputs: Values to which they add up.
        number: Of the synapses.
        weights: That they share.
    """

    name: str
    sources: tuple[str, ...]
    inputs: int
    outputs: int
    number: int
    weights: int

    @property
    def fan_out(self) -> float:
        """Synapses of one place, on average."""
        return self.number / self.inputs

    def inside(self, prefix: str) -> "Synapses":
        """The same in a model whose populations' names begin with ``prefix``."""
        return self._replace(name=f"{prefix}{self.name}", sources=tuple(f"{prefix}{one}" for one in self.sources))
