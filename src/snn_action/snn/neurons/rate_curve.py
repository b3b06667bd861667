"""Rate curves of neurons without a closed form: simulated at many currents, then read backwards."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_action.core.errors import ConfigError


class InverseCurve(NamedTuple):
    """Rising rates (spikes a second, from 0) and the smallest currents that give them, the rheobase at rate 0."""

    rates: NDArray[np.float64]
    currents: NDArray[np.float64]


def simulate_inverse(
    advance: Callable[[Tensor, Any], tuple[Tensor, Any]], state: Any, currents: Tensor, settle: int, steps: int
) -> InverseCurve:
    """The inverse rate curve of a neuron, from its mean output at constant currents.

    Args:
        advance: One step of the neuron, as ``Neuron.dynamics``, with spikes ``1 / dt`` high.
        state: The neuron's state at a clip's start, (1, M).
        currents: Rising currents (M,), the first of which gives no spikes.
        settle: Steps at first that do not count: some neurons fire once at the onset only.
        steps: Steps after those, over which the output is averaged.
    """
    total = torch.zeros_like(currents)
    with torch.no_grad():
        for t in range(settle + steps):
            spikes, state = advance(currents.unsqueeze(0), state)
            if t >= settle:
                total += spikes[0] / steps
    grid = currents.numpy()
    curve = np.maximum.accumulate(total.numpy().round(9))
    rates, first = np.unique(curve, return_index=True)
    silent = int((curve == 0).sum())
    start = grid[max(silent - 1, 0)]
    fires = rates > 0
    return InverseCurve(np.append(0.0, rates[fires]), np.append(start, grid[first][fires]))


def find_currents(rates: Tensor, curve: InverseCurve) -> Tensor:
    """The currents (...) that give ``rates`` (...), linear between the points of ``curve``.

    Raises:
        ConfigError: a rate cannot be reached.
    """
    wanted = rates.detach().cpu().double().numpy()
    highest = curve.rates[-1]
    if wanted.size and wanted.max() > highest:
        raise ConfigError(f"max_rates: {wanted.max():g} cannot be reached, the neuron's highest is {highest:g}")
    return torch.from_numpy(np.asarray(np.interp(wanted, *curve))).to(rates)


def find_rates(currents: Tensor, curve: InverseCurve) -> Tensor:
    """The rates (...) at ``currents`` (...), linear between the points of ``curve`` and constant beyond its ends."""
    rates = np.interp(currents.detach().cpu().double().numpy(), curve.currents, curve.rates)
    return torch.from_numpy(np.asarray(rates)).to(currents)
