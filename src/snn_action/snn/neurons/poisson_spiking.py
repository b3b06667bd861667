"""Spikes of a Poisson process whose rate is the output of a rate neuron (Nengo's PoissonSpiking).

    r = output of the base,  n ~ Poisson(|r| dt),  output sign(r) n amplitude / dt

``n`` is the inverse of the distribution function at one uniform number ``u``, the smallest n with P(N <= n) > u. Up to
a mean of 16 it is found from 0 upwards, beyond that by bisection of the incomplete gamma function,
``P(N <= n) = Q(n + 1, mean)``, so the work grows with the logarithm of the mean. ``u`` has 24 bits and is taken at
the middle of its interval: what is less likely than 2^-25 at either end never comes. How it is drawn:
``random_spiking``.
"""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from snn_action.snn.neurons.base import OutputUnit
from snn_action.snn.neurons.random import UNIFORM_BITS
from snn_action.snn.neurons.random_spiking import RandomSpiking
from snn_action.snn.settings import Gradient, NeuronSettings, PoissonSpikingSettings

SEARCHED = 16.0  # the highest mean whose counts are found from 0 upwards
HIGHEST_SEARCHED = 48  # no count of such a mean is higher, as that is less likely than 2^-25
DEVIATIONS = 8.0  # half of the bracket of the bisection: all that 2^-25 lets happen is within 6
BISECTIONS = 40  # enough for a mean of 10^18, where a float64 no longer tells counts apart


def count(mean: Tensor, uniform: Tensor) -> Tensor:
    """Poisson counts of ``mean`` (...) at ``uniform`` (...) in [0, 1); a mean that is not finite stays as it is."""
    middle = uniform.double() + 2.0 ** -(UNIFORM_BITS + 1)
    exact = mean.double()
    counts = _search(torch.where(exact <= SEARCHED, exact, 0), middle)
    large = (exact > SEARCHED) & exact.isfinite()
    if torch.compiler.is_compiling():
        counts = torch.where(large, _bisect(torch.where(large, exact, SEARCHED), middle), counts)
    elif bool(large.any()):
        counts[large] = _bisect(exact[large], middle[large])
    return torch.where(mean.isfinite(), counts, exact).to(mean.dtype)


def _search(mean: Tensor, uniform: Tensor) -> Tensor:
    probability = torch.exp(-mean)
    below = probability.clone()
    counts = torch.zeros_like(mean)
    compiled = torch.compiler.is_compiling()  # in a compiled program no loop may end by numbers
    for n in range(1, HIGHEST_SEARCHED + 2) if compiled else itertools.count(1):
        beyond = uniform >= below
        if not compiled and not bool(beyond.any()):
            break
        counts += beyond
        probability *= mean / n
        below += probability
    return counts


def _bisect(mean: Tensor, uniform: Tensor) -> Tensor:
    half = DEVIATIONS * (mean.sqrt() + 1)
    low, high = (mean - half).floor().clamp(min=-1), (mean + half).ceil()  # P(N <= low) <= uniform < P(N <= high)
    for _ in range(BISECTIONS):
        if not torch.compiler.is_compiling() and not bool((high - low > 1).any()):
            break
        middle = ((low + high) / 2).floor()
        above = torch.special.gammaincc(middle + 1, mean) > uniform
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high


class PoissonSpiking(RandomSpiking):
    """Module around ``count``; modes ``rate`` and ``spike_aware``."""

    Settings = PoissonSpikingSettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            amplitude: float = 1.0,
            seed: int = 0,
            base: NeuronSettings | Mapping[str, Any] = ...,
            settings: PoissonSpikingSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def draw_counts(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """See ``count``."""
        return count(mean, uniform)
