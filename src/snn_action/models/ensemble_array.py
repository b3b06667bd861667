"""An array of one-dimensional spiking ensembles, the original project's best spiking model.

    x~_t = lowpass(x)_t,  v_t = W_in x~_t                     (E values, each represented by an ensemble of N neurons)
    s_t = neuron(gain (e v_t) + bias)                         (E, N) spikes, encoders e = +1 or -1
    logits_t = W_out d_t + c,  d_t = sum_n decoder_n s_tn     (E decoded values)

Gains and biases follow from ``max_rates`` and ``intercepts``, decoders from regularised least squares, so that each
ensemble at first stands for its value on [-1, 1]; all three are trained after. All neurons of an ensemble go over time
in one fused kernel (``kernels``) where there is one for them; elsewhere ensembles are computed in chunks, which are
computed again in the backward pass. Memory does not grow with B x T x E x N either way.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from snn_action import registry
from snn_action.kernels import ensemble_array as fused
from snn_action.kernels.program import Equations
from snn_action.models.base import ModelSettings, Scaling, TemporalModel, perturb
from snn_action.neurons import spiking_rectified_linear
from snn_action.neurons.base import Gradient, Neuron
from snn_action.neurons.synapse import Lowpass, LowpassState
from snn_action.registry import registered

FUSED_VALUES = 2**21  # values of a (B, T, chunk) tensor
CHUNK_VALUES = 2**21  # values of a (B, T, chunk, N) tensor: 8 MiB in float32
EVALUATION_POINTS = 201
REGULARISATION = 0.1  # Nengo's LstsqL2: noise of 0.1 of the highest rate


class Settings(ModelSettings):
    """Array of spiking ensembles."""

    type: Literal["ensemble_array"] = "ensemble_array"
    scaling: Scaling = Field(
        "global", description="Deviation to which the input is scaled: each feature's, or one for all"
    )
    n_ensembles: int = Field(1000, ge=1, description="Ensembles, each for one value")
    n_neurons: int = Field(50, ge=1, description="Neurons of each ensemble")
    neuron: registered("neuron") = spiking_rectified_linear.Settings()  # type: ignore[valid-type]
    gradient: Gradient = Field("spike_aware", description="How gradients pass the spikes: see docs/neurons.md")
    max_rates: tuple[float, float] = Field((200.0, 400.0), description="Range of rates at value 1, spikes a second")
    intercepts: tuple[float, float] = Field((-1.0, 0.9), description="Range of values where neurons begin to spike")
    tau_input: float | None = Field(0.005, gt=0, description="Lowpass on the input in seconds; null: none")
    input_weights: Literal["random", "zero"] = Field("random", description="Input weights at the start")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="Share of features dropped, one draw a clip")
    input_noise: float = Field(0.0, ge=0, description="Deviation of noise on the scaled input, one draw a clip")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of ensembles dropped before the logits")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.max_rates[0] <= self.max_rates[1]:
            raise ValueError("max_rates: must be two positive rates, the lower first")
        if not -1 <= self.intercepts[0] <= self.intercepts[1] < 1:
            raise ValueError("intercepts: must be two values in [-1, 1), the lower first")
        return self


class State(NamedTuple):
    """Filtered input (B, D) where there is a filter, neurons (B, E, N), and spikes (B,) since the clip began."""

    filtered: LowpassState | None
    neurons: Any
    spikes: Tensor


class EnsembleArray(TemporalModel):
    """See the module.

    Trained parameters are near 1, so that one learning rate suits all: gains and biases are kept in units of the
    mean maximal rate, decoders in units of its inverse.
    """

    accumulates_per_spike = 1
    encoders: Tensor

    def __init__(self, settings: Settings, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes, settings.scaling)
        self.settings = s = settings
        self.n_neurons = s.n_ensembles * s.n_neurons
        self.neuron: Neuron = registry.build("neuron", s.neuron, s.gradient)
        self.synapse = None if s.tau_input is None else Lowpass(s.tau_input, self.neuron.dt)
        self.rate_unit = sum(s.max_rates) / 2
        self.input_kernel = nn.Linear(in_features, s.n_ensembles, bias=False)
        if s.input_weights == "zero":
            nn.init.zeros_(self.input_kernel.weight)
        else:
            nn.init.normal_(self.input_kernel.weight, std=1 / math.sqrt(in_features))
        shape = (s.n_ensembles, s.n_neurons)
        max_rates = torch.empty(shape).uniform_(*s.max_rates)
        intercepts = torch.empty(shape).uniform_(*s.intercepts)
        self.register_buffer("encoders", torch.randint(0, 2, shape).to(max_rates) * 2 - 1)
        gain, bias = self.neuron.gain_bias(max_rates, intercepts)
        self.gain = nn.Parameter(gain / self.rate_unit)
        self.bias = nn.Parameter(bias / self.rate_unit)
        decoders = solve_decoders(self.neuron.rate, gain * self.encoders, bias)
        self.decoders = nn.Parameter(decoders * self.rate_unit)
        self.readout = nn.Linear(s.n_ensembles, num_classes)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State:
        """Filter at zero, neurons as their own ``initial_voltage`` says, no spike yet."""
        filtered = None if self.synapse is None else self.synapse.initial_state(batch, self.in_features, device, dtype)
        shape = (self.settings.n_ensembles, self.settings.n_neurons)
        neurons = self.neuron.initial_state(batch, shape, device, dtype)
        return State(filtered, neurons, torch.zeros(batch, device=device, dtype=dtype))

    def forward_steps(self, x: Tensor, state: State, mask: Tensor | None) -> tuple[Tensor, State]:
        """See the module; ``state.spikes`` carries the gradient of the spikes, for a penalty on them."""
        s = self.settings
        if self.training:
            x = perturb(x, s.input_dropout, s.input_noise)
        filtered = state.filtered
        if self.synapse is not None:
            x, filtered = self.synapse(x, filtered, mask)
        plan = self._plan(x, state.neurons)
        run = self._run_in_chunks if plan is None else partial(self._run_fused, plan=plan)
        logits, spikes, neurons = run(x, state.neurons, mask)
        return logits, State(filtered, neurons, state.spikes + spikes)

    def _run_in_chunks(self, x: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Tensor, Any]:
        """Logits, spikes (B,) and state from filtered input, with PyTorch's own operations."""
        values = self.input_kernel(x).to(self.gain)  # neurons keep the parameters' precision under autocast
        inputs = values, self.gain, self.bias, self.decoders
        if len(split_ensembles(values, self.settings.n_neurons)) == 1:
            decoded, spikes, state = self.run_ensembles(self.encoders, mask, state, *inputs)
        else:
            decoded, spikes, *after = _Chunked.apply(self, mask, state, *inputs, *self.neuron.parameters())  # type: ignore[no-untyped-call]
            state = type(state)(*after)
        return self.readout(F.dropout(decoded, self.settings.dropout, self.training)), spikes, state

    def _run_fused(
        self, x: Tensor, state: Any, mask: Tensor | None, plan: tuple[Gradient, Equations, Equations | None]
    ) -> tuple[Tensor, Tensor, Any]:
        """As ``_run_in_chunks``, some ensembles after others from their input weights to their share of the logits."""
        batch, steps, _ = x.shape
        mode, equations, rates = plan
        decoders = self.decoders * (self.neuron.amplitude / (self.rate_unit * self.neuron.dt))
        weights = self.input_kernel.weight, self.gain * self.encoders * self.rate_unit, self.bias * self.rate_unit
        parts = math.ceil(len(self.gain) * batch * steps / FUSED_VALUES)
        size = math.ceil(len(self.gain) / parts)
        after = x.new_empty(len(state), *self.gain.shape, batch)
        flat = x.permute(2, 1, 0).flatten(1)  # (D, T B): what the products give lies as the kernel has it
        logits, spikes = self.readout.bias.unsqueeze(1), x.new_zeros(batch)
        own = tuple(self.neuron.parameters())
        for readout, out, kernel, gain, bias, decoder, *before in zip(
            torch.split(self.readout.weight, size, 1),
            torch.split(after, size, 1),
            *(torch.split(tensor, size) for tensor in (*weights, decoders)),
            *(torch.split(tensor, size, 1) for tensor in state),
            strict=True,
        ):
            values = (kernel @ flat).to(self.gain).view(-1, steps, batch).permute(2, 1, 0)
            result = fused.run(values, gain, bias, decoder, tuple(before), equations, rates, own, mask, mode, out=out)
            decoded = F.dropout(result.decoded, self.settings.dropout, self.training)
            logits = logits + readout @ decoded.permute(2, 1, 0).flatten(1)
            spikes = spikes + result.spikes
        neurons = state if mode == "rate" else type(state)(*(tensor.permute(2, 0, 1) for tensor in after))
        return logits.view(-1, steps, batch).permute(2, 1, 0), spikes, neurons

    def _plan(self, x: Tensor, state: Any) -> tuple[Gradient, Equations, Equations | None] | None:
        """Mode and equations with which the fused kernel does what is asked now; None where it cannot."""
        neuron = self.neuron
        if not fused.is_available(x) or any(tensor.requires_grad for tensor in state):
            return None
        mode: Gradient = "surrogate"  # that of a rate neuron too: back through time as its steps are
        if neuron.spiking and neuron.gradient == "rate" and self.training:
            mode = "rate"
        elif neuron.spiking and neuron.gradient != "surrogate" and torch.is_grad_enabled():
            mode = "spike_aware"
        equations = neuron.equations("count")
        rates = None if mode == "surrogate" else neuron.equations("rate_count")
        if equations is None or (rates is None and mode != "surrogate"):
            return None
        return mode, equations, rates

    def step_once(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step is a sequence of one."""
        logits, state = self.forward_steps(x.unsqueeze(1), state, None)
        return logits.squeeze(1), state

    def run_ensembles(
        self,
        encoders: Tensor,
        mask: Tensor | None,
        state: Any,
        values: Tensor,
        gain: Tensor,
        bias: Tensor,
        decoders: Tensor,
    ) -> tuple[Tensor, Tensor, Any]:
        """Decoded values (B, T, e), spikes (B,) and state (B, e, N) of ``e`` ensembles, from ``values`` (B, T, e)."""
        scaled = gain * encoders * self.rate_unit
        current = torch.addcmul(bias * self.rate_unit, values.unsqueeze(-1), scaled)
        spikes, state = self.neuron(current, state, mask)
        decoded = (spikes * (decoders / self.rate_unit)).sum(-1)
        each_step = spikes.sum((2, 3))
        each_step = each_step if mask is None else each_step * mask
        return decoded, self.neuron.count(each_step.sum(1)), state


class _Chunked(torch.autograd.Function):
    """All ensembles, one chunk after another; the backward pass computes each chunk again.

    Results are written where they belong: were each chunk to leave tensors of its own behind, they would lie between
    the large ones and keep the allocator from using that memory again (20 GiB at the original's size). No gradient
    runs through the states.
    """

    @staticmethod
    def forward(ctx: Any, array: EnsembleArray, mask: Tensor | None, state: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        values, *weights = inputs[:4]
        decoded, spikes = torch.empty_like(values), values.new_zeros(len(values))
        after = _map(lambda tensor: torch.empty_like(tensor, memory_format=torch.contiguous_format), state)
        for chunk in split_ensembles(values, array.settings.n_neurons):
            before = _map(lambda tensor, chunk=chunk: tensor[:, chunk], state)
            part = array.run_ensembles(
                array.encoders[chunk], mask, before, values[..., chunk], *(weight[chunk] for weight in weights)
            )
            decoded[..., chunk] = part[0]
            spikes += part[1]
            for whole, tensor in zip(after, part[2], strict=True):
                whole[:, chunk] = tensor
        ctx.array, ctx.mask, ctx.state_type = array, mask, type(state)
        ctx.save_for_backward(*inputs, *state)
        ctx.mark_non_differentiable(*after)
        return decoded, spikes, *after

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        array: EnsembleArray = ctx.array
        own = list(array.neuron.parameters())
        values, *weights = ctx.saved_tensors[:4]
        state = ctx.state_type(*ctx.saved_tensors[4 + len(own) :])
        totals = [torch.zeros_like(tensor) for tensor in (values, *weights, *own)]
        for chunk in split_ensembles(values, array.settings.n_neurons):
            places = [totals[0][..., chunk], *(total[chunk] for total in totals[1:4]), *totals[4:]]
            leaves = [values[..., chunk], *(weight[chunk] for weight in weights)]
            leaves = [leaf.detach().requires_grad_() for leaf in leaves]
            before = _map(lambda tensor, chunk=chunk: tensor[:, chunk], state)
            with torch.enable_grad():
                decoded, spikes, _ = array.run_ensembles(array.encoders[chunk], ctx.mask, before, *leaves)
            parts = torch.autograd.grad((decoded, spikes), [*leaves, *own], (grads[0][..., chunk], grads[1]))
            for place, part in zip(places, parts, strict=True):
                place += part
        return None, None, None, *totals


def split_ensembles(values: Tensor, n_neurons: int) -> list[slice]:
    """Chunks of the ensembles of ``values`` (B, T, E), so that (B, T, chunk, N) has at most ``CHUNK_VALUES``."""
    batch, steps, ensembles = values.shape
    size = max(1, CHUNK_VALUES // (batch * steps * n_neurons))
    return [slice(start, min(start + size, ensembles)) for start in range(0, ensembles, size)]


def solve_decoders(
    rate: Callable[[Tensor], Tensor],
    scaled_encoders: Tensor,
    bias: Tensor,
    function: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """Decoders (E, N) with which rates stand for ``function(x)`` on [-1, 1], by regularised least squares.

    ``d = (A^T A + M sigma^2 I)^-1 A^T f(x)`` with rates A (M, N) at M points and ``sigma`` 0.1 of the highest rate
    (Nengo's LstsqL2). Float64 inside.

    Args:
        rate: Rates of currents.
        scaled_encoders: Gain times encoder (E, N).
        bias: Bias current (E, N).
        function: What is decoded, from values (M,) to values (M,).
    """
    x = torch.linspace(-1, 1, EVALUATION_POINTS, dtype=torch.float64)
    wanted = function(x).unsqueeze(-1)
    solved = []
    for encoder, offset in zip(torch.split(scaled_encoders, 256), torch.split(bias, 256), strict=True):
        activity = rate(encoder.double().unsqueeze(1) * x[:, None] + offset.double().unsqueeze(1))  # (e, M, N)
        sigma = REGULARISATION * activity.amax((1, 2))
        gram = activity.mT @ activity
        gram.diagonal(dim1=-2, dim2=-1).add_((len(x) * sigma.square()).clamp(min=1e-12).unsqueeze(-1))
        solved.append(torch.linalg.solve(gram, activity.mT @ wanted).squeeze(-1))
    return torch.cat(solved).to(bias)


def _map(function: Callable[..., Tensor], *states: Any) -> Any:
    """``function`` of the tensors (B, E, N) that stand at the same place in each of ``states``."""
    return type(states[0])(*(function(*tensors) for tensors in zip(*states, strict=True)))


def build(settings: Settings, in_features: int, num_classes: int) -> EnsembleArray:
    """The model that ``settings`` describe.

    Raises:
        ConfigError: the neuron has no such gradient mode.
    """
    return EnsembleArray(settings, in_features, num_classes)
