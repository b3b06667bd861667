"""Rate of a leaky integrate-and-fire neuron at a constant current (Nengo's LIFRate), without state.

    r(J) = amplitude / (tau_ref + tau_rc log(1 + 1 / (J - 1)))  for J > 1, else 0

The slope grows without bound as J falls to 1 and is zero at and below 1; ``soft_lif_rate`` has a bounded one.
"""

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from snn_action.core.errors import ConfigError
from snn_action.snn.neurons.base import OutputUnit, check_rates
from snn_action.snn.neurons.rate_neuron import RateNeuron
from snn_action.snn.settings import Gradient, LIFRateFamilySettings, LIFRateSettings


def lif_rate(current: Tensor, tau_rc: float, tau_ref: float, amplitude: float) -> Tensor:
    """``r(J)`` of any shape, with a derivative that is finite everywhere."""
    over = current - 1
    # The second `where` alone would let the infinite derivative of the branch not taken through as 0 * inf.
    safe = torch.where(over > 0, over, 1)
    return torch.where(over > 0, amplitude / (tau_ref + tau_rc * torch.log1p(1 / safe)), 0)


def lif_slope(current: Tensor, tau_rc: float, tau_ref: float, amplitude: float) -> Tensor:
    """``dr/dJ = r^2 tau_rc / (amplitude (J - 1) J)`` for J > 1, else 0."""
    over = current - 1
    safe = torch.where(over > 0, over, 1)
    period = tau_ref + tau_rc * torch.log1p(1 / safe)
    return torch.where(over > 0, amplitude * tau_rc / (period.square() * safe * (safe + 1)), 0)


def lif_gain_bias(max_rates: Tensor, intercepts: Tensor, tau_rc: float, tau_ref: float) -> tuple[Tensor, Tensor]:
    """``gain = 1 / ((1 - intercept) (exp((1 / max_rate - tau_ref) / tau_rc) - 1))``, ``bias = 1 - gain intercept``.

    Rates are spikes a second, before the amplitude.

    Raises:
        ConfigError: a rate reaches ``1 / tau_ref`` or needs a current that is not told from the threshold, or what
            ``check_rates`` finds.
    """
    check_rates(max_rates, intercepts)
    if not bool((max_rates * tau_ref < 1).all()):
        raise ConfigError(f"max_rates must be below 1 / tau_ref = {1 / tau_ref:g} spikes a second")
    over = 1 / torch.expm1((1 / max_rates - tau_ref) / tau_rc)  # of the current at x = 1 above the threshold
    least = torch.finfo(over.dtype).eps
    if not bool((over >= least).all()):
        lowest = 1 / (tau_ref + tau_rc * math.log1p(1 / least))
        raise ConfigError(
            f"max_rates must be at least {lowest:.3g} spikes a second: the current of a lower rate is not told from "
            f"the threshold in {over.dtype}"
        )
    gain = over / (1 - intercepts)
    return gain, 1 - gain * intercepts


class LIFRate(RateNeuron):
    """Rate neuron: ``r(J) = amplitude / (tau_ref + tau_rc log(1 + 1 / (J - 1)))`` for ``J > 1``, else 0."""

    Settings: ClassVar[type[LIFRateFamilySettings]] = LIFRateSettings
    settings: LIFRateFamilySettings

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dt: float = 0.001,
            tau_rc: float = 0.02,
            tau_ref: float = 0.002,
            amplitude: float = 1.0,
            settings: LIFRateSettings | None = None,
            gradient: Gradient | None = None,
            unit: OutputUnit = "rate",
        ) -> None: ...

    def rate(self, current: Tensor) -> Tensor:
        """``r(J)``."""
        return lif_rate(current, self.settings.tau_rc, self.settings.tau_ref, self.amplitude)

    def gain_bias(self, max_rates: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """See ``lif_gain_bias``."""
        return lif_gain_bias(max_rates, intercepts, self.settings.tau_rc, self.settings.tau_ref)
