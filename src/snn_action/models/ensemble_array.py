"""An array of spiking ensembles, the original project's best spiking model.

    x~_t = lowpass(x)_t,  v_t = W_in x~_t                     (E values, each represented by an ensemble of N neurons)
    s_t = neuron(gain (e v_t) + bias)                         (E, N) spikes, encoders e = +1 or -1
    logits_t = W_out d_t + c,  d_t = sum_n decoder_n s_tn     (E decoded values)

Gains and biases follow from ``max_rates`` and ``intercepts``, decoders from regularized least squares, so that each
ensemble at first stands for a function of its value on [-1, 1]; ``trained`` says which go on learning. With
``dimensions`` D a value has D numbers, and encoders are drawn from the unit sphere. All neurons of an ensemble go over
time in one fused kernel (``kernels``) where there is one for them; elsewhere ensembles are computed in chunks, which
are computed again in the backward pass. Memory does not grow with B x T x E x N either way.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action.models.base import InputStandardizer, Population, TemporalModel, perturb
from snn_action.models.readout import solve_readout
from snn_action.models.settings import EnsembleArraySettings, Input, Part, Readout, Scaling
from snn_action.snn.counting import by_decoded
from snn_action.snn.decoders import FUNCTIONS
from snn_action.snn.ensembles import Plan, check_currents, draw_parts, drive, plan_fused, run_in_chunks, scale
from snn_action.snn.fused import ensemble_array as fused
from snn_action.snn.neurons.base import Neuron, check_finite, check_state
from snn_action.snn.neurons.synapses import Lowpass, LowpassState
from snn_action.snn.settings import FunctionName, Gradient, NeuronSettings

FUSED_VALUES = 2**21  # values of a (B, T, chunk) tensor

PARTS: tuple[Part, ...] = ("encoders", "gain", "bias", "decoders")


class EnsembleArrayState(NamedTuple):
    """Filtered input (B, D) if there is a filter, neurons (B, E, N) if kept, spikes (B,) since the clip began."""

    filtered: LowpassState | None
    neurons: Any
    spikes: Tensor


class EnsembleArray(TemporalModel):
    """Values that spiking ensembles represent: ``s_t = neuron(gain (e v_t) + bias)``, ``logits_t = W_out d_t + c``.

    Trained parameters are near 1, so that one learning rate suits all: gains and biases are kept in units of the
    current that lifts a neuron from silence to the mean maximal rate, decoders in units of that rate's inverse.

    Args:
        function: Also any function of values (..., E), or with ``dimensions`` of (..., E, dimensions), elementwise or
            over the last axis: see ``solve_decoders``.
    """

    Settings = EnsembleArraySettings
    settings: EnsembleArraySettings
    _given: Callable[[Tensor], Tensor] | None

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
            normalize: bool = False,
            n_ensembles: int = 1000,
            dimensions: int = 1,
            n_neurons: int = 50,
            neuron: NeuronSettings | Mapping[str, Any] = ...,
            gradient: Gradient = "spike_aware",
            max_rates: tuple[float, float] = (200.0, 400.0),
            intercepts: tuple[float, float] = (-1.0, 0.9),
            function: FunctionName | Callable[[Tensor], Tensor] = "identity",
            trained: tuple[Part, ...] = ("gain", "bias", "decoders"),
            tau_input: float | None = 0.005,
            input_weights: Literal["random", "zero"] = "random",
            readout: Readout = "random",
            readout_strength: float = 0.3,
            input_dropout: float = 0.0,
            input_noise: float = 0.0,
            dropout: float = 0.0,
            settings: EnsembleArraySettings | None = None,
        ) -> None: ...

    else:  # also any function

        def __init__(
            self,
            in_features: int,
            num_classes: int,
            *,
            settings: EnsembleArraySettings | None = None,
            function: FunctionName | Callable[[Tensor], Tensor] | None = None,
            **options: Any,
        ) -> None:
            self._given = function if callable(function) else None
            if isinstance(function, str):
                options["function"] = function
            super().__init__(in_features, num_classes, settings=settings, **options)

    encoders: Tensor
    gain: Tensor
    bias: Tensor
    decoders: Tensor

    def make_parts(self) -> None:
        """See the class."""
        s = self.settings
        self.standardizer = InputStandardizer(self.in_features, s.scaling, s.normalize)
        self.function: Callable[[Tensor], Tensor] = self._given or FUNCTIONS[s.function]
        self.neuron: Neuron = s.neuron.build(s.gradient)
        self.synapse = None if s.tau_input is None else Lowpass(s.tau_input, self.neuron.dt)
        self.input_kernel = nn.Linear(self.in_features, s.n_ensembles * s.dimensions, bias=False)
        if s.input_weights == "zero":
            nn.init.zeros_(self.input_kernel.weight)
        else:
            nn.init.normal_(self.input_kernel.weight, std=1 / math.sqrt(self.in_features))
        sizes = s.n_ensembles, s.n_neurons, s.dimensions
        parts = draw_parts(self.neuron, *sizes, s.max_rates, s.intercepts, self.function)
        self.rate_unit, self.current_unit = parts.rate, parts.current
        for name in PARTS:
            part = getattr(parts, name)
            if name in s.trained:
                self.register_parameter(name, nn.Parameter(part))
            else:
                self.register_buffer(name, part)
        decoded = parts.decoders.shape[2] if s.dimensions > 1 else 1
        population = Population("ensembles", s.n_ensembles * s.n_neurons, decoded, s.n_ensembles * decoded)
        self.populations = (population,) if self.neuron.spiking else ()
        self.readout = nn.Linear(s.n_ensembles * decoded, self.num_classes)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> EnsembleArrayState:
        """Filter at zero, neurons as their own ``initial_voltage`` says, no spike yet."""
        filtered = None if self.synapse is None else self.synapse.initial_state(batch, self.in_features, device, dtype)
        shape = (self.settings.n_ensembles, self.settings.n_neurons)
        neurons = self.neuron.initial_state(batch, shape, device, dtype)
        return EnsembleArrayState(filtered, neurons, torch.zeros(batch, device=device, dtype=dtype))

    def prepare(self, features: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Also solve the output weights where ``readout`` says so: see ``readout``."""
        super().prepare(features, mask, labels)
        regression = self.settings.readout, self.settings.readout_strength
        solve_readout(self, self.readout, self._represent, features, mask, labels, *regression)

    def _represent(self, x: Tensor, state: EnsembleArrayState, mask: Tensor | None) -> Tensor:
        """``function(v_t)``, what the spikes stand for (B, T, E)."""
        if self.synapse is not None:
            x, _ = self.synapse(x, state.filtered, mask)
        return self.function(self._enter(x)).flatten(2)

    def _enter(self, x: Tensor) -> Tensor:
        """Values (B, T, E), or (B, T, E, D), of filtered input."""
        values: Tensor = self.input_kernel(x)
        return values if self.settings.dimensions == 1 else values.view(*x.shape[:2], -1, self.settings.dimensions)

    def show_spikes(self, features: Tensor, mask: Tensor | None = None, state: Any = None) -> Tensor | None:
        """Those of all neurons, an ensemble after another; None where they send rates."""
        if not self.neuron.spiking:
            return None
        x, state, mask = self.receive(features, state, mask)
        if self.synapse is not None:
            x, _ = self.synapse(x, state.filtered, mask)
        spikes, _ = self.neuron(drive(self._enter(x).to(self.gain), *self._scale()), state.neurons, mask)
        return self.neuron.count(spikes).flatten(2)

    def forward_steps(
        self, x: Tensor, state: EnsembleArrayState, mask: Tensor | None
    ) -> tuple[Tensor, EnsembleArrayState]:
        """Logits of all steps, and the state after them, whose ``spikes`` carry a gradient, for a penalty on them."""
        return self.advance(x, state, mask, keep_state=True)

    def _begin(self, state: Any, features: Tensor) -> EnsembleArrayState:
        begun: EnsembleArrayState = super()._begin(state, features)
        if state is not None:  # the kernels look at shapes alone
            check_state(begun.neurons, self.lay_out(len(features), features.dtype).neurons, features.device)
        return begun

    def advance(
        self, x: Tensor, state: EnsembleArrayState, mask: Tensor | None, keep_state: bool
    ) -> tuple[Tensor, EnsembleArrayState]:
        """``forward_steps``; without ``keep_state`` the fused kernel leaves ``neurons`` None."""
        s = self.settings
        for name in ("gain", "bias", "decoders"):
            check_finite(getattr(self, name)[None, None], f"{name} of neuron")
        if self.training:
            x = perturb(x, s.input_dropout, s.input_noise)
        filtered = state.filtered
        if self.synapse is not None:
            x, filtered = self.synapse(x, filtered, mask)
        plan = plan_fused(self.neuron, x, state.neurons, s.dimensions, self.training)
        run = self._run_in_chunks if plan is None else partial(self._run_fused, plan=plan, keep_state=keep_state)
        logits, spikes, neurons = run(x, state.neurons, mask)
        return logits, EnsembleArrayState(filtered, neurons, state.spikes + spikes)

    def _run_in_chunks(self, x: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Tensor, Any]:
        """Logits, spikes (B,) and state from filtered input, with PyTorch's own operations."""
        values = self._enter(x).to(self.gain)  # neurons keep the parameters' precision under autocast
        check_finite(values, "value of ensemble")
        weights = self._scale()
        decoded, spikes, state = run_in_chunks(
            self.neuron, mask, state, values, *weights, self.decoders / self.rate_unit
        )
        decoded = F.dropout(decoded.flatten(2), self.settings.dropout, self.training)
        with by_decoded(self.neuron.spiking):
            return self.readout(decoded), spikes, state

    def _scale(self) -> tuple[Tensor, Tensor]:
        """Gains times encoders, and biases, in units of the current."""
        return scale(self.gain * self.current_unit, self.encoders), self.bias * self.current_unit

    def _run_fused(
        self,
        x: Tensor,
        state: Any,
        mask: Tensor | None,
        plan: Plan,
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
            with by_decoded(self.neuron.spiking):
                logits = logits + readout @ decoded.permute(2, 1, 0).flatten(1)
            spikes = spikes + result.spikes
        neurons = state if mode == "rate" else type(state)(*(tensor.permute(2, 0, 1) for tensor in after))
        neurons = neurons if keep_state else None
        return logits.view(-1, steps, batch).permute(2, 1, 0), spikes, neurons
