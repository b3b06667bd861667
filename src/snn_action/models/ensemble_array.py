"""An array of spiking ensembles, the original project's best spiking model.

    x~_t = lowpass(x)_t,  v_t = W_in x~_t                     (E values, each represented by an ensemble of N neurons)
    s_t = neuron(gain (e v_t) + bias)                         (E, N) spikes, encoders e = +1 or -1
    logits_t = W_out d_t + c,  d_t = sum_n decoder_n s_tn     (E decoded values)

Gains and biases follow from ``max_rates`` and ``intercepts``, decoders from regularised least squares, so that each
ensemble at first stands for a function of its value on [-1, 1]; ``trained`` says which go on learning. With
``dimensions`` D a value has D numbers, and encoders are drawn from the unit sphere. All neurons of an ensemble go over
time in one fused kernel (``kernels``) where there is one for them; elsewhere ensembles are computed in chunks, which
are computed again in the backward pass. Memory does not grow with B x T x E x N either way.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.core import registry
from snn_action.core.registry import registered
from snn_action.models.base import HIGHEST_RATE, ModelSettings, Population, Scaling, TemporalModel, perturb
from snn_action.models.readout import Readout, solve_readout
from snn_action.snn.counting import is_counting
from snn_action.snn.decoders import FUNCTIONS, FunctionName, solve_decoders
from snn_action.snn.ensembles import drive, run_in_chunks
from snn_action.snn.fused import ensemble_array as fused
from snn_action.snn.fused.ir import Equations
from snn_action.snn.neurons import spiking_rectified_linear
from snn_action.snn.neurons.base import Gradient, Neuron, check_finite, check_state
from snn_action.snn.neurons.synapses import Lowpass, LowpassState

FUSED_VALUES = 2**21  # values of a (B, T, chunk) tensor
Part = Literal["encoders", "gain", "bias", "decoders"]


class Settings(ModelSettings):
    """Array of spiking ensembles."""

    type: Literal["ensemble_array"] = "ensemble_array"
    scaling: Scaling = Field(
        "global", description="Deviation to which the input is scaled: each feature's, or one for all"
    )
    normalise: bool = Field(False, description="Each step's scaled input is divided by its root mean square")
    n_ensembles: int = Field(1000, ge=1, le=10**7, description="Ensembles, each for one value")
    dimensions: int = Field(1, ge=1, le=16, description="Numbers of a value")
    n_neurons: int = Field(50, ge=1, le=10**4, description="Neurons of each ensemble")
    neuron: registered("neuron") = spiking_rectified_linear.Settings()  # type: ignore[valid-type]
    gradient: Gradient = Field(
        "spike_aware", description="How gradients pass the spikes: see docs/explanation/neurons.md"
    )
    max_rates: tuple[float, float] = Field((200.0, 400.0), description="Range of rates at value 1, spikes a second")
    intercepts: tuple[float, float] = Field((-1.0, 0.9), description="Range of values where neurons begin to spike")
    function: FunctionName = Field(
        "identity", description="What decoders stand for at the start; 'product': of a value's numbers"
    )
    trained: tuple[Part, ...] = Field(("gain", "bias", "decoders"), description="Parts that learn; others stay")
    tau_input: float | None = Field(0.005, gt=0, description="Lowpass on the input in seconds; null: none")
    input_weights: Literal["random", "zero"] = Field("random", description="Input weights at the start")
    readout: Readout = Field(
        "random",
        description="Output weights at the start: drawn, or solved by a regression on what ensembles stand for",
    )
    readout_strength: float = Field(0.3, gt=0, description="L2 strength of the solved output weights")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="Share of features dropped, one draw a clip")
    input_noise: float = Field(0.0, ge=0, description="Deviation of noise on the scaled input, one draw a clip")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of ensembles dropped before the logits")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.max_rates[0] <= self.max_rates[1] <= HIGHEST_RATE:
            raise ValueError(f"max_rates: must be two rates above 0 and up to {HIGHEST_RATE:g}, the lower first")
        if not -1 <= self.intercepts[0] <= self.intercepts[1] < 1:
            raise ValueError("intercepts: must be two values in [-1, 1), the lower first")
        if self.function == "product" and self.dimensions == 1:
            raise ValueError("function: a product needs dimensions of 2 or more")
        return self


class State(NamedTuple):
    """Filtered input (B, D) if there is a filter, neurons (B, E, N) if kept, spikes (B,) since the clip began."""

    filtered: LowpassState | None
    neurons: Any
    spikes: Tensor


class EnsembleArray(TemporalModel):
    """See the module.

    Trained parameters are near 1, so that one learning rate suits all: gains and biases are kept in units of the
    current that lifts a neuron from silence to the mean maximal rate, decoders in units of that rate's inverse.

    Args:
        settings: See there.
        in_features: D of the input (B, T, D).
        num_classes: K of the logits (B, T, K).
        function: What decoders stand for at the start, in the place of ``settings.function``: of values (..., E), or
            with ``dimensions`` of (..., E, dimensions), elementwise or over the last axis: see ``solve_decoders``.
    """

    encoders: Tensor
    gain: Tensor
    bias: Tensor
    decoders: Tensor

    def __init__(
        self,
        settings: Settings,
        in_features: int,
        num_classes: int,
        function: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(in_features, num_classes, settings.scaling, settings.normalise)
        self.settings = s = settings
        self.function = function or FUNCTIONS[s.function]
        self.neuron: Neuron = registry.build("neuron", s.neuron, s.gradient)
        self.synapse = None if s.tau_input is None else Lowpass(s.tau_input, self.neuron.dt)
        self.input_kernel = nn.Linear(in_features, s.n_ensembles * s.dimensions, bias=False)
        if s.input_weights == "zero":
            nn.init.zeros_(self.input_kernel.weight)
        else:
            nn.init.normal_(self.input_kernel.weight, std=1 / math.sqrt(in_features))
        shape = (s.n_ensembles, s.n_neurons)
        max_rates = torch.empty(shape).uniform_(*s.max_rates)
        intercepts = torch.empty(shape).uniform_(*s.intercepts)
        if s.dimensions == 1:
            encoders = torch.randint(0, 2, shape).to(max_rates) * 2 - 1
        else:
            encoders = F.normalize(torch.randn(*shape, s.dimensions), dim=-1)
        gain, bias = self.neuron.gain_bias(max_rates, intercepts)
        self.rate_unit = sum(s.max_rates) / 2
        self.current_unit = float(self.neuron.gain_bias(torch.tensor([self.rate_unit]), torch.zeros(1))[0])
        decoders = solve_decoders(self.neuron.tuning, scale(gain, encoders), bias, self.function)
        for name, part in {
            "encoders": encoders,
            "gain": gain / self.current_unit,
            "bias": bias / self.current_unit,
            "decoders": decoders * self.rate_unit,
        }.items():
            if name in s.trained:
                self.register_parameter(name, nn.Parameter(part))
            else:
                self.register_buffer(name, part)
        decoded = decoders.shape[2] if s.dimensions > 1 else 1
        population = Population("ensembles", s.n_ensembles * s.n_neurons, decoded)
        self.populations = (population,) if self.neuron.spiking else ()
        self.readout = nn.Linear(s.n_ensembles * decoded, num_classes)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State:
        """Filter at zero, neurons as their own ``initial_voltage`` says, no spike yet."""
        filtered = None if self.synapse is None else self.synapse.initial_state(batch, self.in_features, device, dtype)
        shape = (self.settings.n_ensembles, self.settings.n_neurons)
        neurons = self.neuron.initial_state(batch, shape, device, dtype)
        return State(filtered, neurons, torch.zeros(batch, device=device, dtype=dtype))

    def prepare(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Also solve the output weights where ``readout`` says so: see ``readout``."""
        super().prepare(features, mask, labels)
        regression = self.settings.readout, self.settings.readout_strength
        solve_readout(self, self.readout, self._represent, features, mask, labels, *regression)

    def _represent(self, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        """``function(v_t)``, what the spikes stand for (B, T, E)."""
        if self.synapse is not None:
            x, _ = self.synapse(x, state.filtered, mask)
        return self.function(self._enter(x)).flatten(2)

    def _enter(self, x: Tensor) -> Tensor:
        """Values (B, T, E), or (B, T, E, D), of filtered input."""
        values: Tensor = self.input_kernel(x)
        return values if self.settings.dimensions == 1 else values.view(*x.shape[:2], -1, self.settings.dimensions)

    def show_spikes(self, features: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Those of all neurons, an ensemble after another; None where they send rates."""
        if not self.neuron.spiking:
            return None
        x, state, mask = self.receive(features, None, mask)
        if self.synapse is not None:
            x, _ = self.synapse(x, state.filtered, mask)
        spikes, _ = self.neuron(drive(self._enter(x).to(self.gain), *self._scale()), state.neurons, mask)
        return self.neuron.count(spikes).flatten(2)

    def forward(
        self, features: Tensor, state: State | None = None, mask: Tensor | None = None, keep_state: bool = True
    ) -> tuple[Tensor, State]:
        """As the base; without ``keep_state`` the fused kernel leaves ``neurons`` None."""
        return self._advance(*self.receive(features, state, mask), keep_state)

    def forward_steps(self, x: Tensor, state: State, mask: Tensor | None) -> tuple[Tensor, State]:
        """See the module; ``state.spikes`` carries the gradient of the spikes, for a penalty on them."""
        return self._advance(x, state, mask, keep_state=True)

    def _begin(self, state: Any, features: Tensor) -> State:
        begun: State = super()._begin(state, features)
        if state is not None:  # the kernels look at shapes alone
            check_state(begun.neurons, self.lay_out(len(features), features.dtype).neurons, features.device)
        return begun

    def _advance(self, x: Tensor, state: State, mask: Tensor | None, keep_state: bool) -> tuple[Tensor, State]:
        s = self.settings
        for name in ("gain", "bias", "decoders"):
            check_finite(getattr(self, name)[None, None], f"{name} of neuron")
        if self.training:
            x = perturb(x, s.input_dropout, s.input_noise)
        filtered = state.filtered
        if self.synapse is not None:
            x, filtered = self.synapse(x, filtered, mask)
        plan = self._plan(x, state.neurons)
        run = self._run_in_chunks if plan is None else partial(self._run_fused, plan=plan, keep_state=keep_state)
        logits, spikes, neurons = run(x, state.neurons, mask)
        return logits, State(filtered, neurons, state.spikes + spikes)

    def _run_in_chunks(self, x: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Tensor, Any]:
        """Logits, spikes (B,) and state from filtered input, with PyTorch's own operations."""
        values = self._enter(x).to(self.gain)  # neurons keep the parameters' precision under autocast
        check_finite(values, "value of ensemble")
        weights = self._scale()
        decoded, spikes, state = run_in_chunks(
            self.neuron, mask, state, values, *weights, self.decoders / self.rate_unit
        )
        decoded = F.dropout(decoded.flatten(2), self.settings.dropout, self.training)
        return self.readout(decoded), spikes, state

    def _scale(self) -> tuple[Tensor, Tensor]:
        """Gains times encoders, and biases, in units of the current."""
        return scale(self.gain * self.current_unit, self.encoders), self.bias * self.current_unit

    def _run_fused(
        self,
        x: Tensor,
        state: Any,
        mask: Tensor | None,
        plan: tuple[Gradient, Equations, Equations | None],
        keep_state: bool,
    ) -> tuple[Tensor, Tensor, Any]:
        """As ``_run_in_chunks``, some ensembles after others from their input weights to their share of the logits."""
        batch, steps, _ = x.shape
        mode, equations, rates = plan
        decoders = self.decoders * (self.neuron.amplitude / (self.rate_unit * self.neuron.dt))
        weights = self.input_kernel.weight, *self._scale()
        parts = math.ceil(len(self.gain) * batch * steps / FUSED_VALUES)
        size = math.ceil(len(self.gain) / parts)
        after = x.new_empty(len(state), *self.gain.shape, batch if keep_state else 0)
        flat = x.transpose(0, 1).flatten(0, 1)  # (T B, D): what the products give lies as the kernel has it
        logits, spikes = self.readout.bias.unsqueeze(1), x.new_zeros(batch)
        own = tuple(self.neuron.parameters())
        traced = self.neuron.write_step("count"), None if rates is None else self.neuron.write_step("rate_count")
        begin = 0
        for readout, out, kernel, gain, bias, decoder, *before in zip(
            torch.split(self.readout.weight, size, 1),
            torch.split(after, size, 1),
            *(torch.split(tensor, size) for tensor in (*weights, decoders)),
            *(torch.split(tensor, size, 1) for tensor in state),
            strict=True,
        ):
            values = (kernel @ flat.T).to(self.gain).view(-1, steps, batch).permute(2, 1, 0)
            check_currents(values, gain, bias, begin)
            begin += len(kernel)
            result = fused.run(
                *(values, gain, bias, decoder, tuple(before), equations, rates, own, mask, mode),
                out=out,
                keep_states=keep_state,
                steps=traced,
            )
            decoded = F.dropout(result.decoded, self.settings.dropout, self.training)
            logits = logits + readout @ decoded.permute(2, 1, 0).flatten(1)
            spikes = spikes + result.spikes
        neurons = state if mode == "rate" else type(state)(*(tensor.permute(2, 0, 1) for tensor in after))
        neurons = neurons if keep_state else None
        return logits.view(-1, steps, batch).permute(2, 1, 0), spikes, neurons

    def _plan(self, x: Tensor, state: Any) -> tuple[Gradient, Equations, Equations | None] | None:
        """Mode and equations with which the fused kernel does what is asked now; None where it cannot."""
        neuron = self.neuron  # of a signed one the kernel would add up spikes with their signs
        if self.settings.dimensions > 1 or neuron.signed or is_counting() or x.dtype != torch.float32:
            return None
        if any(not isinstance(tensor, Tensor) or tensor.requires_grad for tensor in state):
            return None
        mode: Gradient = "surrogate"  # that of a rate neuron too: back through time as its steps are
        if neuron.spiking and neuron.gradient == "rate" and self.training:
            mode = "rate"
        elif neuron.spiking and neuron.gradient != "surrogate" and torch.is_grad_enabled():
            mode = "spike_aware"
        equations = neuron.equations("count")
        rates = None if mode == "surrogate" else neuron.equations("rate_count")
        if equations is None or (rates is None and mode != "surrogate") or not fused.is_available(x):
            return None
        return mode, equations, rates


def check_currents(values: Tensor, gain: Tensor, bias: Tensor, first: int) -> None:
    """Check ``values`` (B, T, E) and their currents, of which only the kernel knows: one pass, where all is well.

    Raises:
        ValueError: as ``check_finite``.
    """
    if values.device.type != "cpu" and not torch.is_anomaly_enabled():
        return
    values, gain, bias = values.detach(), gain.detach(), bias.detach()
    low, high = values.aminmax()
    if not bool((torch.maximum(-low, high) * gain.abs().max() + bias.abs().max()).isfinite()):
        check_finite(values, "value of ensemble", first)
        check_finite(torch.addcmul(bias, values.unsqueeze(-1), gain), "current of neuron", first)


def scale(gain: Tensor, encoders: Tensor) -> Tensor:
    """Gains (E, N) times encoders, (E, N) or (E, N, D)."""
    return gain * encoders if encoders.ndim == 2 else gain.unsqueeze(-1) * encoders


def build(settings: Settings, in_features: int, num_classes: int) -> EnsembleArray:
    """The model that ``settings`` describe.

    Raises:
        ConfigError: the neuron has no such gradient mode.
    """
    return EnsembleArray(settings, in_features, num_classes)
