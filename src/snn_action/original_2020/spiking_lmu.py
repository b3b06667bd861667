"""The original project's spiking LMU of 2020: it shows how that one fails (docs/explanation/spiking-lmu.md).

    a_t = LIF(E_x x_t + b_x)                                          input, ``ensemble_neurons`` for all features
    c_t = LIF(E_u (W_au a_t + W_hu h_{t-1} + W_du d_{t-1}) + b_u)     what enters the memory, one number
    d_t = LIF(E_m (W_dm d_{t-1} + W_cm c_t) + b_m)                    memory, ``order`` coefficients
    h_t = tanh(W_ah a_t + W_hh h_{t-1} + W_dh d_t)                    (units) numbers, no spikes
    logits_t = W_out h_t

An LMU cell as in NengoDL's example "Legendre Memory Units", with Nengo's default ensembles in the place of x, u and m:
encoders E drawn from the sphere and scaled by gains, gains and biases from ``max_rates`` and ``intercepts``, decoders D
by regularized least squares. All parts learn. At the start ``W_au = 1^T D_x`` (the sum of the features),
``W_dm = A D_m`` and ``W_cm = B D_u`` (``legendre``), ``W_dh`` is D_m under Glorot's normal weights, ``W_out`` Glorot's
uniform ones; ``W_hu``, ``W_du``, ``W_ah`` and ``W_hh`` are zero. Weights take spikes a second, as NengoDL's do.

In mode ``rate`` training sees rates, and neurons whose state never moves; evaluation sees spikes. Three settings, each
off in the original, take away what is wrong with it: ``gradient``, ``ensemble_neurons``, and ``tau``, a synapse after
which alone spikes are seen; the memory's weights are then those of ``A' = (A - aI)/(1 - a)`` and ``B' = B/(1 - a)``,
``a = exp(-dt/tau)`` (Neural Engineering Framework, Eliasmith and Anderson 2003).
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.core.errors import ConfigError
from snn_action.core.registry import Registered
from snn_action.models.base import InputStandardizer, Population, TemporalModel
from snn_action.models.lmu import glorot
from snn_action.models.settings import Input, ModelSettings, Scaling
from snn_action.snn.counting import Connection, count_as, count_updates
from snn_action.snn.decoders import solve_decoders
from snn_action.snn.legendre import legendre_matrices
from snn_action.snn.masks import hold, take_last
from snn_action.snn.neurons.base import Neuron, check_finite
from snn_action.snn.settings import THETA, Gradient, LIFSettings, NeuronSettings

MAX_RATES, INTERCEPTS = (200.0, 400.0), (-1.0, 0.9)  # Nengo's defaults
TRUNCATED = 0.87962566103423978  # deviation of a normal value of deviation 1 that is drawn again beyond 2


class SpikingLMU2020Settings(ModelSettings):
    """Spiking LMU of the original project, as it was in 2020."""

    builds: ClassVar[str] = "snn_action.original_2020.spiking_lmu:SpikingLMU2020"
    small: ClassVar[Mapping[str, Any]] = {"units": 2}
    type: Literal["spiking_lmu_2020"] = Field("spiking_lmu_2020", description="Which model this is")
    scaling: Scaling = Field(
        "global", description="Deviation to which the input is scaled: each feature's, or one for all"
    )
    units: int = Field(800, ge=1, le=10**6, description="Hidden units (tanh, not spiking)")
    order: int = Field(2, ge=1, le=16, description="Polynomials of the memory")
    theta: float = Field(
        28.0, ge=THETA[0], le=THETA[1], description="Steps that the memory holds; of a longer clip older steps fade"
    )
    ensemble_neurons: int = Field(100, ge=2, le=10**4, description="Neurons of each of the three ensembles")
    neuron: Annotated[NeuronSettings, Registered("neuron")] = Field(
        LIFSettings(rate_sigma=0.0, initial_voltage="uniform"), description="Of the three ensembles"
    )
    gradient: Gradient = Field("rate", description="How gradients pass the spikes; the original's: rate")
    tau: float | None = Field(None, gt=0, description="Synapse on all spikes in seconds; null: none, the original's")


class Activity(NamedTuple):
    """Neurons of an ensemble, its output (B, N) as it is seen, and its spikes (B,) since the clip began."""

    neurons: Any
    output: Tensor
    spikes: Tensor


class SpikingLMU2020State(NamedTuple):
    """Ensembles of the input, of u and of the memory, and hidden units (B, units)."""

    input: Activity
    entering: Activity
    memory: Activity
    hidden: Tensor


class Ensemble(nn.Module):
    """N neurons for one value of D dimensions: encoders with their gains and biases, which learn."""

    def __init__(self, dimensions: int, neurons: int, neuron: Neuron, keep: float) -> None:
        super().__init__()
        self.neuron, self.keep = neuron, keep
        try:
            gain, bias = neuron.gain_bias(
                torch.empty(neurons).uniform_(*MAX_RATES), torch.empty(neurons).uniform_(*INTERCEPTS)
            )
        except ConfigError as error:
            raise ConfigError(
                f"neuron: its ensembles send up to {MAX_RATES[1]:g} spikes a second, and {error}"
            ) from None
        self.encoders = nn.Parameter(F.normalize(torch.randn(neurons, dimensions)) * gain.unsqueeze(1))
        self.bias = nn.Parameter(bias)

    def solve(self) -> Tensor:
        """Decoders (D, N) of the value."""
        encoders, bias = self.encoders.detach().unsqueeze(0), self.bias.detach().unsqueeze(0)
        return solve_decoders(self.neuron.tuning, encoders, bias)[0].T

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Activity:
        """Neurons as they start, and no output."""
        shape = (len(self.bias),)
        output = torch.zeros(batch, *shape, device=device, dtype=dtype)
        return Activity(self.neuron.initial_state(batch, shape, device, dtype), output, output[:, 0].clone())

    def forward(self, values: Tensor, state: Activity, mask: Tensor | None) -> tuple[Tensor, Activity]:
        """Outputs (B, T, N) of ``values`` (B, T, D), and the state after the last real step."""
        check_finite(values, "value of ensemble")
        with count_as(lambda: (Connection(values, self.encoders, bias=self.bias),)):
            current = F.linear(values, self.encoders, self.bias).to(self.bias)
        spikes, neurons = self.neuron(current, state.neurons, mask)
        count = state.spikes + self.neuron.count_all(spikes, (1, 2))
        if not self.keep:
            return spikes, Activity(neurons, take_last(spikes, mask), count)
        output, seen = state.output, []
        for t, now in enumerate(spikes.unbind(1)):
            new = torch.lerp(now, output, self.keep)
            output = new if mask is None else hold(new, output, mask[:, t])
            seen.append(output)
        return torch.stack(seen, 1), Activity(neurons, output, count)


class SpikingLMU2020(TemporalModel):
    """An LMU with spiking ensembles as input, u and memory: ``h_t = tanh(W_ah a_t + W_hh h_{t-1} + W_dh d_t)``."""

    Settings = SpikingLMU2020Settings
    settings: SpikingLMU2020Settings

    if TYPE_CHECKING:

        def __init__(
            self,
            in_features: int,
            num_classes: int,
            *,
            inputs: tuple[Input, ...] = ("features",),
            lags: tuple[int, ...] = (1,),
            windows: tuple[int, ...] = (4, 8, 16),
            scaling: Scaling = "global",
            units: int = 800,
            order: int = 2,
            theta: float = 28.0,
            ensemble_neurons: int = 100,
            neuron: NeuronSettings | Mapping[str, Any] = ...,
            gradient: Gradient = "rate",
            tau: float | None = None,
            settings: SpikingLMU2020Settings | None = None,
        ) -> None: ...

    def make_parts(self) -> None:
        """See the class."""
        s = self.settings
        self.standardizer = InputStandardizer(self.in_features, s.scaling)
        neuron: Neuron = s.neuron.build(s.gradient)
        keep = 0.0 if s.tau is None else math.exp(-neuron.dt / s.tau)
        n, order, units = s.ensemble_neurons, s.order, s.units
        self.input, self.entering, self.memory = (Ensemble(d, n, neuron, keep) for d in (self.in_features, 1, order))
        shapes = {"au": (1, n), "hu": (1, units), "du": (1, n), "cm": (order, n), "dm": (order, n)}
        shapes |= {"ah": (units, n), "hh": (units, units), "dh": (units, n)}
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()})
        self.readout = nn.Linear(units, self.num_classes, bias=False)
        glorot(self.readout, units, self.num_classes)
        a, b = (part.float() for part in legendre_matrices(order, s.theta))
        onto_hidden = nn.init.trunc_normal_(torch.empty(units, order), a=-2.0, b=2.0) / TRUNCATED
        onto_hidden *= math.sqrt(2 / (units + order))
        with torch.no_grad():
            self.weights["au"].copy_(self.input.solve().sum(0, keepdim=True))
            self.weights["cm"].copy_(b.unsqueeze(1) @ self.entering.solve() / (1 - keep))
            decoders = self.memory.solve()
            self.weights["dm"].copy_((a - keep * torch.eye(order)) @ decoders / (1 - keep))
            self.weights["dh"].copy_(onto_hidden @ decoders)
        fan_outs = {"input": 1 + units, "u": order, "memory": 1 + order + units}
        populations = (Population(name, n, fan_out) for name, fan_out in fan_outs.items())
        self.populations = tuple(populations) if neuron.spiking else ()

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> SpikingLMU2020State:
        """No spikes, zero hidden units."""
        entered, entering, memory = (
            part.initial_state(batch, device, dtype) for part in (self.input, self.entering, self.memory)
        )
        hidden = torch.zeros(batch, self.settings.units, device=device, dtype=dtype)
        return SpikingLMU2020State(entered, entering, memory, hidden)

    def forward_steps(
        self, x: Tensor, state: SpikingLMU2020State, mask: Tensor | None
    ) -> tuple[Tensor, SpikingLMU2020State]:
        """Logits of all steps, and the state after them; the ensemble of the input goes over all steps at once."""
        w = self.weights
        seen, entered = self.input(x, state.input, mask)
        onto_u, onto_hidden = self._pass_on(seen, "au"), self._pass_on(seen, "ah")
        if self.input.keep:  # behind the weights: one filter a value that spikes add up to
            count_updates(x.shape[0] * x.shape[1] * (1 + self.settings.order + self.settings.units))
        entering, memory, hidden, outputs = state.entering, state.memory, state.hidden, []
        for t, (drive, push) in enumerate(zip(onto_u.unbind(1), onto_hidden.unbind(1), strict=True)):
            u = drive + F.linear(hidden, w["hu"]) + self._pass_on(memory.output, "du")
            c, new_entering = self.entering(u.unsqueeze(1), entering, None)
            m = self._pass_on(memory.output, "dm") + self._pass_on(c[:, 0], "cm")
            d, new_memory = self.memory(m.unsqueeze(1), memory, None)
            new_hidden = torch.tanh(push + F.linear(hidden, w["hh"]) + self._pass_on(d[:, 0], "dh"))
            before, after = (entering, memory, hidden), (new_entering, new_memory, new_hidden)
            entering, memory, hidden = after if mask is None else hold(after, before, mask[:, t])
            outputs.append(hidden)
        return self.readout(torch.stack(outputs, 1)), SpikingLMU2020State(entered, entering, memory, hidden)

    def _pass_on(self, output: Tensor, name: str) -> Tensor:
        """What the ``output`` (..., N) of an ensemble gives through the weights of that name."""
        weight = self.weights[name]
        with count_as(lambda: () if self.populations else (Connection(output, weight),)):
            return F.linear(output, weight)
