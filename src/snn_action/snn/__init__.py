"""The spiking library: neurons, synapses, memories and ensembles. It knows nothing of videos or files.

from snn_action.snn import LIF, Sequential

net = Sequential(torch.nn.Linear(28, 100), LIF(tau_rc=0.02, gradient="surrogate"), torch.nn.Linear(100, 10))
logits, state = net(torch.rand(8, 28, 28))                        # (B, T, D) to (B, T, K)
"""

from typing import TYPE_CHECKING

from snn_action.core.lazy import lazy_names

if TYPE_CHECKING:
    from snn_action.snn.build import build_neuron as build_neuron
    from snn_action.snn.build import list_neurons as list_neurons
    from snn_action.snn.decoders import solve_decoders as solve_decoders
    from snn_action.snn.ensemble_array import EnsembleArray as EnsembleArray
    from snn_action.snn.legendre import LegendreMemory as LegendreMemory
    from snn_action.snn.legendre import legendre_matrices as legendre_matrices
    from snn_action.snn.neurons.adaptive_lif import AdaptiveLIF as AdaptiveLIF
    from snn_action.snn.neurons.adaptive_lif_rate import AdaptiveLIFRate as AdaptiveLIFRate
    from snn_action.snn.neurons.base import Neuron as Neuron
    from snn_action.snn.neurons.integrate_and_fire import IntegrateAndFire as IntegrateAndFire
    from snn_action.snn.neurons.izhikevich import Izhikevich as Izhikevich
    from snn_action.snn.neurons.lif import LIF as LIF
    from snn_action.snn.neurons.lif_rate import LIFRate as LIFRate
    from snn_action.snn.neurons.parametric_lif import ParametricLIF as ParametricLIF
    from snn_action.snn.neurons.poisson_spiking import PoissonSpiking as PoissonSpiking
    from snn_action.snn.neurons.rectified_linear import RectifiedLinear as RectifiedLinear
    from snn_action.snn.neurons.regular_spiking import RegularSpiking as RegularSpiking
    from snn_action.snn.neurons.sliding_psn import SlidingPSN as SlidingPSN
    from snn_action.snn.neurons.soft_lif_rate import SoftLIFRate as SoftLIFRate
    from snn_action.snn.neurons.spiking_rectified_linear import SpikingRectifiedLinear as SpikingRectifiedLinear
    from snn_action.snn.neurons.stochastic_spiking import StochasticSpiking as StochasticSpiking
    from snn_action.snn.neurons.surrogate import SURROGATES as SURROGATES
    from snn_action.snn.neurons.surrogate import attach as attach
    from snn_action.snn.neurons.synapses import Alpha as Alpha
    from snn_action.snn.neurons.synapses import LinearFilter as LinearFilter
    from snn_action.snn.neurons.synapses import Lowpass as Lowpass
    from snn_action.snn.neurons.synapses import Synapse as Synapse
    from snn_action.snn.sequential import Sequential as Sequential
    from snn_action.snn.settings import NeuronSettings as NeuronSettings
    from snn_action.snn.sigma_delta import SigmaDelta as SigmaDelta

_HOMES = {
    "AdaptiveLIF": "neurons.adaptive_lif",
    "AdaptiveLIFRate": "neurons.adaptive_lif_rate",
    "Alpha": "neurons.synapses",
    "EnsembleArray": "ensemble_array",
    "IntegrateAndFire": "neurons.integrate_and_fire",
    "Izhikevich": "neurons.izhikevich",
    "LIF": "neurons.lif",
    "LIFRate": "neurons.lif_rate",
    "LegendreMemory": "legendre",
    "LinearFilter": "neurons.synapses",
    "Lowpass": "neurons.synapses",
    "Neuron": "neurons.base",
    "NeuronSettings": "settings",
    "ParametricLIF": "neurons.parametric_lif",
    "PoissonSpiking": "neurons.poisson_spiking",
    "RectifiedLinear": "neurons.rectified_linear",
    "RegularSpiking": "neurons.regular_spiking",
    "SURROGATES": "neurons.surrogate",
    "Sequential": "sequential",
    "SigmaDelta": "sigma_delta",
    "SlidingPSN": "neurons.sliding_psn",
    "SoftLIFRate": "neurons.soft_lif_rate",
    "SpikingRectifiedLinear": "neurons.spiking_rectified_linear",
    "StochasticSpiking": "neurons.stochastic_spiking",
    "Synapse": "neurons.synapses",
    "attach": "neurons.surrogate",
    "build_neuron": "build",
    "legendre_matrices": "legendre",
    "list_neurons": "build",
    "solve_decoders": "decoders",
}
__all__ = [
    "LIF",
    "SURROGATES",
    "AdaptiveLIF",
    "AdaptiveLIFRate",
    "Alpha",
    "EnsembleArray",
    "IntegrateAndFire",
    "Izhikevich",
    "LIFRate",
    "LegendreMemory",
    "LinearFilter",
    "Lowpass",
    "Neuron",
    "NeuronSettings",
    "ParametricLIF",
    "PoissonSpiking",
    "RectifiedLinear",
    "RegularSpiking",
    "Sequential",
    "SigmaDelta",
    "SlidingPSN",
    "SoftLIFRate",
    "SpikingRectifiedLinear",
    "StochasticSpiking",
    "Synapse",
    "attach",
    "build_neuron",
    "legendre_matrices",
    "list_neurons",
    "solve_decoders",
]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
